package marker

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A splice replaces content[from:to] by text.
type splice struct {
	from, to int
	text     string
	line     int        // of the scalar, for messages
	node     *yaml.Node // the scalar before the edit
	value    string     // what it must be afterwards
}

// apply makes all splices at once. They must not overlap.
func apply(content []byte, splices []splice) ([]byte, error) {
	slices.SortFunc(splices, func(a, b splice) int { return a.from - b.from })
	var out bytes.Buffer
	end := 0
	for _, s := range splices {
		if s.from < end {
			return nil, &Error{Line: s.line, Err: errors.New("two marked values overlap")}
		}
		out.Write(content[end:s.from])
		out.WriteString(s.text)
		end = s.to
	}
	out.Write(content[end:])
	return out.Bytes(), nil
}

// replace works out the splice that gives a marked scalar its new value.
func replace(content []byte, lines []int, m mark, value string) (splice, error) {
	n := m.node
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return splice{}, &Error{Line: n.Line, Err: fmt.Errorf("the marker %q stands beside a block scalar; write the value on one line", m.setter)}
	}
	at, tagged, err := start(content, lines, n)
	if err != nil {
		return splice{}, err
	}
	end, ok := scalarEnd(content[at:], n)
	if !ok {
		return splice{}, &Error{Line: n.Line, Err: fmt.Errorf("the value beside the marker %q does not stand on one line; write it on one line", m.setter)}
	}
	written, err := render(value, n, m.flow, tagged)
	if err != nil {
		return splice{}, &Error{Line: n.Line, Err: err}
	}
	return splice{from: at, to: at + end, text: written, line: n.Line, node: n, value: value}, nil
}

// start is the byte at which a scalar begins, after its anchor and tag.
// tagged says that an explicit tag fixes its type.
func start(content []byte, lines []int, n *yaml.Node) (at int, tagged bool, err error) {
	lost := &Error{Line: n.Line, Err: errors.New("the marked value cannot be found; write it on one line, right after its key")}
	if n.Line < 1 || n.Line > len(lines) || n.Column < 1 {
		return 0, false, lost
	}
	at = lines[n.Line-1]
	for range n.Column - 1 { // the parser counts characters
		if at >= len(content) {
			return 0, false, lost
		}
		_, size := utf8.DecodeRune(content[at:])
		at += size
	}
	for at < len(content) && (content[at] == '&' || content[at] == '!') {
		tagged = tagged || content[at] == '!'
		for at < len(content) && !isBlank(content[at]) {
			at++
		}
		for at < len(content) && (content[at] == ' ' || content[at] == '\t') {
			at++
		}
	}
	if at >= len(content) {
		return 0, false, lost
	}
	return at, tagged, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// scalarEnd is how many bytes the scalar that rest starts with takes. A scalar
// over several lines is not recognised, on purpose.
func scalarEnd(rest []byte, n *yaml.Node) (int, bool) {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return quotedEnd(rest, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return quotedEnd(rest, '\'')
	default:
		return len(n.Value), bytes.HasPrefix(rest, []byte(n.Value)) && n.Value != ""
	}
}

func quotedEnd(rest []byte, quote byte) (int, bool) {
	if len(rest) == 0 || rest[0] != quote {
		return 0, false
	}
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\n' || c == '\r':
			return 0, false
		case c == '\\' && quote == '"':
			i++
		case c == quote && quote == '\'' && i+1 < len(rest) && rest[i+1] == quote:
			i++
		case c == quote:
			return i + 1, true
		}
	}
	return 0, false
}

// render writes a value in the style the scalar has. A plain scalar gets double
// quotes only when, written plainly, it would not be read as that very string:
// a tag such as 1.10 would become the number 1.1.
func render(value string, n *yaml.Node, flow, tagged bool) (string, error) {
	for _, r := range value {
		if r < 0x20 || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			return "", fmt.Errorf("the new value %q has characters that do not belong into an image reference", value)
		}
	}
	double := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return double, nil
	case n.Style&yaml.SingleQuotedStyle != 0:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'", nil
	case plain(value, flow, tagged):
		return value, nil
	default:
		return double, nil
	}
}

// plain reports whether value means itself without quotes, to readers of YAML
// 1.1 and 1.2 alike.
func plain(value string, flow, tagged bool) bool {
	document := value
	if flow {
		document = "[" + value + "]"
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte("k: "+document+" # c"), &doc); err != nil || len(doc.Content) != 1 {
		return false
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode || len(root.Content) != 2 {
		return false
	}
	n := root.Content[1]
	if flow {
		if n.Kind != yaml.SequenceNode || len(n.Content) != 1 {
			return false
		}
		n = n.Content[0]
	}
	if n.Kind != yaml.ScalarNode || n.Value != value || n.Style != 0 || n.Anchor != "" {
		return false
	}
	return tagged || n.ShortTag() == "!!str" && !ambiguous(value)
}

// number matches what YAML 1.1 or 1.2 reads as a number: 1.10, 1e3, 0o17, 1_000, 1:20.
var number = regexp.MustCompile(`^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9_]+([eE][-+]?[0-9]+)?)$`)

// ambiguous reports whether YAML 1.1 or 1.2 reads a plain value as anything but
// a string.
func ambiguous(value string) bool {
	switch strings.ToLower(value) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ".inf", ".nan":
		return true
	}
	return number.MatchString(value)
}

// splitLines returns the offset at which each line starts, by the line breaks
// that the YAML parser counts, and after a byte order mark.
func splitLines(content []byte) []int {
	first := 0
	if bytes.HasPrefix(content, []byte("\xef\xbb\xbf")) {
		first = 3
	}
	lines := []int{first}
	for i := first; i < len(content); i++ {
		switch rest := content[i:]; {
		case rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n':
			continue
		case rest[0] == '\n', rest[0] == '\r':
			lines = append(lines, i+1)
		case bytes.HasPrefix(rest, []byte("\u0085")):
			lines = append(lines, i+2)
		case bytes.HasPrefix(rest, []byte("\u2028")), bytes.HasPrefix(rest, []byte("\u2029")):
			lines = append(lines, i+3)
		}
	}
	return lines
}

// verify parses the edited file and compares it with the original node by node.
func verify(before []*yaml.Node, edited []byte, splices []splice) error {
	after, err := parse(edited)
	if err != nil {
		return &Error{Line: splices[0].line, Err: fmt.Errorf("the file would not be YAML any more with the new value: %w", err)}
	}
	want := make(map[*yaml.Node]string, len(splices))
	for _, s := range splices {
		want[s.node] = s.value
	}
	if len(before) != len(after) {
		return &Error{Line: splices[0].line, Err: errors.New("the new value would change the number of documents")}
	}
	for i := range before {
		if err := same(before[i], after[i], want); err != nil {
			return err
		}
	}
	return nil
}

// same reports where b is not a with the wanted values.
func same(a, b *yaml.Node, want map[*yaml.Node]string) error {
	value, tag := a.Value, a.ShortTag()
	next, marked := want[a]
	if marked {
		value = next
	}
	bad := b.Kind != a.Kind || b.Value != value || b.Anchor != a.Anchor || len(b.Content) != len(a.Content) || b.Line != a.Line ||
		b.HeadComment != a.HeadComment || b.LineComment != a.LineComment || b.FootComment != a.FootComment
	if marked {
		bad = bad || b.Kind != yaml.ScalarNode || b.Style&yaml.TaggedStyle == 0 && b.ShortTag() != "!!str"
	} else {
		bad = bad || b.ShortTag() != tag || b.Style != a.Style
	}
	if bad {
		return &Error{Line: a.Line, Err: errors.New("the edit would change more than the marked value; write the value on one line, with its marker right after it")}
	}
	for i := range a.Content {
		if err := same(a.Content[i], b.Content[i], want); err != nil {
			return err
		}
	}
	return nil
}
