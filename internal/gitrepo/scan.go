package gitrepo

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
)

// packObject is one object of a pack. A pack may have a million of them.
type packObject struct {
	hash plumbing.Hash // of a delta by reference that waits: that of its base
	kind plumbing.ObjectType
	// made tells that it lies there as a delta; kind changes when that is resolved.
	made bool
	crc  uint32
	at   int64 // where it starts
	size int64 // inflated; of a delta: of what it makes

	// The deltas by offset on it, as a list: first the number of the last one, then
	// from there the one before. 0 is none, as the first object is no delta.
	child, sibling int32
}

// scan reads a pack from its start to its end: it bounds and checks every object and
// hashes those that are no deltas.
type scan struct {
	ctx  context.Context
	lim  limits
	size int64 // of the pack, without its checksum

	in      *bufio.Reader
	read    int64 // from the file to in
	bytes   io.Reader
	crc     *bufio.Reader // reads the file again, for checksums
	objects []packObject
	waiting []int32 // deltas by reference
	total   int64
}

// scanPack reads the pack in f, of count objects.
func scanPack(ctx context.Context, f *os.File, count uint32, lim limits) (*scan, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, bare(err)
	}
	if count > maxObjects {
		return nil, fmt.Errorf("%w: the fetch brings %d objects, more than %d", ErrTooLarge, count, maxObjects)
	}
	s := &scan{ctx: ctx, lim: lim, size: st.Size() - 20}
	body := io.NewSectionReader(f, 0, s.size)
	s.bytes, s.crc = body, bufio.NewReaderSize(io.NewSectionReader(f, 0, s.size), 64<<10)
	s.in = bufio.NewReaderSize(s, 64<<10)
	s.objects = make([]packObject, 0, min(int64(count), s.size/8)) // an object has no less
	for _, r := range []*bufio.Reader{s.in, s.crc} {
		if _, err := r.Discard(len(packHeader)); err != nil {
			return nil, packError(err)
		}
	}
	i := inflaters.Get().(*inflater)
	defer i.release()
	for range count {
		if err := s.next(i); err != nil {
			return nil, packError(err)
		}
	}
	if s.at() != s.size {
		return nil, fmt.Errorf("%w: it goes on after its last object", errBadPack)
	}
	return s, nil
}

// Read implements io.Reader.
func (s *scan) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.bytes.Read(b)
	s.read += int64(n)
	return n, err
}

// at is where the scan is in the pack.
func (s *scan) at() int64 { return s.read - int64(s.in.Buffered()) }

// next reads one object.
func (s *scan) next(i *inflater) error {
	o := packObject{at: s.at()}
	h, err := readHead(s.in)
	if err != nil {
		return err
	}
	o.kind, o.size = h.kind, h.size
	if err := s.bound(o.size); err != nil {
		return err
	}
	if err := i.start(s.in); err != nil {
		return err
	}
	if h.kind.IsDelta() {
		err = s.delta(i, &o, h)
	} else {
		o.hash, err = hashed(i, h)
	}
	if err != nil {
		return err
	}
	if s.total += o.size; s.total > s.lim.inflation(s.size) {
		return fmt.Errorf("%w: the fetch of %d bytes inflates to more than %d", ErrTooLarge, s.size, s.lim.inflation(s.size))
	}
	crc := crc32.NewIEEE()
	if _, err := io.CopyN(justWriter{crc}, s.crc, s.at()-o.at); err != nil {
		return err
	}
	o.crc = crc.Sum32()
	s.objects = append(s.objects, o)
	return nil
}

func (s *scan) bound(size int64) error {
	if size > s.lim.object {
		return fmt.Errorf("%w: an object in the repository has more than %d bytes", ErrTooLarge, s.lim.object)
	}
	return nil
}

// delta notes what a delta is of and what it makes.
func (s *scan) delta(i *inflater, o *packObject, h head) error {
	d, err := readDelta(i, h.size)
	if err != nil {
		return err
	}
	if err := s.bound(d.made); err != nil {
		return err
	}
	n := int32(len(s.objects))
	o.size, o.hash, o.made = d.made, h.base, true
	if h.kind == plumbing.REFDeltaObject {
		s.waiting = append(s.waiting, n)
		return d.skip()
	}
	base, ok := sort.Find(len(s.objects), func(k int) int { return cmp.Compare(o.at-h.back, s.objects[k].at) })
	if !ok {
		return fmt.Errorf("a delta at %d is of nothing, at %d", o.at, o.at-h.back)
	}
	o.sibling, s.objects[base].child = s.objects[base].child, n
	return d.skip()
}

// hashed reads and hashes an object that is no delta.
func hashed(i *inflater, h head) (plumbing.Hash, error) {
	sum := plumbing.NewHasher(h.kind, h.size)
	err := i.copyTo(sum, h.size)
	return sum.Sum(), err
}

// sorted lists the objects in the order of their hashes, and refuses two of the same:
// repack takes the next index entry for the end of an object.
func sorted(objects []packObject) ([]int32, error) {
	order := make([]int32, len(objects))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return compareHashes(objects[a].hash, objects[b].hash) })
	for i := 1; i < len(order); i++ {
		if objects[order[i-1]].hash == objects[order[i]].hash {
			return nil, fmt.Errorf("%w: duplicate objects", errBadPack)
		}
	}
	return order, nil
}
