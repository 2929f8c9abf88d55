package gitrepo

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/klauspost/compress/zlib"
)

// maxInMemory is the size in bytes up to which an object is held in memory. What is
// larger goes to a file.
const maxInMemory = 1 << 20

// head is what stands before the deflated bytes of an object in a pack
// (gitformat-pack(5)).
type head struct {
	kind plumbing.ObjectType
	size int64         // inflated; of a delta: of its instructions
	back int64         // of an OFSDeltaObject: how far before it its base starts
	base plumbing.Hash // of a REFDeltaObject
	len  int64         // of the head itself
}

// readHead reads the head of an object.
func readHead(r io.ByteReader) (h head, err error) {
	next := func() byte {
		b, e := r.ReadByte()
		if e != nil && err == nil {
			err = e
		}
		h.len++
		return b
	}
	b := next()
	h.kind, h.size = plumbing.ObjectType(b>>4&7), int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		b = next()
		if shift > 55 || err != nil {
			return h, headError(err, "its size is out of range")
		}
		h.size |= int64(b&0x7f) << shift
	}
	switch h.kind {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	case plumbing.OFSDeltaObject:
		b = next()
		for h.back = int64(b & 0x7f); b&0x80 != 0; h.back |= int64(b & 0x7f) {
			if h.back > 1<<48 || err != nil {
				return h, headError(err, "its base is out of range")
			}
			b = next()
			h.back = (h.back + 1) << 7
		}
	case plumbing.REFDeltaObject:
		for i := range h.base {
			h.base[i] = next()
		}
	default:
		return h, headError(err, fmt.Sprintf("it has type %d", h.kind))
	}
	return h, headError(err, "")
}

func headError(err error, or string) error {
	switch {
	case err != nil:
		return fmt.Errorf("an object's head: %w", err)
	case or != "":
		return fmt.Errorf("an object: %s", or)
	}
	return nil
}

// inflater reads one object after the other.
type inflater struct {
	in  *bufio.Reader
	z   io.ReadCloser // a zlib.Resetter too; nil before the first object
	out *bufio.Reader // over z, for the instructions of deltas
	max io.LimitedReader
	buf []byte
}

var inflaters = sync.Pool{New: func() any {
	return &inflater{in: bufio.NewReaderSize(nil, 8<<10), out: bufio.NewReaderSize(nil, 4<<10), buf: make([]byte, 32<<10)}
}}

// inflaterAt takes an inflater for the object at an offset of r, whose head it reads.
func inflaterAt(r io.ReaderAt, at int64) (*inflater, head, error) {
	i := inflaters.Get().(*inflater)
	i.in.Reset(io.NewSectionReader(r, at, 1<<62))
	h, err := readHead(i.in)
	if err == nil {
		err = i.start(i.in)
	}
	if err != nil {
		i.release()
		return nil, h, err
	}
	return i, h, nil
}

func (i *inflater) release() {
	i.in.Reset(nil)
	inflaters.Put(i)
}

// start begins with the deflated bytes that come next in r. Nothing behind them is
// read from it.
func (i *inflater) start(r *bufio.Reader) (err error) {
	if i.z == nil {
		i.z, err = zlib.NewReader(r)
	} else {
		err = i.z.(zlib.Resetter).Reset(r, nil)
	}
	if err != nil {
		return fmt.Errorf("an object: %w", err)
	}
	return nil
}

// copyTo inflates an object that has exactly n bytes.
func (i *inflater) copyTo(w io.Writer, n int64) error {
	i.max.R, i.max.N = i.z, n+1
	got, err := io.CopyBuffer(justWriter{w}, &i.max, i.buf)
	if err == nil && got != n {
		err = fmt.Errorf("an object has not the %d bytes that it announces", n)
	}
	return err
}

// justWriter hides what else a writer can do: it makes io.CopyBuffer use its buffer.
type justWriter struct{ io.Writer }

// content is what is in an object: in memory, or in a file where it is large.
type content struct {
	size int64
	mem  []byte
	file *os.File
	at   int64 // in file
}

// reader reads it from its start.
func (c *content) reader() io.Reader { return io.NewSectionReader(c, 0, c.size) }

// ReadAt implements io.ReaderAt.
func (c *content) ReadAt(b []byte, off int64) (int, error) {
	if c.file != nil {
		return c.file.ReadAt(b, c.at+off)
	}
	if off >= int64(len(c.mem)) {
		return 0, io.EOF
	}
	n := copy(b, c.mem[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// close gives the file back; c may be nil.
func (c *content) close() error {
	if c == nil || c.file == nil {
		return nil
	}
	return c.file.Close()
}

// copyTo copies n bytes from off on; the caller has seen that there are as many.
func (c *content) copyTo(w io.Writer, off, n int64, buf []byte) error {
	if c.file == nil {
		_, err := w.Write(c.mem[off : off+n])
		return err
	}
	_, err := io.CopyBuffer(justWriter{w}, io.NewSectionReader(c, off, n), buf)
	return err
}

// spool is where content grows.
type spool struct {
	mem  []byte
	file *os.File
	off  int64
}

// Write implements io.Writer.
func (s *spool) Write(b []byte) (int, error) {
	if s.file == nil {
		s.mem = append(s.mem, b...)
		return len(b), nil
	}
	n, err := s.file.WriteAt(b, s.off)
	s.off += int64(n)
	return n, err
}

// delta is the instructions that make an object of another (gitformat-pack(5),
// "Deltified representation").
type delta struct {
	in         *inflater
	size       int64 // of the instructions
	base, made int64 // bytes before and after
}

// readDelta reads the sizes that a delta begins with.
func readDelta(i *inflater, size int64) (*delta, error) {
	i.max.R, i.max.N = i.z, size+1
	i.out.Reset(&i.max)
	d := &delta{in: i, size: size}
	for _, v := range []*int64{&d.base, &d.made} {
		n, err := binary.ReadUvarint(i.out)
		if err != nil || n > 1<<62 {
			return nil, fmt.Errorf("a delta has no sizes (%w)", io.ErrUnexpectedEOF)
		}
		*v = int64(n)
	}
	return d, nil
}

// skip reads the instructions without following them.
func (d *delta) skip() error {
	if _, err := io.CopyBuffer(justWriter{io.Discard}, justReader{d.in.out}, d.in.buf); err != nil {
		return err
	}
	return d.end()
}

type justReader struct{ io.Reader }

// end checks that the instructions have the size that they announce.
func (d *delta) end() error {
	_, err := d.in.out.ReadByte()
	if err == nil || err == io.EOF && d.in.max.N != 1 {
		return fmt.Errorf("a delta has not the %d bytes that it announces, or ends early", d.size)
	}
	if err != io.EOF {
		return err
	}
	return nil
}

// apply makes the object.
func (d *delta) apply(ctx context.Context, base *content, w io.Writer) error {
	if base.size != d.base {
		return fmt.Errorf("a delta is for %d bytes, its base has %d", d.base, base.size)
	}
	for left, ops := d.made, 0; left > 0; ops++ {
		if ops%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		op, err := d.in.out.ReadByte()
		if err != nil {
			return fmt.Errorf("a delta ends early: %w", err)
		}
		off, n := int64(0), int64(op)
		if op&0x80 != 0 {
			off, n, err = d.copied(op)
		}
		switch {
		case err != nil:
			return err
		case n == 0 || n > left || op&0x80 != 0 && off+n > base.size:
			return fmt.Errorf("a delta copies %d bytes at %d of %d, %d are left to make", n, off, base.size, left)
		case op&0x80 != 0:
			err = base.copyTo(w, off, n, d.in.buf)
		default:
			if _, err = io.ReadFull(d.in.out, d.in.buf[:n]); err == nil {
				_, err = w.Write(d.in.buf[:n])
			}
		}
		if err != nil {
			return err
		}
		left -= n
	}
	return d.end()
}

// copied reads the rest of an instruction to copy.
func (d *delta) copied(op byte) (off, n int64, err error) {
	for i := range 7 {
		if op>>i&1 == 0 {
			continue
		}
		b, err := d.in.out.ReadByte()
		if err != nil {
			return 0, 0, fmt.Errorf("a delta ends early: %w", err)
		}
		if i < 4 {
			off |= int64(b) << (8 * i)
		} else {
			n |= int64(b) << (8 * (i - 4))
		}
	}
	if n == 0 {
		n = 0x10000
	}
	return off, n, nil
}
