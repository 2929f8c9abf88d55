package gitrepo

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
)

// A pack's index (gitformat-pack(5), "Version 2 pack-*.idx files"): a header, a table
// that counts the objects up to each first byte, then hashes, checksums and offsets
// in the order of the hashes, offsets beyond 31 bits, and two checksums.
const (
	indexHeader = "\xfftOc\x00\x00\x00\x02"
	indexHashes = int64(len(indexHeader) + 256*4)
	// maxHeldIndex is the size in bytes up to which an index is read at once.
	maxHeldIndex = 4 << 20
)

var errBadIndex = errors.New("the index of a pack is damaged")

func compareHashes(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) }

// writeIndex writes the index of a pack with the given checksum.
func writeIndex(out io.Writer, objects []packObject, order []int32, pack []byte) error {
	sum := sha1.New()
	w := bufio.NewWriterSize(io.MultiWriter(out, sum), 64<<10)
	word := func(v uint32) {
		_, _ = w.Write(binary.BigEndian.AppendUint32(nil, v)) // Flush says so
	}
	_, _ = w.WriteString(indexHeader)
	for first, n := 0, 0; first < 256; first++ {
		for n < len(order) && int(objects[order[n]].hash[0]) <= first {
			n++
		}
		word(uint32(n))
	}
	for _, n := range order {
		_, _ = w.Write(objects[n].hash[:])
	}
	for _, n := range order {
		word(objects[n].crc)
	}
	var far []int64
	for _, n := range order {
		at := objects[n].at
		if at < 1<<31 {
			word(uint32(at))
			continue
		}
		word(1<<31 | uint32(len(far)))
		far = append(far, at)
	}
	for _, at := range far {
		_, _ = w.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
	}
	_, _ = w.Write(pack)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := out.Write(sum.Sum(nil))
	return err
}

// index finds objects in a pack. It may be used by many at the same time.
type index struct {
	r      io.ReaderAt
	close  func() error
	fanout [256]uint32
	size   int64
}

// openIndex opens the index at path.
func openIndex(path string) (_ *index, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	x := &index{r: f, close: f.Close, size: st.Size()}
	if x.size <= maxHeldIndex {
		data := make([]byte, x.size)
		if _, err := f.ReadAt(data, 0); err != nil {
			return nil, err
		}
		f.Close()
		x.r, x.close = bytes.NewReader(data), func() error { return nil }
	}
	start := make([]byte, indexHashes)
	if _, err := x.r.ReadAt(start, 0); err != nil {
		return nil, err
	}
	table, ok := bytes.CutPrefix(start, []byte(indexHeader))
	for i := range x.fanout {
		x.fanout[i] = binary.BigEndian.Uint32(table[4*i:])
		ok = ok && (i == 0 || x.fanout[i-1] <= x.fanout[i])
	}
	if !ok || x.size < indexHashes+x.count()*28+40 {
		return nil, errBadIndex
	}
	return x, nil
}

func (x *index) count() int64 { return int64(x.fanout[255]) }

// find returns where an object starts.
func (x *index) find(h plumbing.Hash) (at int64, ok bool, err error) {
	low, high := int64(0), int64(x.fanout[h[0]])
	if h[0] > 0 {
		low = int64(x.fanout[h[0]-1])
	}
	var b plumbing.Hash
	for low < high {
		mid := (low + high) / 2
		if _, err := x.r.ReadAt(b[:], indexHashes+20*mid); err != nil {
			return 0, false, err
		}
		switch c := compareHashes(h, b); {
		case c == 0:
			at, err = x.offset(mid)
			return at, err == nil, err
		case c < 0:
			high = mid
		default:
			low = mid + 1
		}
	}
	return 0, false, nil
}

// offset returns where the object of that place in the index starts.
func (x *index) offset(n int64) (int64, error) {
	var b [8]byte
	if _, err := x.r.ReadAt(b[:4], indexHashes+24*x.count()+4*n); err != nil {
		return 0, err
	}
	at := int64(binary.BigEndian.Uint32(b[:]))
	if at < 1<<31 {
		return at, nil
	}
	if _, err := x.r.ReadAt(b[:], indexHashes+28*x.count()+8*(at&(1<<31-1))); err != nil {
		return 0, err
	}
	if at = int64(binary.BigEndian.Uint64(b[:])); at < 0 {
		return 0, errBadIndex
	}
	return at, nil
}

// all lists the objects, in the order of their hashes.
func (x *index) all() ([]packObject, error) {
	objects := make([]packObject, x.count())
	hashes := bufio.NewReaderSize(io.NewSectionReader(x.r, indexHashes, 20*x.count()), 64<<10)
	for i := range objects {
		if _, err := io.ReadFull(hashes, objects[i].hash[:]); err != nil {
			return nil, err
		}
		var err error
		if objects[i].at, err = x.offset(int64(i)); err != nil {
			return nil, err
		}
	}
	return objects, nil
}
