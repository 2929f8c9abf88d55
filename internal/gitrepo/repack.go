package gitrepo

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// repackAfter is the number of packs at which a mirror is repacked: reads slow
// down with each, by half at about 60.
const repackAfter = 50

// maybeRepack repacks a mirror of many packs; the caller is the writer. That
// the disk is full, or the context at its end, is no reason to fail what was
// fetched: the next fetch tries again.
func (m *mirror) maybeRepack(ctx context.Context) error {
	names, err := m.packs()
	if err != nil || len(names) < m.repackAfter {
		return err
	}
	if err := m.repack(ctx, names); errors.Is(err, ErrIncomplete) {
		m.distrust()
		return err
	}
	return nil
}

func (m *mirror) packs() ([]string, error) {
	return filepath.Glob(filepath.Join(m.packDir(), "pack-*.pack"))
}

// packEntry is where one object lies.
type packEntry struct {
	pack       int
	start, end int64
}

// repacking is the state of one repack.
type repacking struct {
	packs   []*os.File
	at      map[plumbing.Hash]packEntry
	offsets []map[int64]plumbing.Hash
	live    map[plumbing.Hash]bool
}

// repack writes one pack of the objects that the kept commits need and drops
// all others. Entries are copied as they lie, deflated and as deltas; only the
// reference to a delta's base is rewritten from an offset to a hash. Nothing is
// inflated but the trees that are walked.
func (m *mirror) repack(ctx context.Context, names []string) error {
	if list := m.list(); len(list) > maxKept {
		if err := m.setKept(list[:maxKept]); err != nil {
			return bare(err)
		}
	}
	r := &repacking{at: map[plumbing.Hash]packEntry{}, live: map[plumbing.Hash]bool{}}
	defer func() {
		for _, f := range r.packs {
			f.Close()
		}
	}()
	for _, name := range names {
		if err := r.add(name); err != nil {
			return err
		}
	}
	if err := m.mark(ctx, r.live); err != nil {
		return err
	}
	f, err := os.CreateTemp(m.tempDir(), "pack-")
	if err != nil {
		return bare(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	objects, err := r.write(ctx, f)
	if err != nil {
		return err
	}
	made, err := m.install(f, objects)
	if err != nil {
		return bare(err)
	}
	return m.removePacks(ctx, names, made)
}

// removePacks removes packs but one, when nobody reads.
func (m *mirror) removePacks(ctx context.Context, names []string, but string) error {
	if err := m.readers.Acquire(ctx, math.MaxInt64); err != nil {
		return err
	}
	defer m.readers.Release(math.MaxInt64)
	for _, name := range names { // pack before index, the reverse of install
		if filepath.Base(name) == but {
			continue
		}
		if err := errors.Join(os.Remove(name), os.Remove(strings.TrimSuffix(name, ".pack")+".idx")); err != nil {
			return bare(err)
		}
	}
	return nil
}

// add reads the index of a pack.
func (r *repacking) add(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return bare(err)
	}
	r.packs = append(r.packs, f)
	info, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	order, err := listed(strings.TrimSuffix(name, ".pack") + ".idx")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
	}
	offsets := make(map[int64]plumbing.Hash, len(order))
	for i, e := range order {
		end := info.Size() - 20
		if i+1 < len(order) {
			end = order[i+1].at
		}
		if end <= e.at {
			return fmt.Errorf("%w: a pack is damaged", ErrIncomplete)
		}
		offsets[e.at] = e.hash
		// The first copy wins. A base of it lies in the same pack or in an
		// earlier one, so chains of bases cannot form a loop.
		if _, dup := r.at[e.hash]; !dup {
			r.at[e.hash] = packEntry{len(r.packs) - 1, e.at, end}
		}
	}
	r.offsets = append(r.offsets, offsets)
	return nil
}

// listed lists the objects of a pack in the order in which they lie there.
func listed(path string) ([]packObject, error) {
	x, err := openIndex(path)
	if err != nil {
		return nil, err
	}
	all, err := x.all()
	slices.SortFunc(all, func(a, b packObject) int { return cmp.Compare(a.at, b.at) })
	return all, errors.Join(err, x.close())
}

func (r *repacking) write(ctx context.Context, f *os.File) ([]packObject, error) {
	todo := make([]plumbing.Hash, 0, len(r.live))
	for h := range r.live {
		todo = append(todo, h)
	}
	slices.SortFunc(todo, func(a, b plumbing.Hash) int {
		x, y := r.at[a], r.at[b]
		return cmp.Or(cmp.Compare(x.pack, y.pack), cmp.Compare(x.start, y.start))
	})
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.WriteString(packHeader); err != nil {
		return nil, bare(err)
	}
	objects, pos := make([]packObject, 0, len(todo)), int64(len(packHeader))
	for i := 0; i < len(todo); i++ { // grows: bases that no commit needs are kept too
		e, ok := r.at[todo[i]]
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrIncomplete, todo[i])
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raw, base, err := r.read(e)
		if err != nil {
			return nil, err
		}
		if !base.IsZero() && !r.live[base] {
			r.live[base] = true
			todo = append(todo, base)
		}
		objects = append(objects, packObject{hash: todo[i], at: pos, crc: crc32.ChecksumIEEE(raw)})
		if _, err := w.Write(raw); err != nil {
			return nil, bare(err)
		}
		pos += int64(len(raw))
	}
	if err := w.Flush(); err != nil {
		return nil, bare(err)
	}
	return objects, bare(sealPack(f, pos, uint32(len(todo))))
}

// read copies an entry, an offset delta as one that names its base by hash,
// and returns that base.
func (r *repacking) read(e packEntry) ([]byte, plumbing.Hash, error) {
	raw := make([]byte, e.end-e.start)
	if _, err := r.packs[e.pack].ReadAt(raw, e.start); err != nil && !errors.Is(err, io.EOF) {
		return nil, plumbing.ZeroHash, bare(err)
	}
	damaged := fmt.Errorf("%w: a pack is damaged", ErrIncomplete)
	n := 1
	for n < len(raw) && raw[n-1]&0x80 != 0 {
		n++
	}
	if len(raw) < n+20 && len(raw) < n+1 {
		return nil, plumbing.ZeroHash, damaged
	}
	switch t := plumbing.ObjectType(raw[0] >> 4 & 7); t {
	case plumbing.REFDeltaObject:
		if len(raw) < n+20 {
			return nil, plumbing.ZeroHash, damaged
		}
		return raw, plumbing.Hash(raw[n : n+20]), nil
	case plumbing.OFSDeltaObject:
		back, k := int64(raw[n]&0x7f), n
		for raw[k]&0x80 != 0 && k+1 < len(raw) {
			k++
			back = (back+1)<<7 | int64(raw[k]&0x7f)
		}
		base, ok := r.offsets[e.pack][e.start-back]
		if !ok {
			return nil, base, damaged
		}
		out := append([]byte{raw[0]&0x8f | byte(plumbing.REFDeltaObject)<<4}, raw[1:n]...)
		out = append(out, base[:]...)
		return append(out, raw[k+1:]...), base, nil
	}
	return raw, plumbing.ZeroHash, nil
}

// mark collects the objects that the kept commits need.
func (m *mirror) mark(ctx context.Context, live map[plumbing.Hash]bool) error {
	s, err := m.store()
	if err != nil {
		return err
	}
	defer s.Close()
	var walk func(tree plumbing.Hash, depth int) error
	walk = func(tree plumbing.Hash, depth int) error {
		if live[tree] || ctx.Err() != nil || depth > maxDepth {
			return ctx.Err()
		}
		entries, err := readTree(s, tree)
		if err != nil {
			return err
		}
		live[tree] = true
		for _, e := range entries {
			if e.mode == filemode.Dir {
				err = walk(e.hash, depth+1)
			} else if e.mode != filemode.Submodule {
				live[e.hash] = true
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, k := range m.list() {
		c, err := readCommit(s, k.commit)
		if err != nil {
			return err
		}
		live[k.commit] = true
		if k.root != k.commit && s.has(k.root) {
			live[k.root] = true
		}
		if err := walk(c.TreeHash, 0); err != nil {
			return err
		}
	}
	return nil
}

// writePack stores whole objects as one small pack.
func (m *mirror) writePack(ctx context.Context, objects []plumbing.EncodedObject) error {
	f, err := os.CreateTemp(m.tempDir(), "pack-")
	if err != nil {
		return bare(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := encodePack(f, objects); err != nil {
		return bare(err)
	}
	made, err := m.index(ctx, f, uint32(len(objects)), limits{pack: 1 << 60, object: 1 << 60})
	if err != nil {
		return err
	}
	_, err = m.install(f, made)
	return bare(err)
}

// encodePack writes whole objects in the format of a pack.
func encodePack(out io.Writer, objects []plumbing.EncodedObject) error {
	sum := sha1.New()
	w := bufio.NewWriter(io.MultiWriter(out, sum))
	header := binary.BigEndian.AppendUint32([]byte(packHeader)[:8], uint32(len(objects)))
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, o := range objects {
		r, err := o.Reader()
		if err != nil {
			return err
		}
		if err := errors.Join(writeEntry(w, o.Type(), o.Size(), r), r.Close()); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := out.Write(sum.Sum(nil))
	return err
}
