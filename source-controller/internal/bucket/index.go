package bucket

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirhq/weir/internal/artifact"
)

// limits bound what is taken from a bucket.
type limits struct {
	objects int   // listed
	object  int64 // bytes of one that goes into the artifact
	total   int64 // bytes of all that go into the artifact
}

var defaultLimits = limits{objects: 100_000, object: 512 << 20, total: 1 << 30}

const (
	maxKey  = 1024 // bytes, as S3, GCS and Azure have it
	maxName = 255  // bytes between slashes, as file systems have it
)

// index is what a bucket holds, as a tree. It is an artifact.Source whose content
// comes through fetch.
type index struct {
	id      string
	objects map[string]object
	folders map[string][]artifact.Entry
	fetch   func(object) (io.ReadCloser, error)
}

// list makes an index of the objects whose keys start with prefix. scope names the
// bucket.
func list(ctx context.Context, s storage, scope, prefix string, l limits) (*index, error) {
	x := &index{objects: map[string]object{}, folders: map[string][]artifact.Entry{"": nil}}
	err := s.list(ctx, prefix, func(o object) error {
		if strings.HasSuffix(o.key, "/") { // a marker for a folder
			return nil
		}
		if len(x.objects) == l.objects {
			return fmt.Errorf("%w: the bucket has more than %d objects: set spec.prefix", errLimit, l.objects)
		}
		return x.add(o)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the bucket: %w", err)
	}
	keys := make([]string, 0, len(x.objects))
	for key := range x.objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	sum := sha256.New()
	for _, key := range keys {
		if err := x.place(scope, x.objects[key]); err != nil {
			return nil, err
		}
		fmt.Fprintln(sum, x.objects[key].id(scope)) // a hash never fails
	}
	x.id = "bucket:" + hex.EncodeToString(sum.Sum(nil))
	return x, nil
}

func (x *index) add(o object) error {
	if err := usable(o.key); err != nil {
		return err
	}
	if o.etag == "" || o.version == "" || len(o.etag)+len(o.version) > maxKey || strings.ContainsFunc(o.etag+o.version, control) || o.size < 0 {
		return fmt.Errorf("%w: the object %q is listed with the entity tag %.64q and %d bytes", errAnswer, o.key, o.etag, o.size)
	}
	if _, twice := x.objects[o.key]; twice {
		return fmt.Errorf("%w: the object %q is listed twice", errAnswer, o.key)
	}
	x.objects[o.key] = o
	return nil
}

func control(c rune) bool { return c < ' ' || c == 0x7f }

// usable refuses keys that cannot be the path of a file everywhere.
func usable(key string) error {
	refuse := func(why string) error {
		return fmt.Errorf("the key %.100q %w: %s: rename the object or set spec.prefix", key, errKey, why)
	}
	switch {
	case key == "":
		return refuse("it is empty")
	case len(key) > maxKey:
		return refuse(fmt.Sprintf("it is longer than %d bytes", maxKey))
	case !utf8.ValidString(key):
		return refuse("it is not UTF-8")
	case strings.ContainsFunc(key, control):
		return refuse("it has control characters")
	case key[0] == '/':
		return refuse("it starts with a slash")
	}
	for name := range strings.SplitSeq(key, "/") {
		switch {
		case name == "":
			return refuse("a part of it is empty")
		case name == "." || name == "..":
			return refuse(fmt.Sprintf("a part of it is %q", name))
		case len(name) > maxName:
			return refuse(fmt.Sprintf("a part of it is longer than %d bytes", maxName))
		}
	}
	return nil
}

// place puts o, and the folders on the way to it, into the tree.
func (x *index) place(scope string, o object) error {
	at := o.key
	entry := artifact.Entry{ID: o.id(scope)}
	for {
		i := strings.LastIndexByte(at, '/')
		folder := at[:max(i, 0)]
		entry.Name = at[i+1:]
		_, known := x.folders[folder]
		x.folders[folder] = append(x.folders[folder], entry)
		if known {
			return nil
		}
		if _, file := x.objects[folder]; file {
			return fmt.Errorf("the key %q %w: it is also the folder of %q: rename one of them", folder, errKey, o.key)
		}
		at, entry = folder, artifact.Entry{Dir: true}
	}
}

// id names the content of o.
func (o object) id(scope string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d", scope, o.key, o.etag, o.version, o.size))
	return hex.EncodeToString(sum[:])
}

// revision is the digest over the chosen keys and their entity tags. The ignore
// file at the top is not among them, as other implementations of the wire API
// have it.
func revision(chosen []object) string {
	sum := sha256.New()
	for _, o := range chosen {
		fmt.Fprintf(sum, "%s %s\n", o.key, o.etag) // a hash never fails
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// check holds the chosen objects against the limits.
func check(chosen []object, l limits) error {
	total := int64(0)
	for _, o := range chosen {
		if o.size > l.object {
			return fmt.Errorf("the object %q has %d bytes, which is %w (%d): add it to spec.ignore", o.key, o.size, errLimit, l.object)
		}
		if total += o.size; total > l.total {
			return fmt.Errorf("the objects have together %w (%d bytes): set spec.prefix or spec.ignore", errLimit, l.total)
		}
	}
	return nil
}

// pick returns the objects that the paths name, by key.
func (x *index) pick(paths []string) []object {
	out := make([]object, 0, len(paths))
	for _, p := range paths {
		out = append(out, x.objects[p])
	}
	slices.SortFunc(out, func(a, b object) int { return cmp.Compare(a.key, b.key) })
	return out
}

// ID implements artifact.Source.
func (x *index) ID() string { return x.id }

// ReadDir implements artifact.Source.
func (x *index) ReadDir(folder string) ([]artifact.Entry, error) {
	return slices.Clone(x.folders[folder]), nil
}

// Open implements artifact.Source.
func (x *index) Open(path string, _ artifact.Entry) (io.ReadCloser, int64, error) {
	o := x.objects[path]
	r, err := x.fetch(o)
	return r, o.size, err
}
