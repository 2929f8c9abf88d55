package build

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// across is how objects of a build in parts reach each other: by their names,
// which are kept as hashes. That two words have one hash costs time only.
type across struct {
	shared []uint64         // words of kustomizations and patches
	named  map[uint64][]int // leaves, by each of their names
	always []int            // leaves that every part needs
}

const (
	// maxAlways bounds the objects that are built with every part, and maxTimes
	// how often an object is built altogether, on average. Beyond that a whole
	// build is as good.
	maxAlways, maxTimes = 100, 4
	spareTimes          = 1000 // objects more, for small builds
	// maxWord is the longest name that an object may have.
	maxWord = 253
)

// note takes in the words of a kustomization or patch; false when it is no YAML.
func (x *across) note(text []byte) bool {
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc kyaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		x.shared = words(x.shared, &doc)
	}
}

// words appends the scalars of a document that could be names. What is behind an
// alias is somewhere else in the document, too.
func words(out []uint64, n *kyaml.Node) []uint64 {
	if n.Kind == kyaml.ScalarNode && n.Value != "" && len(n.Value) <= maxWord && !strings.ContainsAny(n.Value, " \n") {
		out = append(out, xxhash.Sum64String(n.Value))
	}
	for _, c := range n.Content {
		out = words(out, c)
	}
	return out
}

// rename adds the names that a kustomization gives an object.
func (l *leaf) rename(prefix, suffix string) {
	if prefix == "" && suffix == "" {
		return
	}
	last := l.names[len(l.names)-1]
	l.names = append(l.names, prefix+last, last+suffix, prefix+last+suffix)
}

// settle works out who needs whom. It answers false when so many do that parts
// are not worth it.
func (x *across) settle(leaves []leaf, batches [][]int) bool {
	if x == nil {
		return true
	}
	x.named = map[uint64][]int{}
	for i, l := range leaves {
		names := slices.Clone(l.names)
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			h := xxhash.Sum64String(name)
			x.named[h] = append(x.named[h], i)
		}
	}
	x.always = x.find(nil, x.shared)
	if len(x.always) > maxAlways {
		return false
	}
	total := 0
	for _, batch := range batches {
		if total += len(x.with(leaves, batch)); total > maxTimes*len(leaves)+spareTimes {
			return false
		}
	}
	return true
}

// with returns the leaves of a part with those that it needs, in their order.
func (x *across) with(leaves []leaf, batch []int) []int {
	if x == nil || len(batch) == 0 {
		return batch
	}
	all := append(slices.Clone(batch), x.always...)
	for _, i := range batch {
		all = x.find(all, leaves[i].words)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// find appends the leaves that some words name.
func (x *across) find(all []int, words []uint64) []int {
	for _, w := range words {
		all = append(all, x.named[w]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
