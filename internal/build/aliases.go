package build

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxExpanded bounds how many nodes the aliases of one file may add.
	maxExpanded = 200_000
	// maxEmbedded bounds how deep YAML within strings of YAML is looked into.
	// kustomize reads two levels: a plugin configuration within a kustomization,
	// a patch within that.
	maxEmbedded = 4
	// endless stands for a weight beyond every bound.
	endless = int64(1) << 40
)

// checkAliases refuses a file whose aliases would expand without bound.
// kustomize decodes manifests to a node graph, which its YAML library does not
// bound, and then replaces each alias by a deep copy, recursively: a graph of
// a few hundred bytes becomes gigabytes, and an anchor that holds an alias of
// itself recurses until the stack, and with it the process, is gone.
//
// The graph is a DAG when well formed, so its expanded size is a sum that can
// be computed in one pass with each node weighed once. Strings are looked into
// as well, since patches and plugin configurations are YAML within strings.
func checkAliases(data []byte) error { return checkEmbedded(data, 0) }

func checkEmbedded(data []byte, depth int) error {
	has := func(c byte) bool { return bytes.IndexByte(data, c) >= 0 }
	if depth == maxEmbedded || !has('\\') && !(has('&') && has('*')) {
		return nil // nearly every manifest; a backslash may spell either in a string
	}
	// kyaml cuts a file at its separators before it decodes. Look at it both
	// ways, so that no document is missed behind one that does not parse.
	if err := checkDocuments(data, depth); err != nil {
		return err
	}
	docs := bytes.Split(data, []byte("\n---"))
	if len(docs) == 1 {
		return nil
	}
	for i, doc := range docs {
		if i > 0 { // the separator is its whole line
			_, doc, _ = bytes.Cut(doc, []byte("\n"))
		}
		if err := checkDocuments(doc, depth); err != nil {
			return err
		}
	}
	return nil
}

func checkDocuments(data []byte, depth int) error {
	dec, budget := yaml.NewDecoder(bytes.NewReader(data)), int64(maxExpanded)
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			return nil // the end, or not YAML: then nobody will expand it
		}
		s := scale{depth: depth, seen: map[*yaml.Node]int64{}}
		total, err := s.weigh(&doc)
		if budget -= total - s.plain; err != nil || budget < 0 {
			return ErrAliases
		}
	}
}

// scale weighs nodes with their aliases expanded.
type scale struct {
	depth int
	seen  map[*yaml.Node]int64 // weight of a node, negative while it is weighed
	plain int64                // nodes as written
}

func (s *scale) weigh(n *yaml.Node) (int64, error) {
	if w, ok := s.seen[n]; ok {
		if w < 0 {
			return 0, ErrAliases // an ancestor: a cycle
		}
		return w, nil
	}
	s.seen[n] = -1
	s.plain++
	w, inner := int64(1), n.Content
	switch n.Kind {
	case yaml.AliasNode:
		inner = []*yaml.Node{n.Alias}
	case yaml.ScalarNode:
		if len(n.Value) > 1 && strings.ContainsAny(n.Value, "&\\") {
			if err := checkEmbedded([]byte(n.Value), s.depth+1); err != nil {
				return 0, err
			}
		}
	}
	for _, c := range inner {
		cw, err := s.weigh(c)
		if err != nil {
			return 0, err
		}
		w = min(w+cw, endless)
	}
	s.seen[n] = w
	return w, nil
}
