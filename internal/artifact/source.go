package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/sourceignore"
)

// ErrIgnore says that the ignore rules of a source cannot be used.
var ErrIgnore = errors.New("ignore rules cannot be used")

// Entry is one file or folder of a Source.
type Entry struct {
	Name       string
	Dir        bool
	Executable bool
	ID         string // names the content: equal IDs, equal bytes; "" when it has no such name
}

// Source is a folder that becomes an artifact. Symbolic links, submodules and
// special files are not to be listed. Paths are slash separated and relative; ""
// is the root.
type Source interface {
	// ID names the whole content: equal IDs, equal trees. "" when there is no such name.
	ID() string
	// ReadDir lists a folder, in any order.
	ReadDir(folder string) ([]Entry, error)
	// Open returns the content of the file at path, and its size in bytes.
	Open(path string, e Entry) (io.ReadCloser, int64, error)
}

// packed is an entry on its way into an archive.
type packed struct {
	path string
	Entry
}

// selection walks a source and collects what is not ignored.
type selection struct {
	ctx      context.Context
	src      Source
	last     rules // Ignore.Patterns, which come after those of every folder
	out      []packed
	maxFiles int
}

// choose returns the entries of src that are not ignored, each folder before what
// is in it, names in byte order. Folders whose content cannot be wanted are not read.
func choose(ctx context.Context, src Source, ignore Ignore, maxFiles int) ([]packed, error) {
	last, err := parseRules(strings.NewReader(ignore.Patterns), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: spec.ignore: %w", ErrIgnore, err)
	}
	s := &selection{ctx: ctx, src: src, last: last, maxFiles: maxFiles}
	if err := s.walk(nil, defaultRules()); err != nil {
		return nil, err
	}
	return s.out, nil
}

func (s *selection) walk(folder []string, rs rules) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	entries, err := s.src.ReadDir(strings.Join(folder, "/"))
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	rs = rs[:len(rs):len(rs)] // what is appended must not reach a sibling
	for i, e := range entries {
		if !usableName(e.Name) || i > 0 && e.Name == entries[i-1].Name {
			return fmt.Errorf("%w: the folder %q has an entry with the bad name %q", ErrArchive, strings.Join(folder, "/"), e.Name)
		}
		if e.Name == sourceignore.IgnoreFile && !e.Dir {
			more, err := readIgnoreFile(s.src, folder, e)
			if err != nil {
				return err
			}
			rs = append(rs, more...)
		}
	}
	effective := append(rs[:len(rs):len(rs)], s.last...)
	if len(effective) > maxIgnoreRules {
		return fmt.Errorf("%w: more than %d patterns apply in the folder %q", ErrIgnore, maxIgnoreRules, strings.Join(folder, "/"))
	}
	for _, e := range entries {
		if err := s.visit(append(folder[:len(folder):len(folder)], e.Name), e, rs, effective); err != nil {
			return err
		}
	}
	return nil
}

func (s *selection) visit(at []string, e Entry, rs, effective rules) error {
	ignored, skip := effective.verdict(at, e.Dir)
	if skip {
		return nil
	}
	if !ignored {
		p := strings.Join(at, "/")
		if len(p) >= maxPath || len(at) > maxDepth {
			return fmt.Errorf("%w: the path %q… is longer than %d bytes or deeper than %d", ErrTooLarge, p[:min(64, len(p))], maxPath-1, maxDepth)
		}
		if s.out = append(s.out, packed{p, e}); len(s.out) > s.maxFiles {
			return fmt.Errorf("%w: it has more than %d files and folders", ErrTooLarge, s.maxFiles)
		}
	}
	if !e.Dir {
		return nil
	}
	if len(at) > maxDepth {
		return fmt.Errorf("%w: the folders are nested deeper than %d", ErrTooLarge, maxDepth)
	}
	return s.walk(at, rs)
}

func usableName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}
