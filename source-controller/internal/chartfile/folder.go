package chartfile

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"helm.sh/helm/v4/pkg/ignore"

	"github.com/weirhq/weir/internal/artifact"
)

const (
	ignoreFile = ".helmignore"
	maxDepth   = 64 // of folders in a chart
)

// ReadFolder reads the chart in a folder of src, without what its .helmignore
// names. Errors wrap ErrChart or are those of src.
func ReadFolder(src artifact.Source, folder string, l Limits) (*Chart, error) {
	rules := ignore.Empty()
	w := &walk{src: src, root: folder, files: NewFiles(l)}
	entries, err := src.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name != ignoreFile || e.Dir {
			continue
		}
		text, err := w.read(ignoreFile, e)
		if err != nil {
			return nil, err
		}
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrChart, ignoreFile, err)
		}
	}
	rules.AddDefaults()
	w.rules = rules
	if err := w.folder("", 0); err != nil {
		return nil, err
	}
	return w.files.Chart()
}

type walk struct {
	src   artifact.Source
	root  string
	rules *ignore.Rules
	files *Files
}

func (w *walk) folder(rel string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: the folder %q lies deeper than %d", ErrChart, rel, maxDepth)
	}
	entries, err := w.src.ReadDir(path.Join(w.root, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(rel, e.Name)
		if w.rules.Ignore(p, info{e}) {
			continue
		}
		if e.Dir {
			err = w.folder(p, depth+1)
		} else {
			err = w.add(p, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) add(p string, e artifact.Entry) error {
	r, _, err := w.src.Open(path.Join(w.root, p), e)
	if err != nil {
		return err
	}
	defer r.Close()
	return w.files.Add(p, r)
}

func (w *walk) read(p string, e artifact.Entry) ([]byte, error) {
	r, _, err := w.src.Open(path.Join(w.root, p), e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, w.files.limits.MaxFile()))
}

// info is an entry as the rules want it.
type info struct{ e artifact.Entry }

func (i info) Name() string     { return i.e.Name }
func (info) Size() int64        { return 0 }
func (info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool      { return i.e.Dir }
func (info) Sys() any           { return nil }

// Mode implements fs.FileInfo.
func (i info) Mode() fs.FileMode {
	if i.e.Dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
