package marker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is the size above which a file is refused.
const MaxFileBytes = 4 << 20

// maxDepth bounds how deep mappings and sequences may nest.
const maxDepth = 512

// Error says on which line of a file an edit is impossible.
type Error struct {
	Line int // 1 is the first; 0 when the parser does not say
	Err  error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Object identifies the Kubernetes object that a change lies in. It is zero in
// a document that is not one.
type Object struct{ APIVersion, Kind, Namespace, Name string }

// Change is one scalar that got a new value.
type Change struct {
	Line     int
	Object   Object
	Old, New string
	Setter   string // the marker text, "ns:policy[:part]"
}

// Result is the outcome of Edit.
type Result struct {
	Content []byte   // the file after the edit; the input itself when nothing changed
	Changes []Change // in the order of the file
	Setters []string // every marker text found, sorted, without repeats
}

// Edit gives every marked scalar of a YAML file the value its marker names in
// values. Markers without a value are left alone. A file without the token, or
// that is not UTF-8, is returned as it is. The error is an *Error; then nothing
// of the file may be used.
func Edit(content []byte, values Values) (Result, error) {
	unchanged := Result{Content: content}
	if !bytes.Contains(content, []byte(Token)) || !utf8.Valid(content) {
		return unchanged, nil
	}
	if len(content) > MaxFileBytes {
		return unchanged, &Error{Err: fmt.Errorf("the file has %d bytes, more than the %d that can be updated", len(content), MaxFileBytes)}
	}
	docs, err := parse(content)
	if err != nil {
		return unchanged, err
	}
	marks, err := find(docs)
	if err != nil {
		return unchanged, err
	}
	result := Result{Content: content}
	lines := splitLines(content)
	var splices []splice
	for _, m := range marks {
		result.Setters = append(result.Setters, m.setter)
		value, known := values[m.setter]
		if !known || value == m.node.Value {
			continue
		}
		s, err := replace(content, lines, m, value)
		if err != nil {
			return unchanged, err
		}
		splices = append(splices, s)
		result.Changes = append(result.Changes, Change{Line: m.node.Line, Object: m.object, Old: m.node.Value, New: value, Setter: m.setter})
	}
	slices.Sort(result.Setters)
	result.Setters = slices.Compact(result.Setters)
	if len(splices) == 0 {
		return result, nil
	}
	if result.Content, err = apply(content, splices); err != nil {
		return unchanged, err
	}
	if err := verify(docs, result.Content, splices); err != nil {
		return unchanged, err
	}
	return result, nil
}

// parse reads all documents of a file as nodes. Aliases stay aliases, so that
// nothing expands.
func parse(content []byte) (docs []*yaml.Node, err error) {
	defer func() { // the parser gives up on some malformed input this way
		if p := recover(); p != nil {
			err = &Error{Err: fmt.Errorf("the YAML parser failed: %v", p)}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		doc := &yaml.Node{}
		err := decoder.Decode(doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, &Error{Err: err}
		}
		docs = append(docs, doc)
	}
}

// A mark is a scalar with a marker beside it.
type mark struct {
	node   *yaml.Node
	object Object
	setter string
	flow   bool // inside [ ] or { }
}

// find lists the marked scalars of all documents in the order of the file.
func find(docs []*yaml.Node) ([]mark, error) {
	var marks []mark
	for _, doc := range docs {
		object := identify(doc)
		var walk func(n *yaml.Node, flow bool, depth int) error
		walk = func(n *yaml.Node, flow bool, depth int) error {
			if depth > maxDepth {
				return &Error{Line: n.Line, Err: fmt.Errorf("the YAML nests deeper than %d levels", maxDepth)}
			}
			if n.Kind == yaml.ScalarNode {
				if text, ok := markOf(n); ok {
					marks = append(marks, mark{node: n, object: object, setter: text, flow: flow})
				}
				return nil
			}
			flow = flow || n.Style&yaml.FlowStyle != 0
			for i, child := range n.Content {
				if n.Kind == yaml.MappingNode && i%2 == 0 && child.Kind == yaml.ScalarNode {
					continue // a key is no value, whatever stands beside it
				}
				if err := walk(child, flow, depth+1); err != nil {
					return err
				}
			}
			return nil
		}
		if err := walk(doc, false, 0); err != nil {
			return nil, err
		}
	}
	return marks, nil
}

// markOf returns the marker beside or, in a sequence, above a scalar.
func markOf(n *yaml.Node) (string, bool) {
	if text, ok := setter(n.LineComment); ok {
		return text, true
	}
	return setter(n.HeadComment)
}

// identify reads the name of the Kubernetes object in a document, if it is one.
func identify(doc *yaml.Node) Object {
	if len(doc.Content) == 0 {
		return Object{}
	}
	root := doc.Content[0]
	metadata := field(root, "metadata")
	return Object{
		APIVersion: text(field(root, "apiVersion")),
		Kind:       text(field(root, "kind")),
		Namespace:  text(field(metadata, "namespace")),
		Name:       text(field(metadata, "name")),
	}
}

func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
