package chartindex

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Parse reads an index. Errors wrap ErrIndex or are those of r.
func Parse(r io.Reader) (*Index, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	x := &Index{charts: map[string][]Version{}}
	first, err := in.Peek(1)
	for err == nil && strings.ContainsRune(" \t\r\n", rune(first[0])) && !bytes.Equal(first, []byte(" ")) {
		_, _ = in.Discard(1)
		first, err = in.Peek(1)
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it is empty", ErrIndex)
	case err != nil:
		return nil, err
	case first[0] == '{':
		return x, x.readJSON(in)
	}
	return x, x.readYAML(in)
}

// readJSON reads an index in JSON, entry by entry.
func (x *Index) readJSON(r io.Reader) error {
	d := json.NewDecoder(r)
	version := ""
	err := object(d, func(key string) error {
		switch key {
		case "apiVersion":
			return d.Decode(&version)
		case "entries":
			return object(d, func(chart string) error { return x.readList(d, chart) })
		}
		var skipped json.RawMessage
		return d.Decode(&skipped)
	})
	return finish(version, err)
}

// readList reads the versions of a chart.
func (x *Index) readList(d *json.Decoder, chart string) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("the versions of the chart %q are no list", chart)
	}
	for d.More() {
		var e entry
		if err := d.Decode(&e); err != nil {
			return err
		}
		if err := x.add(chart, e); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// object calls fn at the value of each key.
func object(d *json.Decoder, fn func(key string) error) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('{') {
		return errors.New("there is something else where an object should be")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := fn(key.(string)); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// finish says whether an index was read. The cause may be that it came to an end.
func finish(version string, err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it is cut off", ErrIndex)
	case err != nil && !errors.Is(err, ErrIndex):
		return fmt.Errorf("%w: %w", ErrIndex, err)
	case err == nil && version == "":
		return fmt.Errorf("%w: it has no apiVersion: is this an index of charts?", ErrIndex)
	}
	return err
}

// readWhole reads a small index in any layout that YAML has.
func (x *Index) readWhole(r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxWhole+1))
	if err != nil {
		return err
	}
	if len(data) > maxWhole {
		return fmt.Errorf("%w: it is not laid out as \"helm repo index\" does it, and of others %d bytes are read: %w", ErrIndex, maxWhole, ErrTooLarge)
	}
	var file struct {
		APIVersion string             `json:"apiVersion"`
		Entries    map[string][]entry `json:"entries"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("%w: %w", ErrIndex, err)
	}
	for chart, entries := range file.Entries {
		for _, e := range entries {
			if err := x.add(chart, e); err != nil {
				return err
			}
		}
	}
	return finish(file.APIVersion, nil)
}
