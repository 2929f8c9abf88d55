package gitrepo

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// maxTree bounds a tree object, that is one directory, in bytes.
const maxTree = 32 << 20

// treeEntry is one name in a tree.
type treeEntry struct {
	name string
	mode filemode.FileMode
	hash plumbing.Hash
}

// parseTree reads a tree object: "<mode> <name>\0<20 bytes>" each. Names that
// would lead out of a directory or into git's own are an error.
func parseTree(data []byte) ([]treeEntry, error) {
	var entries []treeEntry
	seen := map[string]bool{}
	for len(data) > 0 {
		mode, rest, ok1 := bytes.Cut(data, []byte{' '})
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok1 || !ok2 || len(rest) < 20 {
			return nil, fmt.Errorf("%w: it ends early", ErrBadTree)
		}
		e := treeEntry{name: string(name), hash: plumbing.Hash(rest[:20])}
		data = rest[20:]
		var err error
		if e.mode, err = filemode.New(string(mode)); err != nil || !knownMode(e.mode) {
			return nil, fmt.Errorf("%w: entry %q has mode %q", ErrBadTree, e.name, mode)
		}
		if err := checkName(e.name); err != nil {
			return nil, err
		}
		if seen[e.name] {
			return nil, fmt.Errorf("%w: two entries %q", ErrBadTree, e.name)
		}
		seen[e.name] = true
		entries = append(entries, e)
	}
	return entries, nil
}

func knownMode(m filemode.FileMode) bool {
	switch m {
	case filemode.Dir, filemode.Regular, filemode.Deprecated, filemode.Executable, filemode.Symlink, filemode.Submodule:
		return true
	}
	return false
}

// checkName refuses what git refuses to check out, on any file system.
func checkName(name string) error {
	short := strings.TrimRight(strings.ToLower(name), ". ") // NTFS ignores these at the end
	visible := strings.Map(func(r rune) rune {              // HFS+ ignores these anywhere
		if r >= 0x200c && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x206a && r <= 0x206f || r == 0xfeff {
			return -1
		}
		return r
	}, short)
	switch {
	case name == "" || name == "." || name == "..":
	case strings.ContainsAny(name, "/\\\x00"):
	case visible == ".git" || short == "git~1":
	case len(name) > 255 || !utf8.ValidString(name):
	default:
		return nil
	}
	return fmt.Errorf("%w: the name %q cannot be checked out", ErrBadTree, name)
}

func readTree(s *store, h plumbing.Hash) ([]treeEntry, error) {
	data, err := s.read(plumbing.TreeObject, h, maxTree)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(data)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", h, err)
	}
	return entries, nil
}
