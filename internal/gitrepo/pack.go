package gitrepo

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// errBadPack reports a pack that no honest server sends.
var errBadPack = fmt.Errorf("%w: the pack is damaged", ErrUnreachable)

// limits bound what one fetch may bring.
type limits struct {
	pack   int64 // bytes on the wire
	object int64 // bytes of one object, inflated
	heavy  chan struct{}
}

// inflation bounds all objects of a pack together, as a multiple of
// limits.pack: work, not memory, as each object is let go again.
const inflation = 32

const (
	// heavyPack and heavyObject are the sizes in bytes above which packs take turns
	// to be indexed: the memory of that grows with the pack, and with what its
	// deltas make.
	heavyPack   = 4 << 20
	heavyObject = 8 << 20
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
	in := &until{ctx, f}
	bases, largest, err := inspect(in, lim)
	if err == nil && (n > heavyPack || largest > heavyObject) {
		select {
		case lim.heavy <- struct{}{}:
			defer func() { <-lim.heavy }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err == nil && len(bases) > 0 {
		err = m.completePack(f, sum.count, bases)
	}
	if err != nil {
		return err
	}
	index, err := indexPack(in)
	if err != nil {
		return err
	}
	return bare(m.install(f, index))
}

// until is a file that ends with a context, for code that knows none.
type until struct {
	ctx context.Context
	f   *os.File
}

// Read implements io.Reader.
func (u *until) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.f.Read(b)
}

// Seek implements io.Seeker.
func (u *until) Seek(offset int64, whence int) (int64, error) { return u.f.Seek(offset, whence) }

// inspect bounds the objects of a pack before anything takes their sizes for
// granted, and returns what its deltas name as bases, and the size of the largest.
func inspect(f io.ReadSeeker, lim limits) (bases map[plumbing.Hash]bool, largest int64, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, bare(err)
	}
	sc := packfile.NewScanner(f)
	_, count, err := sc.Header()
	if err != nil {
		return nil, 0, packError(err)
	}
	if count > maxObjects {
		return nil, 0, fmt.Errorf("%w: the fetch brings %d objects, more than %d", ErrTooLarge, count, maxObjects)
	}
	bases, total := map[plumbing.Hash]bool{}, int64(0)
	for range count {
		h, err := sc.NextObjectHeader()
		if err != nil {
			return nil, 0, packError(err)
		}
		if h.Type == plumbing.REFDeltaObject {
			bases[h.Reference] = true
		}
		size, err := inspectObject(sc, h, lim)
		if err != nil {
			return nil, 0, err
		}
		largest = max(largest, size)
		if total += size; total/inflation > lim.pack {
			return nil, 0, fmt.Errorf("%w: the fetch inflates to more than %d bytes", ErrTooLarge, inflation*lim.pack)
		}
	}
	return bases, largest, nil
}

// inspectObject skips one object and returns its size, or that of what it makes if
// it is a delta.
func inspectObject(sc *packfile.Scanner, h *packfile.ObjectHeader, lim limits) (int64, error) {
	switch h.Type {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject, plumbing.OFSDeltaObject, plumbing.REFDeltaObject:
	default:
		return 0, fmt.Errorf("%w: an object of type %d", errBadPack, h.Type)
	}
	size := h.Length
	if size >= 0 && size <= lim.object {
		head := &prefix{}
		n, _, err := sc.NextObject(head)
		if err != nil {
			return 0, packError(err)
		}
		if n != h.Length {
			return 0, fmt.Errorf("%w: an object has %d bytes and not %d", errBadPack, n, h.Length)
		}
		if h.Type.IsDelta() {
			size = max(size, head.deltaTarget())
		}
	}
	if size < 0 || size > lim.object {
		return 0, fmt.Errorf("%w: an object in the repository has more than %d bytes", ErrTooLarge, lim.object)
	}
	return size, nil
}

// packError names what is wrong with a pack: its objects refer to what is not
// here, or it makes no sense.
func packError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, packfile.ErrReferenceDeltaNotFound) {
		return fmt.Errorf("%w: a delta's base", ErrIncomplete)
	}
	return fmt.Errorf("%w: %w", errBadPack, err)
}

// prefix keeps the first bytes of what is written to it.
type prefix struct {
	b [20]byte
	n int
}

// Write implements io.Writer.
func (p *prefix) Write(b []byte) (int, error) {
	p.n += copy(p.b[p.n:], b)
	return len(b), nil
}

// deltaTarget is the second number of a delta, the size of what it makes.
func (p *prefix) deltaTarget() int64 {
	_, n := binary.Uvarint(p.b[:p.n])
	if n <= 0 {
		return -1
	}
	size, k := binary.Uvarint(p.b[n:p.n])
	if k <= 0 || size > 1<<62 {
		return 1 << 62
	}
	return int64(size)
}

func indexPack(f io.ReadSeeker) (*idxfile.Writer, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, bare(err)
	}
	index := new(idxfile.Writer)
	p, err := packfile.NewParser(packfile.NewScanner(f), index)
	if err != nil {
		return nil, packError(err)
	}
	if _, err := p.Parse(); err != nil {
		return nil, packError(err)
	}
	return index, nil
}

// install makes a finished pack visible, index first: go-git lists *.pack and
// then needs the index, git lists *.idx and skips one without its pack.
func (m *mirror) install(f *os.File, index *idxfile.Writer) error {
	mi, err := index.Index()
	if err != nil {
		return packError(err)
	}
	sum, err := packSum(f)
	if err != nil {
		return err
	}
	// The index drops duplicates, and repack takes the next index entry for
	// the end of an object, so a pack with duplicates is refused.
	if n, err := mi.Count(); err != nil || n != int64(sum.count) {
		return fmt.Errorf("%w: duplicate objects", errBadPack)
	}
	t, err := os.CreateTemp(m.tempDir(), "idx-")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	w := bufio.NewWriterSize(t, 1<<20)
	_, err = idxfile.NewEncoder(w).Encode(mi)
	if err = errors.Join(err, w.Flush(), t.Sync(), t.Close(), f.Sync()); err != nil {
		return err
	}
	base := filepath.Join(m.packDir(), fmt.Sprintf("pack-%x", sum.want))
	if err := os.Rename(t.Name(), base+".idx"); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), base+".pack"); err != nil {
		return err
	}
	return syncDir(m.packDir())
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

// completePack appends the bases that a thin pack's deltas name.
func (m *mirror) completePack(f *os.File, count uint32, bases map[plumbing.Hash]bool) error {
	st, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	if _, err := f.Seek(st.Size()-20, io.SeekStart); err != nil {
		return bare(err)
	}
	s := m.store()
	defer s.Close()
	w := bufio.NewWriter(f)
	for h := range bases {
		o, err := s.EncodedObject(plumbing.AnyObject, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue // in the pack itself, or the parser will say so
		} else if err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
		}
		r, err := o.Reader()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
		}
		err = errors.Join(writeEntry(w, o.Type(), o.Size(), r), r.Close())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
		}
		count++
	}
	return bare(errors.Join(w.Flush(), sealPack(f, count)))
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

// sealPack sets the object count and appends the checksum at the current end.
func sealPack(f *os.File, count uint32) error {
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
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
