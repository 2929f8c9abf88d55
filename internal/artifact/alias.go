package artifact

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
)

// Alias makes file, such as "latest.tar.gz", a second name of the artifact a,
// beside it, and returns the URL of that name. What the name stood for before is
// not touched. An alias is no artifact of its own: Collect does not count it, and
// it ends with what it names.
func (s *Store) Alias(a *meta.Artifact, file string) (url string, err error) {
	name, target := path.Join(path.Dir(a.Path), file), path.Base(a.Path)
	if !publishable(name) || !publishable(a.Path) || file == target {
		return "", storageError("link the artifact", os.ErrInvalid)
	}
	if now, err := os.Readlink(s.at(name)); err == nil && now == target {
		return s.URL(name), nil
	}
	f, err := s.temp()
	if err != nil {
		return "", err
	}
	f.Close()
	link := f.Name() + ".alias"
	os.Remove(f.Name())
	if err := os.Symlink(target, link); err != nil {
		return "", storageError("link the artifact", err)
	}
	defer os.Remove(link)
	s.names.Lock()
	defer s.names.Unlock()
	return s.URL(name), s.place(link, s.at(name))
}

// unalias returns the name of the artifact that name stands for. Only links to a
// neighbour are followed.
func (s *Store) unalias(name string) string {
	target, err := os.Readlink(filepath.Join(s.o.Dir, name))
	if err != nil || strings.Contains(target, "/") {
		return name
	}
	return path.Join(path.Dir(name), target)
}
