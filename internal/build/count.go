package build

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// countObjects returns how many objects a manifest holds: its documents, or the
// items of those that are lists. It may be more for a file that is none.
func countObjects(data []byte) int {
	n := 1 + bytes.Count(data, []byte("\n---"))
	if !bytes.Contains(data, []byte("List")) || !bytes.Contains(data, []byte("items")) {
		return n
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return n
		}
		n += countItems(&doc)
	}
}

// countItems counts the elements of every sequence called items. Aliases add
// none here; how often they repeat is bounded elsewhere.
func countItems(n *yaml.Node) int {
	total := 0
	for i, c := range n.Content {
		total += countItems(c)
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "items" && c.Kind == yaml.SequenceNode {
			total += len(c.Content)
		}
	}
	return total
}
