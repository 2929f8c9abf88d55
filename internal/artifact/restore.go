package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
)

// Restore puts the artifact a, which another store has published, into this one, from
// a copy of its bytes. Nothing is published unless they are what a says. Errors are
// ErrDigest, ErrTooLarge, ErrStorage, those of r and that of ctx.
func (s *Store) Restore(ctx context.Context, a *meta.Artifact, r io.Reader) error {
	d, err := parseDigest(a.Digest)
	if err != nil {
		return err
	}
	if !publishable(a.Path) {
		return fmt.Errorf("%w: %q cannot be the path of an artifact", ErrStorage, a.Path)
	}
	out, err := s.temp()
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	limit := s.o.MaxBytes
	if a.Size != nil {
		limit = min(limit, *a.Size)
	}
	sum := d.Algorithm().Digester()
	n, err := io.Copy(io.MultiWriter(diskWriter{out}, sum.Hash()), io.LimitReader(&cancellable{ctx, r}, limit+1))
	switch {
	case err != nil:
		return storageIfDisk(err)
	case n > limit:
		return fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit)
	case sum.Digest() != d:
		return fmt.Errorf("%w: expected %s, got %s", ErrDigest, d, sum.Digest())
	}
	if err := s.keep(out, Blob{Digest: a.Digest, Size: n}, nil, ""); err != nil {
		return err
	}
	if err := s.expose(a.Path, d); err != nil {
		return err
	}
	s.unpin(a.Digest)
	return nil
}

// Owner returns the object whose artifact is at path, and false if it is no path of
// one.
func Owner(path string) (Object, bool) {
	if !publishable(path) {
		return Object{}, false
	}
	steps := strings.Split(path, "/")
	return Object{Kind: steps[0], Namespace: steps[1], Name: steps[2]}, true
}

// Serves tells whether there is something right at path, which may be an alias. It
// changes nothing.
func (s *Store) Serves(path string) bool {
	if !publishable(path) {
		return false
	}
	f, err := s.open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	d, err := parseDigest(f.recorded)
	return err == nil && s.matches(f.File, d) == nil
}

// Holds tells whether a can be served. Other than Present it mends nothing.
func (s *Store) Holds(a *meta.Artifact) bool {
	if a == nil || !publishable(a.Path) {
		return false
	}
	f, err := s.open(a.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	d, err := parseDigest(a.Digest)
	return err == nil && f.recorded == a.Digest && s.sized(f, a.Size) && s.matches(f.File, d) == nil
}

// AliasOf returns the last part of the address of an alias of a, and false if the
// address is not that of one.
func AliasOf(a *meta.Artifact, address string) (file string, ok bool) {
	_, name, found := strings.Cut(address, "://")
	if _, name, _ = strings.Cut(name, "/"); !found || path.Dir(name) != path.Dir(a.Path) || !publishable(name) || name == a.Path {
		return "", false
	}
	return path.Base(name), true
}
