package gitrepo

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// errBadPack reports a pack that no honest server sends.
var errBadPack = fmt.Errorf("%w: the pack is damaged", ErrUnreachable)

// limits bound what one fetch may bring.
type limits struct {
	pack   int64 // bytes on the wire
	object int64 // bytes of one object, inflated
	heavy  chan struct{}
}

// inflation bounds all objects of a fetch together, inflated: work, not memory. What
// comes of a small pack is bounded by its size too.
func (l limits) inflation(wire int64) int64 { return min(4*l.pack, l.pack/2+256*wire) }

const (
	// heavyPack is the size in bytes above which packs take turns to be indexed.
	heavyPack = 4 << 20
	// maxObjects bounds the objects of a pack.
	maxObjects = 1_000_000
)

// ingest stores one pack from the network. A thin pack is completed: the delta
// bases it leaves out are appended from this mirror, so each pack on disk
// stands alone and git can read it.
func (m *mirror) ingest(ctx context.Context, r io.Reader, lim limits) error {
	f, err := os.CreateTemp(m.tempDir(), "pack-")
	if err != nil {
		return bare(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, &limited{r: r, n: lim.pack})
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: the fetch brings more than %d bytes", ErrTooLarge, lim.pack)
	} else if err != nil {
		return bare(err)
	}
	sum, err := packSum(f)
	if err != nil {
		return err
	}
	if sum.count == 0 {
		return nil // nothing new: the ref moved to a commit that is here
	}
	if !bytes.Equal(sum.got, sum.want) {
		return fmt.Errorf("%w: checksum mismatch", errBadPack)
	}
	if n > heavyPack {
		select {
		case lim.heavy <- struct{}{}:
			defer func() { <-lim.heavy }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	objects, err := m.index(ctx, f, sum.count, lim)
	if err != nil {
		return err
	}
	_, err = m.install(f, objects)
	return bare(err)
}

// index finds out what is in the pack in f, of count objects, and completes it.
func (m *mirror) index(ctx context.Context, f *os.File, count uint32, lim limits) ([]packObject, error) {
	s, err := scanPack(ctx, f, count, lim)
	if err != nil {
		return nil, err
	}
	r := newResolver(ctx, f, m.tempDir(), lim, s)
	defer r.close()
	if err := r.resolve(); err != nil {
		return nil, packError(err)
	}
	if err := m.completePack(f, r); err != nil {
		return nil, err
	}
	return r.objects, nil
}

// packError says that a pack makes no sense, unless it is something else.
func packError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", errBadPack, err)
}

// install makes a finished pack visible, index first: readers list *.pack and
// then need the index, git lists *.idx and skips one without its pack. It returns the
// name of the pack.
func (m *mirror) install(f *os.File, objects []packObject) (name string, err error) {
	order, err := sorted(objects)
	if err != nil {
		return "", err
	}
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	sum := make([]byte, 20)
	if _, err := f.ReadAt(sum, st.Size()-20); err != nil {
		return "", err
	}
	t, err := os.CreateTemp(m.tempDir(), "idx-")
	if err != nil {
		return "", err
	}
	defer os.Remove(t.Name())
	err = writeIndex(t, objects, order, sum)
	if err = errors.Join(err, t.Sync(), t.Close(), f.Sync()); err != nil {
		return "", err
	}
	base := filepath.Join(m.packDir(), fmt.Sprintf("pack-%x", sum))
	if err := os.Rename(t.Name(), base+".idx"); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), base+".pack"); err != nil {
		return "", err
	}
	return filepath.Base(base) + ".pack", syncDir(m.packDir())
}

type packSums struct {
	count     uint32
	got, want []byte
}

// packSum reads a pack file and returns its count and its checksum, computed
// and as stored.
func packSum(f *os.File) (s packSums, err error) {
	st, err := f.Stat()
	if err != nil {
		return s, bare(err)
	}
	if st.Size() < 32 {
		return s, fmt.Errorf("%w: %d bytes", errBadPack, st.Size())
	}
	header := make([]byte, 12)
	s.want = make([]byte, 20)
	h := sha1.New()
	_, err1 := f.ReadAt(header, 0)
	_, err2 := f.ReadAt(s.want, st.Size()-20)
	_, err3 := io.Copy(h, io.NewSectionReader(f, 0, st.Size()-20))
	s.got, s.count = h.Sum(nil), binary.BigEndian.Uint32(header[8:])
	return s, errors.Join(err1, err2, err3)
}

// completePack appends the bases that a thin pack's deltas name and that are not in
// it, and resolves what is made of them.
func (m *mirror) completePack(f *os.File, r *resolver) error {
	if len(r.waiting) == 0 {
		return nil
	}
	s, err := m.store()
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	end, before := st.Size()-20, len(r.objects)
	inOrder := slices.Clone(r.waiting) // of the pack: bases tend to come first
	slices.SortFunc(inOrder, func(a, b waiting) int { return cmp.Compare(a.n, b.n) })
	for _, w := range inOrder {
		if r.objects[w.n].kind != plumbing.REFDeltaObject {
			continue // resolved by now
		}
		o, err := s.open(w.base)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue // it may come of another base
		} else if err != nil {
			return err
		}
		n, err := r.add(end, w.base, o)
		if err = errors.Join(err, o.Close()); err != nil {
			return fmt.Errorf("%w: a delta's base: %w", ErrIncomplete, bare(err))
		}
		end += n
		if err := r.below(int32(len(r.objects) - 1)); err != nil {
			return packError(err)
		}
	}
	for _, w := range r.waiting {
		if r.objects[w.n].kind == plumbing.REFDeltaObject {
			return fmt.Errorf("%w: a delta's base", ErrIncomplete)
		}
	}
	if len(r.objects) == before {
		return nil
	}
	return bare(sealPack(f, end, uint32(len(r.objects))))
}

// add writes an object at the end of the pack, and returns its size there.
func (r *resolver) add(at int64, h plumbing.Hash, o *opened) (int64, error) {
	sum := crc32.NewIEEE()
	out := &spool{file: r.pack, off: at}
	w := bufio.NewWriter(io.MultiWriter(out, sum))
	if err := errors.Join(writeEntry(w, o.kind, o.size, o), w.Flush()); err != nil {
		return 0, err
	}
	r.objects = append(r.objects, packObject{hash: h, kind: o.kind, crc: sum.Sum32(), at: at, size: o.size})
	return out.off - at, nil
}

// writeEntry writes one whole object in the format of a pack.
func writeEntry(w io.Writer, t plumbing.ObjectType, size int64, r io.Reader) error {
	b := []byte{byte(t)<<4 | byte(size&15)}
	for rest := size >> 4; rest > 0; rest >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(rest&0x7f))
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	z := zlib.NewWriter(w)
	_, err := io.Copy(z, r)
	return errors.Join(err, z.Close())
}

const packHeader = "PACK\x00\x00\x00\x02\x00\x00\x00\x00"

// sealPack sets the object count and writes the checksum at the end.
func sealPack(f *os.File, end int64, count uint32) error {
	if _, err := f.WriteAt(binary.BigEndian.AppendUint32(nil, count), 8); err != nil {
		return err
	}
	h := sha1.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, end)); err != nil {
		return err
	}
	if _, err := f.WriteAt(h.Sum(nil), end); err != nil {
		return err
	}
	return f.Truncate(end + 20)
}
