// Package tagdb keeps the tags that scans have found, a small file for each
// ImageRepository.
//
// A file is written to a temporary name, synced and renamed, and only when the
// set of tags changed, so that a crash leaves the old set or the new one. It
// opens with a checksum over the tags; what does not match it is as good as
// absent, and the next scan writes it anew. Tags are kept by object, not by image
// name: two objects that scan one image with other credentials or exclusions
// never see each other's tags.
//
// The format is text. The first line is "weir-tags 1 <count> <digest>", the
// second the canonical name of the image, and each further line a tag, sorted.
package tagdb

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// ErrAbsent is returned for objects that have no (usable) tags on file.
var ErrAbsent = errors.New("no tags on file")

// maxBytes bounds a file that is read. Registries allow tags of 128 characters;
// this holds half a million of the longest.
const maxBytes = 64 << 20

const header = "weir-tags 1"

// Set describes the tags of one image.
type Set struct {
	Image  string // canonical name, such as docker.io/library/alpine
	Count  int
	Digest string // "sha256:<hex>" over the sorted tags, each with a line feed
}

// Store is a directory of tag files. It is safe for concurrent use.
type Store struct {
	root *os.Root

	mu     sync.Mutex
	sets   map[string]Set    // by file name; what is known without reading
	deltas map[string]*Delta // by file name; the last change of each
	reads  int
}

// A Delta is what became of one set of tags when the next one was found.
type Delta struct {
	From, To       string // digests of the sets
	Added, Removed []string
}

// maxDelta bounds the tags of a Delta. More of them are as good as a new set.
const maxDelta = 1_000

// Open uses dir, which is created if need be, and removes what an interrupted
// write may have left there.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(name, temporary) {
			return root.Remove(name)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Store{root: root, sets: map[string]Set{}, deltas: map[string]*Delta{}}, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

// temporary is the suffix of files that are being written. No object can have
// it in its name, because of the underscore.
const temporary = "_tmp"

// file is where the tags of an object are. Names of namespaces and objects hold
// nothing but lower case letters, digits, dashes and dots, and the root keeps
// everything else inside anyway.
func file(namespace, name string) string { return path.Join(namespace, name+".tags") }

// Put records the tags of an object, sorted and without repeats, and reports
// whether the set is another one than before.
func (s *Store) Put(namespace, name, image string, tags []string) (set Set, changed bool, err error) {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	var body bytes.Buffer
	for _, tag := range tags {
		body.WriteString(tag)
		body.WriteByte('\n')
	}
	set = Set{Image: image, Count: len(tags), Digest: digest(body.Bytes())}

	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.set(namespace, name)
	if err == nil && old == set {
		return set, false, nil
	}
	delta := s.compare(namespace, name, set, tags)
	content := fmt.Appendf(nil, "%s %d %s\n%s\n%s", header, set.Count, set.Digest, set.Image, body.Bytes())
	if err := s.write(namespace, name, content); err != nil {
		return Set{}, false, fmt.Errorf("keeping the tags of %s/%s: %w", namespace, name, clean(err))
	}
	s.sets[file(namespace, name)] = set
	s.deltas[file(namespace, name)] = delta
	return set, true, nil
}

// compare tells what is different from what is on file; nil when that is
// another image or too much. The tags are sorted.
func (s *Store) compare(namespace, name string, set Set, tags []string) *Delta {
	before, old, err := s.read(namespace, name)
	if err != nil || old.Image != set.Image {
		return nil
	}
	d := &Delta{From: old.Digest, To: set.Digest}
	for len(before) > 0 || len(tags) > 0 {
		switch {
		case len(before) > 0 && len(tags) > 0 && before[0] == tags[0]:
			before, tags = before[1:], tags[1:]
			continue
		case len(tags) == 0 || len(before) > 0 && before[0] < tags[0]:
			d.Removed, before = append(d.Removed, strings.Clone(before[0])), before[1:]
		default:
			d.Added, tags = append(d.Added, strings.Clone(tags[0])), tags[1:]
		}
		if len(d.Added)+len(d.Removed) > maxDelta {
			return nil
		}
	}
	return d
}

// Since returns what was added to and removed from the set of the given digest
// to make it the present one. Nothing is read. It is not known after a restart,
// and of the last change only.
func (s *Store) Since(namespace, name, digest string) (Delta, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, known := s.sets[file(namespace, name)]
	d := s.deltas[file(namespace, name)]
	switch {
	case known && set.Digest == digest:
		return Delta{From: digest, To: digest}, true
	case !known || d == nil || d.From != digest || d.To != set.Digest:
		return Delta{}, false
	}
	return *d, true
}

// Reads counts the files that were read.
func (s *Store) Reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// Set describes the tags of an object without reading them, if it can. The error
// wraps ErrAbsent when there are none.
func (s *Store) Set(namespace, name string) (Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(namespace, name)
}

func (s *Store) set(namespace, name string) (Set, error) {
	if set, known := s.sets[file(namespace, name)]; known {
		return set, nil
	}
	_, set, err := s.read(namespace, name)
	if err == nil {
		s.sets[file(namespace, name)] = set
	}
	return set, err
}

// Tags returns the tags of an object, sorted. The error wraps ErrAbsent when
// there are none, or none that match their checksum.
func (s *Store) Tags(namespace, name string) ([]string, Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags, set, err := s.read(namespace, name)
	if err != nil {
		delete(s.sets, file(namespace, name)) // so that the next Put writes
		delete(s.deltas, file(namespace, name))
	}
	return tags, set, err
}

// Remove forgets an object. It is no error if there is nothing to forget.
func (s *Store) Remove(namespace, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sets, file(namespace, name))
	delete(s.deltas, file(namespace, name))
	if err := s.root.Remove(file(namespace, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the tags of %s/%s: %w", namespace, name, clean(err))
	}
	return nil
}

func (s *Store) read(namespace, name string) ([]string, Set, error) {
	f, err := s.root.Open(file(namespace, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Set{}, fmt.Errorf("%w for %s/%s", ErrAbsent, namespace, name)
	}
	if err != nil {
		return nil, Set{}, fmt.Errorf("reading the tags of %s/%s: %w", namespace, name, clean(err))
	}
	defer f.Close()
	s.reads++
	content, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return nil, Set{}, fmt.Errorf("reading the tags of %s/%s: %w", namespace, name, clean(err))
	}
	set, body, ok := parse(content)
	if !ok {
		return nil, Set{}, fmt.Errorf("%w for %s/%s: the file is damaged", ErrAbsent, namespace, name)
	}
	if len(body) == 0 {
		return nil, set, nil
	}
	return strings.Split(strings.TrimSuffix(string(body), "\n"), "\n"), set, nil
}

// parse takes a file apart and checks it against its checksum.
func parse(content []byte) (set Set, body []byte, ok bool) {
	first, rest, _ := bytes.Cut(content, []byte("\n"))
	image, body, found := bytes.Cut(rest, []byte("\n"))
	if _, err := fmt.Sscanf(string(first), header+" %d %s", &set.Count, &set.Digest); err != nil || !found {
		return Set{}, nil, false
	}
	set.Image = string(image)
	return set, body, set.Digest == digest(body) && set.Count == bytes.Count(body, []byte("\n"))
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// write replaces a file in a way that a crash cannot leave half done.
func (s *Store) write(namespace, name string, content []byte) error {
	if err := s.root.Mkdir(namespace, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	target := file(namespace, name)
	f, err := s.root.OpenFile(target+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = s.root.Rename(target+temporary, target)
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(target+temporary))
	}
	dir, err := s.root.Open(namespace)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// clean takes the file's path out of an error: nobody who reads it can use it.
func clean(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
