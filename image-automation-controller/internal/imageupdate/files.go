package imageupdate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/weirhq/weir/internal/gitrepo"

	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/marker"
)

const (
	maxDepth   = 64        // of folders
	maxMarked  = 64 << 20  // bytes of all files with a marker
	maxIndexed = 1_000_000 // folders and files that are remembered
)

// errUpdate is wrapped by errors of the files themselves.
var errUpdate = errors.New("updating the files")

// An index remembers by content which folders and files hold a marker, so that
// of a new commit only what it changed is read. The zero value is ready.
type index struct {
	mu      sync.Mutex
	folders map[string][]string // by tree hash: the files with a marker, relative to the folder
	files   map[string]bool     // by blob hash: has a marker
	size    int
}

func (x *index) folder(hash string) ([]string, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	files, known := x.folders[hash]
	return files, known
}

func (x *index) file(hash string) (marked, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	marked, known = x.files[hash]
	return marked, known
}

func (x *index) noteFolder(hash string, files []string) {
	if hash == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.room(1 + len(files))
	x.folders[hash] = files
}

func (x *index) noteFile(hash string, marked bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.room(1)
	x.files[hash] = marked
}

// room forgets everything when there is too much of it.
func (x *index) room(n int) {
	if x.size += n; x.folders == nil || x.size > maxIndexed {
		x.folders, x.files, x.size = map[string][]string{}, map[string]bool{}, n
	}
}

// marked lists the YAML files with a marker in a folder and below, relative to
// it, sorted. The hash is that of the folder's tree, "" if it is not known.
func (x *index) marked(v *gitrepo.View, dir, hash string, depth int) ([]string, error) {
	if hash != "" {
		if files, known := x.folder(hash); known {
			return files, nil
		}
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: the folder %q is more than %d levels deep", errUpdate, dir, maxDepth)
	}
	entries, err := v.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the folder %q: %w", errUpdate, dir, err)
	}
	files := []string{}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case e.Submodule || e.Symlink:
		case e.Dir:
			below, err := x.marked(v, name, e.Hash, depth+1)
			if err != nil {
				return nil, err
			}
			for _, file := range below {
				files = append(files, path.Join(e.Name, file))
			}
		case strings.HasSuffix(e.Name, ".yaml") || strings.HasSuffix(e.Name, ".yml"):
			has, err := x.hasMarker(v, name, e)
			if err != nil {
				return nil, err
			}
			if has {
				files = append(files, e.Name)
			}
		}
	}
	x.noteFolder(hash, files)
	return files, nil
}

// hasMarker reads a file once for each content it ever has. Files that are too
// large to be updated count as having none.
func (x *index) hasMarker(v *gitrepo.View, name string, e gitrepo.Entry) (bool, error) {
	if marked, known := x.file(e.Hash); known {
		return marked, nil
	}
	r, size, err := v.Open(e)
	if err != nil {
		return false, fmt.Errorf("%w: reading %q: %w", errUpdate, name, err)
	}
	defer r.Close()
	marked := false
	if size <= marker.MaxFileBytes {
		content, err := io.ReadAll(io.LimitReader(r, marker.MaxFileBytes))
		if err != nil {
			return false, fmt.Errorf("%w: reading %q: %w", errUpdate, name, err)
		}
		marked = bytes.Contains(content, []byte(marker.Token))
	}
	x.noteFile(e.Hash, marked)
	return marked, nil
}

// An update is what has to be committed.
type update struct {
	Edits   []gitrepo.Edit
	Changed commitmessage.Changed
	Setters []string // marker texts without a value, for the log
}

// edit applies the values to all marked files of some folders.
func (x *index) edit(v *gitrepo.View, dirs []string, values marker.Values) (update, error) {
	var files []string
	for _, dir := range dirs {
		below, err := x.marked(v, dir, "", 0)
		if err != nil {
			return update{}, err
		}
		for _, file := range below {
			files = append(files, path.Join(dir, file))
		}
	}
	var out update
	total := 0
	for _, name := range files {
		content, err := v.ReadFile(name, marker.MaxFileBytes)
		if err != nil {
			return update{}, fmt.Errorf("%w: reading %q: %w", errUpdate, name, err)
		}
		if total += len(content); total > maxMarked {
			return update{}, fmt.Errorf("%w: the files with markers have more than %d bytes", errUpdate, maxMarked)
		}
		result, err := marker.Edit(content, values)
		if err != nil {
			return update{}, fmt.Errorf("%w: %q: %w", errUpdate, name, err)
		}
		for _, setter := range result.Setters {
			if _, known := values[setter]; !known {
				out.Setters = append(out.Setters, setter)
			}
		}
		if len(result.Changes) > 0 {
			out.Edits = append(out.Edits, gitrepo.Edit{Path: name, Content: result.Content})
			out.Changed.Add(name, result.Changes)
		}
	}
	return out, nil
}
