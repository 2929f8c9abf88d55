package artifact

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// index collects the entries of a tree in any order and sorts them at the end.
type index struct {
	dirs map[string]*dir // by clean path; names and nodes not sorted yet
	at   map[string]int  // path of an entry → its place in its directory
}

func newIndex() *index {
	return &index{dirs: map[string]*dir{"/": {}}, at: map[string]int{}}
}

// put adds the entry at the clean path p, and its parents. A later entry of the
// same path wins, as it does when an archive is unpacked to disk. A directory in
// the place of a file or link, or the other way round, is refused, unless replace
// is set: then the later one wins.
func (b *index) put(p string, n node, replace bool) error {
	if p == "/" {
		if n.kind != Dir {
			return fmt.Errorf("an entry takes the place of the root")
		}
		return nil
	}
	parent, name := path.Split(p)
	parent = path.Clean(parent)
	d, ok := b.dirs[parent]
	if !ok {
		if err := b.put(parent, node{kind: Dir}, replace); err != nil {
			return err
		}
		d = b.dirs[parent]
	}
	i, known := b.at[p]
	if !known {
		i = len(d.names)
		b.at[p] = i
		d.names, d.nodes = append(d.names, strings.Clone(name)), append(d.nodes, node{})
	}
	old := d.nodes[i].kind
	if known && old != n.kind && (old == Dir || n.kind == Dir) && !replace {
		return fmt.Errorf("%q is there both as a directory and as something else", p)
	}
	if n.kind != Dir {
		delete(b.dirs, p)
	} else if b.dirs[p] == nil {
		b.dirs[p] = &dir{}
		n.more = b.dirs[p]
	} else {
		n.more = b.dirs[p]
	}
	d.nodes[i] = n
	return nil
}

// finish sorts every directory, computes the sums and returns the root.
func (b *index) finish() *dir {
	for _, d := range b.dirs {
		sort.Sort((*byName)(d))
		d.names, d.nodes = slices.Clip(d.names), slices.Clip(d.nodes)
		d.seal()
	}
	return b.dirs["/"]
}

type byName dir

func (d *byName) Len() int           { return len(d.names) }
func (d *byName) Less(i, j int) bool { return d.names[i] < d.names[j] }
func (d *byName) Swap(i, j int) {
	d.names[i], d.names[j] = d.names[j], d.names[i]
	d.nodes[i], d.nodes[j] = d.nodes[j], d.nodes[i]
}
