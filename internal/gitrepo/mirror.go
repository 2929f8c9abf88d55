package gitrepo

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/sync/semaphore"
)

// mirror is one bare repository on disk: some commits, each with its whole
// tree and without history. Git can read it. Its state is three kinds of file,
// each replaced by a rename: packs, the "shallow" list and "packed-refs",
// written in that order, so that a ref only ever names a commit that is
// complete. A process killed between two steps leaves the previous state and
// garbage that open removes.
type mirror struct {
	dir         string
	repackAfter int // packs

	writer  *semaphore.Weighted // one of fetch, commit, repack, wipe
	readers *semaphore.Weighted // a view takes 1, removing packs takes all

	mu   sync.Mutex
	kept []kept // most recently used first
	open bool
	// broken: a reader found objects missing, the next writer starts anew.
	broken bool
	// searched: which commit is not in the history of which tip.
	searched map[string]plumbing.Hash
}

// kept is a commit that is here and shall stay.
type kept struct {
	commit plumbing.Hash
	root   plumbing.Hash // the annotated tag it was fetched by, or the commit
}

const (
	// maxKept bounds the commits of a mirror. The least recently used go at
	// the next repack.
	maxKept = 128
	// maxHaves bounds the commits told to the server in a fetch.
	maxHaves = 32
	// discardWait bounds the wait for readers when a failed fetch is cleaned up.
	discardWait = 10 * time.Second

	keptPrefix = "refs/commits/"
)

func newMirror(dir string) *mirror {
	return &mirror{dir: dir, repackAfter: repackAfter, writer: semaphore.NewWeighted(1), readers: semaphore.NewWeighted(math.MaxInt64)}
}

func (m *mirror) packDir() string { return filepath.Join(m.dir, "objects", "pack") }

// tempDir is where files grow before they are renamed. It is not the folder of
// the packs: go-git takes that for empty when a file vanishes while it lists it.
func (m *mirror) tempDir() string { return filepath.Join(m.dir, "tmp") }

// ensure opens or creates the mirror; the caller is the writer. What cannot be
// used is removed and made anew.
func (m *mirror) ensure(ctx context.Context) error {
	m.mu.Lock()
	broken := m.broken
	m.mu.Unlock()
	if m.ready() {
		return nil
	}
	var err error
	if !broken {
		err = m.recover()
	}
	if broken || err != nil {
		if err := m.wipe(ctx); err != nil {
			return err
		}
		if err := m.recover(); err != nil {
			return fmt.Errorf("preparing the mirror: %w", bare(err))
		}
	}
	m.mu.Lock()
	m.open = true
	m.mu.Unlock()
	return nil
}

// ready tells that ensure has nothing to do.
func (m *mirror) ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open && !m.broken
}

// recover makes the folders, removes what a crash left and reads the refs.
func (m *mirror) recover() error {
	if err := os.RemoveAll(m.tempDir()); err != nil {
		return err
	}
	for _, dir := range []string{m.packDir(), m.tempDir(), filepath.Join(m.dir, "refs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(m.packDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(m.packDir(), e.Name())
		base := strings.TrimSuffix(name, filepath.Ext(name))
		switch ext := filepath.Ext(name); {
		case ext == ".idx" && !exists(base+".pack"):
			if err := os.Remove(name); err != nil {
				return err
			}
		case ext == ".pack":
			if err := checkPackEnds(base); err != nil {
				return err
			}
		}
	}
	for name, text := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	} {
		if !exists(filepath.Join(m.dir, name)) {
			if err := m.replace(name, text); err != nil {
				return err
			}
		}
	}
	return m.readKept()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// checkPackEnds finds a pack that lost its end, or its index, at the price of
// a few bytes.
func checkPackEnds(base string) error {
	name, err := hex.DecodeString(strings.TrimPrefix(filepath.Base(base), "pack-"))
	if err != nil {
		return err
	}
	packEnd, err1 := tail(base+".pack", 20)
	idxEnd, err2 := tail(base+".idx", 40)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if string(packEnd) != string(name) || string(idxEnd[:20]) != string(name) {
		return fmt.Errorf("%w: a pack is cut short", ErrIncomplete)
	}
	return nil
}

func tail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = f.ReadAt(b, max(st.Size()-n, 0))
	return b, err
}

// wipe removes all content; the caller is the writer. It waits for readers.
func (m *mirror) wipe(ctx context.Context) error {
	if err := m.readers.Acquire(ctx, math.MaxInt64); err != nil {
		return err
	}
	defer m.readers.Release(math.MaxInt64)
	m.mu.Lock()
	m.kept, m.open, m.broken = nil, false, false
	m.mu.Unlock()
	// Refs first: a crash in between must not leave refs without objects.
	return bare(errors.Join(os.RemoveAll(filepath.Join(m.dir, "packed-refs")), os.RemoveAll(m.dir)))
}

// discard removes the packs that came of a fetch that failed, so that a server
// cannot fill the disk with what is never used; the caller is the writer. It waits
// for readers, for a while: one that finds its objects gone has them fetched again.
func (m *mirror) discard(ctx context.Context, before []string) {
	now, _ := m.packs() // none: none
	now = slices.DeleteFunc(now, func(name string) bool { return slices.Contains(before, name) })
	if len(now) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWait)
	defer cancel()
	if m.readers.Acquire(ctx, math.MaxInt64) == nil {
		defer m.readers.Release(math.MaxInt64)
	}
	for _, name := range now {
		_ = os.Remove(name) // what stays goes at the next repack
		_ = os.Remove(strings.TrimSuffix(name, ".pack") + ".idx")
	}
}

// bare drops the path of an error: it is of no use to whoever reads a status.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("%s: %w", l.Op, l.Err)
	}
	return err
}

// replace writes a file of the mirror so that a crash leaves the old or the
// new content. (go-git truncates refs and the shallow list in place.)
func (m *mirror) replace(name, text string) error {
	f, err := os.CreateTemp(m.tempDir(), "file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(m.dir, name)); err != nil {
		return err
	}
	return syncDir(m.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readKept reads packed-refs: "<root> refs/commits/<commit>" per line, most
// recently used first.
func (m *mirror) readKept() error {
	f, err := os.Open(filepath.Join(m.dir, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	var list []kept
	s := bufio.NewScanner(f)
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		root, name, _ := strings.Cut(s.Text(), " "+keptPrefix)
		if !plumbing.IsHash(root) || !plumbing.IsHash(name) {
			return fmt.Errorf("%w: packed-refs is damaged", ErrIncomplete)
		}
		list = append(list, kept{plumbing.NewHash(name), plumbing.NewHash(root)})
	}
	m.mu.Lock()
	m.kept = list
	m.mu.Unlock()
	return s.Err()
}

// keep adds a complete commit; the caller is the writer.
func (m *mirror) keep(k kept) error {
	list := append([]kept{k}, slices.DeleteFunc(m.list(), func(o kept) bool { return o.commit == k.commit })...)
	return m.setKept(list)
}

func (m *mirror) setKept(list []kept) error {
	var shallow, refs strings.Builder
	refs.WriteString("# pack-refs with: \n")
	for _, k := range list {
		fmt.Fprintln(&shallow, k.commit)
		fmt.Fprintf(&refs, "%s %s%s\n", k.root, keptPrefix, k.commit)
	}
	if err := errors.Join(m.replace("shallow", shallow.String()), m.replace("packed-refs", refs.String())); err != nil {
		return err
	}
	m.mu.Lock()
	m.kept = list
	m.mu.Unlock()
	return nil
}

// list is a copy of the kept commits.
func (m *mirror) list() []kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept)
}

// has tells whether a commit is here, and marks it as used.
func (m *mirror) has(h plumbing.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.kept, func(k kept) bool { return k.commit == h })
	if i > 0 {
		k := m.kept[i]
		copy(m.kept[1:i+1], m.kept[:i])
		m.kept[0] = k
	}
	return i >= 0
}

// hasTag tells whether a commit was fetched by the annotated tag of that hash; ""
// asks for none.
func (m *mirror) hasTag(commit plumbing.Hash, tag string) bool {
	return tag == "" || slices.Contains(m.list(), kept{commit, plumbing.NewHash(tag)})
}

// size is the bytes of all packs.
func (m *mirror) size() (n int64) {
	entries, _ := os.ReadDir(m.packDir())
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}
