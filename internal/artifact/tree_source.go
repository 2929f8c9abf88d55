package artifact

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Source returns the folder at p of the tree as a source to pack from. Links are
// left out, as they are of every artifact. The error is fs.ErrNotExist when p is
// no folder, or ErrEscape.
func (t *Tree) Source(p string) (Source, error) {
	info, err := t.Stat(p)
	if err != nil {
		return nil, err
	}
	if info.Kind != Dir {
		return nil, fmt.Errorf("folder %q: %w", p, fs.ErrNotExist)
	}
	return &treeSource{tree: t, root: info.Real}, nil
}

type treeSource struct {
	tree *Tree
	root string // without links in it
}

// ID implements Source.
func (s *treeSource) ID() string {
	if s.tree.Digest() == "" {
		return ""
	}
	return s.tree.Digest() + " " + s.root
}

// ReadDir implements Source.
func (s *treeSource) ReadDir(folder string) ([]Entry, error) {
	_, n, err := s.tree.resolve(path.Join(s.root, folder))
	if err != nil {
		return nil, err
	}
	if n == nil || n.kind != Dir {
		return nil, fmt.Errorf("folder %q: %w", folder, fs.ErrNotExist)
	}
	var out []Entry
	d := n.more.(*dir)
	for i, name := range d.names {
		switch c := d.nodes[i]; c.kind {
		case Dir:
			out = append(out, Entry{Name: name, Dir: true})
		case File:
			out = append(out, Entry{Name: name, Executable: c.executable, ID: "sha256:" + hex.EncodeToString(c.sum[:])})
		}
	}
	return out, nil
}

// Open implements Source.
func (s *treeSource) Open(p string, _ Entry) (io.ReadCloser, int64, error) {
	data, err := s.tree.ReadFile(path.Join(s.root, p))
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}
