package chartindex

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// wanted are the fields that are read of an entry. The others, most of the file,
// are never parsed.
var wanted = []string{"name:", "version:", "urls:", "digest:"}

// stream takes an index apart by its indentation: Helm writes every entry as a
// block of lines. Each block alone is YAML for the parser.
type stream struct {
	x       *Index
	in      *bufio.Reader
	seen    bytes.Buffer // the file as far as it was read while it is small, to read it another way
	version string       // apiVersion

	entries bool // below the key "entries"
	keys    int  // indentation of the charts' names; -1 before the first
	items   int  // indentation of the dashes of the chart's versions; -1 before the first
	chart   string
	block   bytes.Buffer // what is wanted of the entry
	open    bool         // there is an entry in block
	fields  int          // indentation of the entry's fields
	keep    bool         // the field that the line belongs to is wanted
}

// errLayout says that the index is laid out in another way.
var errLayout = errors.New("layout")

// readYAML reads an index in YAML.
func (x *Index) readYAML(in *bufio.Reader) error {
	s := &stream{x: &Index{charts: map[string][]Version{}}, in: in, keys: -1, items: -1}
	err := s.run()
	if errors.Is(err, errLayout) {
		return x.readWhole(io.MultiReader(&s.seen, in))
	}
	if err == nil {
		err = finish(s.version, nil)
	}
	*x = *s.x
	return err
}

func (s *stream) run() error {
	for {
		line, err := s.line()
		if err == nil {
			err = s.take(line)
		}
		if errors.Is(err, io.EOF) {
			return s.flush()
		}
		if err != nil {
			return err
		}
	}
}

// line returns the next line without its end.
func (s *stream) line() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
			line, err = s.in.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if len(line) > maxLine {
		return nil, fmt.Errorf("%w: a line has more than %d bytes: %w", ErrIndex, maxLine, ErrTooLarge)
	}
	if len(line) == 0 {
		return nil, err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if s.seen.Len() <= maxWhole {
		s.seen.Write(line)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// take sorts one line.
func (s *stream) take(line []byte) error {
	text := bytes.TrimLeft(line, " ")
	indent := len(line) - len(text)
	switch {
	case len(text) == 0:
		if s.open && s.keep {
			s.block.WriteByte('\n')
		}
		return nil
	case text[0] == '#' && !s.keep:
		return nil
	case indent == 0 && !(s.entries && s.keys == 0) && !bytes.HasPrefix(text, []byte("- ")):
		return s.top(text)
	case !s.entries:
		return nil // of another field of the file
	case s.open && indent > s.items:
		return s.field(indent, text)
	case bytes.HasPrefix(text, []byte("- ")) && s.chart != "" && (s.items < 0 && indent >= s.keys || indent == s.items):
		return s.item(indent, text)
	case s.keys < 0 || indent == s.keys:
		return s.name(indent, text)
	}
	return errLayout
}

// top is a field of the file.
func (s *stream) top(text []byte) error {
	if err := s.flush(); err != nil {
		return err
	}
	key, value, found := bytes.Cut(text, []byte(":"))
	value = bytes.TrimSpace(value)
	s.entries = false
	switch {
	case string(key) == "---" && !found:
	case !found:
		return errLayout
	case string(key) == "apiVersion":
		s.version = strings.Trim(string(value), `"'`)
	case string(key) == "entries" && len(value) == 0:
		s.entries, s.keys, s.chart = true, -1, ""
	case string(key) == "entries" && string(value) != "{}", strings.ContainsAny(string(key), `"'{[?&*!`):
		return errLayout
	}
	return nil
}

// name is the line with the name of a chart.
func (s *stream) name(indent int, text []byte) error {
	if err := s.flush(); err != nil {
		return err
	}
	var pair map[string][]entry
	if yaml.Unmarshal(text, &pair) != nil || len(pair) != 1 {
		return errLayout
	}
	for chart, entries := range pair {
		if len(entries) > 0 {
			return errLayout // all in one line
		}
		s.keys, s.items, s.chart = indent, -1, chart
	}
	return nil
}

// item is the first line of an entry.
func (s *stream) item(indent int, text []byte) error {
	if err := s.flush(); err != nil {
		return err
	}
	rest := bytes.TrimLeft(text[1:], " ")
	s.open, s.items, s.fields = true, indent, indent+len(text)-len(rest)
	if len(rest) == 0 || strings.ContainsRune("{[&*!|>", rune(rest[0])) {
		return errLayout
	}
	return s.field(s.fields, rest)
}

// field is a line of an entry. A list may have the indentation of its key.
func (s *stream) field(indent int, text []byte) error {
	switch {
	case indent < s.fields:
		return errLayout
	case indent == s.fields && !bytes.HasPrefix(text, []byte("- ")):
		s.keep = false
		for _, key := range wanted {
			s.keep = s.keep || bytes.HasPrefix(text, []byte(key))
		}
		if strings.ContainsRune(`"'{[?&*!`, rune(text[0])) {
			return errLayout
		}
	}
	if !s.keep {
		return nil
	}
	if s.block.Len()+indent+len(text) > maxEntry {
		return fmt.Errorf("%w: an entry of the chart %q: %w", ErrIndex, s.chart, ErrTooLarge)
	}
	s.block.WriteString(strings.Repeat(" ", indent-s.fields))
	s.block.Write(text)
	s.block.WriteByte('\n')
	return nil
}

// flush parses the entry that is over.
func (s *stream) flush() error {
	if !s.open {
		return nil
	}
	var e entry
	if err := yaml.Unmarshal(s.block.Bytes(), &e); err != nil {
		return fmt.Errorf("%w: an entry of the chart %q: %w", ErrIndex, s.chart, err)
	}
	s.block.Reset()
	s.open, s.keep = false, false
	return s.x.add(s.chart, e)
}
