package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/opencontainers/go-digest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Object is whose artifacts are meant.
type Object struct {
	Kind, Namespace, Name string // Kind in any case
}

// Is tells whether both mean the same object.
func (o Object) Is(other Object) bool { return o.folder() == other.folder() }

func (o Object) folder() string {
	return path.Join(strings.ToLower(o.Kind), o.Namespace, o.Name)
}

// Publication is one artifact to be.
type Publication struct {
	Object
	File     string            // "<commit>.tar.gz"
	Revision string            // "main@sha1:<commit>"
	Metadata map[string]string // goes with the artifact
}

// Publish gives the archive b the name that p says and returns what status is to
// say about it. An artifact of the same name is replaced. Errors are ErrStorage.
func (s *Store) Publish(p Publication, b Blob) (*meta.Artifact, error) {
	d, err := parseDigest(b.Digest)
	if err != nil {
		return nil, err
	}
	name := path.Join(p.folder(), p.File)
	if !publishable(name) {
		return nil, fmt.Errorf("%w: %q cannot be the path of an artifact", ErrStorage, name)
	}
	if err := s.expose(name, d); err != nil {
		return nil, err
	}
	s.unpin(b.Digest)
	return &meta.Artifact{
		Path:           name,
		URL:            s.URL(name),
		Revision:       p.Revision,
		Digest:         b.Digest,
		LastUpdateTime: metav1.Now(),
		Size:           &b.Size,
		Metadata:       p.Metadata,
	}, nil
}

// unpin tells that an archive is published, or will not be.
func (s *Store) unpin(sum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pins, sum)
}

// URL returns where the artifact at path is served.
func (s *Store) URL(path string) string { return "http://" + s.o.Host + "/" + path }

// expose links the archive d to name and records that.
func (s *Store) expose(name string, d digest.Digest) error {
	s.names.Lock()
	defer s.names.Unlock()
	before, _ := os.ReadFile(s.at(recordFolder, name))
	if err := s.name(d, s.at(name)); err != nil {
		return err
	}
	if err := s.writeFile(s.at(recordFolder, name), []byte(d.String())); err != nil {
		return err
	}
	if old, err := parseDigest(string(before)); err == nil && old != d {
		s.drop(old) // it may have had this name only
	}
	return nil
}

// name makes path another name of the archive d. That changes the file's state, and
// nothing in it: what was hashed need not be hashed again.
func (s *Store) name(d digest.Digest, path string) error {
	info, err := os.Lstat(s.blobPath(d))
	if err != nil {
		return storageError("link the archive", err)
	}
	known := s.trusts(info, d)
	if err := s.link(s.blobPath(d), path); err != nil {
		return err
	}
	if now, err := os.Lstat(s.blobPath(d)); err == nil && known && os.SameFile(info, now) && now.ModTime().Equal(info.ModTime()) {
		s.trust(now, d)
	}
	return nil
}

// publishable tells whether name is the path of an artifact: four plain names.
func publishable(name string) bool {
	steps := strings.Split(name, "/")
	for _, step := range steps {
		if !usableName(step) || strings.HasPrefix(step, ".") {
			return false
		}
	}
	return len(steps) == 4
}

// Present tells whether the artifact a can be served: its file is there and its
// bytes are what status says. The file is hashed when it is first seen and when it
// changed. One with other bytes is removed. A missing file whose archive is still
// in the store is put back.
func (s *Store) Present(a *meta.Artifact) bool {
	present, _ := s.Check(a)
	return present
}

// Check is Present that also tells whether the file was there with other bytes,
// which is somebody's doing.
func (s *Store) Check(a *meta.Artifact) (present, damaged bool) {
	if a == nil || !publishable(a.Path) {
		return false, false
	}
	d, err := parseDigest(a.Digest)
	if err != nil {
		return false, false
	}
	f, err := s.open(a.Path)
	if err == nil {
		defer f.Close()
		if s.sized(f, a.Size) && s.matches(f.File, d) == nil && f.recorded == a.Digest {
			return true, false
		}
	}
	return s.heal(a, d)
}

// heal removes what is at a's path if its bytes are wrong, and links the archive
// there if that is right.
func (s *Store) heal(a *meta.Artifact, d digest.Digest) (healed, damaged bool) {
	if f, err := os.Open(s.at(a.Path)); err == nil {
		bad := s.matches(f, d)
		f.Close()
		damaged = errors.Is(bad, ErrDigest)
		if bad != nil {
			s.names.Lock()
			os.Remove(s.at(a.Path))
			os.Remove(s.at(recordFolder, a.Path))
			s.names.Unlock()
		}
	}
	blob, err := os.Open(s.blobPath(d))
	if err != nil {
		return false, damaged
	}
	defer blob.Close()
	if err := s.matches(blob, d); err != nil {
		if errors.Is(err, ErrDigest) {
			os.Remove(s.blobPath(d))
		}
		return false, damaged
	}
	return s.expose(a.Path, d) == nil, damaged
}

// published is an artifact's file, with the digest that it was published under.
type published struct {
	*os.File
	recorded string
}

// open opens the artifact at name, which may be an alias.
func (s *Store) open(name string) (*published, error) {
	s.names.RLock()
	defer s.names.RUnlock()
	name = s.unalias(name)
	record, err := os.ReadFile(s.at(recordFolder, name))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenInRoot(s.o.Dir, name)
	if err != nil {
		return nil, err
	}
	return &published{f, string(record)}, nil
}

func (s *Store) sized(f *published, want *int64) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && (want == nil || info.Size() == *want)
}

// Open returns the bytes of the artifact a, verified. Its errors are
// fs.ErrNotExist and ErrDigest.
func (s *Store) Open(a *meta.Artifact) (io.ReadCloser, error) {
	if !s.Present(a) {
		return nil, fmt.Errorf("artifact %q: %w", a.Path, fs.ErrNotExist)
	}
	f, err := s.open(a.Path)
	if err != nil {
		return nil, fmt.Errorf("artifact %q: %w", a.Path, pathless(err))
	}
	return f, nil
}

// Collect removes the artifacts of o that are neither among the newest
// RetentionRecords, nor younger than RetentionTTL, nor among keep, in which nil
// means nothing, and returns how many it removed.
func (s *Store) Collect(o Object, keep ...*meta.Artifact) (int, error) {
	folder := o.folder()
	kept := map[string]bool{}
	for _, a := range keep {
		if a != nil {
			kept[a.Path] = true
		}
	}
	entries, err := os.ReadDir(s.at(recordFolder, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, storageError("list the artifacts", err)
	}
	type aged struct {
		name string
		time time.Time
	}
	var all []aged
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed in the meantime
		}
		all = append(all, aged{path.Join(folder, e.Name()), info.ModTime()})
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Or(b.time.Compare(a.time), strings.Compare(a.name, b.name)) })
	removed := 0
	for i, a := range all {
		if i < s.o.RetentionRecords || time.Since(a.time) < s.o.RetentionTTL || kept[a.name] {
			continue
		}
		if err := s.withdraw(a.name); err != nil {
			return removed, err
		}
		removed++
	}
	s.expire()
	return removed, nil
}

// Remove removes all artifacts of o.
func (s *Store) Remove(o Object) error {
	folder := o.folder()
	entries, err := os.ReadDir(s.at(recordFolder, folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return storageError("list the artifacts", err)
	}
	for _, e := range entries {
		if err := s.withdraw(path.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(s.at(folder)), os.RemoveAll(s.at(recordFolder, folder))); err != nil {
		return storageError("remove the artifacts", err)
	}
	s.expire()
	return nil
}

// withdraw removes one artifact, and its archive if that has no other name.
func (s *Store) withdraw(name string) error {
	s.names.Lock()
	defer s.names.Unlock()
	record, _ := os.ReadFile(s.at(recordFolder, name))
	for _, p := range []string{s.at(name), s.at(recordFolder, name)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storageError("remove an artifact", err)
		}
	}
	if d, err := parseDigest(string(record)); err == nil {
		s.drop(d)
	}
	return nil
}

// expire drops archives that were packed and not published in time.
func (s *Store) expire() {
	var old []digest.Digest
	s.mu.Lock()
	for sum, pinned := range s.pins {
		if time.Since(pinned) >= pinTime {
			old = append(old, digest.Digest(sum))
		}
	}
	s.mu.Unlock()
	for _, d := range old {
		s.drop(d)
	}
}
