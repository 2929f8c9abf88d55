package gitrepo

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// baseCache bounds the bases of deltas that a store keeps, in bytes. When it is too
// small for files that are deltas of each other and lie far apart, each base is
// inflated again and again.
const baseCache = 8 << 20

// store reads the objects in the packs that a mirror had when it was opened. It may be
// used by many at the same time.
type store struct {
	packs []*pack
	temp  string // folder for what is too large for memory

	mu    sync.Mutex
	max   int64 // bytes of bases
	bytes int64
	bases map[place]*list.Element
	order list.List // of base, the one used last at the front
}

type pack struct {
	file  *os.File
	index *index
}

// place is where an object lies.
type place struct {
	pack *pack
	at   int64
}

// base is an object that others are made of.
type base struct {
	place
	kind    plumbing.ObjectType
	content *content
}

// store opens the objects. The caller closes it.
func (m *mirror) store() (*store, error) { return m.storeWith(baseCache) }

// storeWith is store with a cache of that many bytes.
func (m *mirror) storeWith(cache int64) (*store, error) {
	names, err := m.packs()
	if err != nil {
		return nil, err
	}
	s := &store{temp: m.tempDir(), max: cache, bases: map[place]*list.Element{}}
	for _, name := range names {
		p, err := openPack(name)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
		}
		s.packs = append(s.packs, p)
	}
	return s, nil
}

func openPack(name string) (*pack, error) {
	x, err := openIndex(strings.TrimSuffix(name, ".pack") + ".idx")
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return &pack{file: f, index: x}, nil
}

// Close implements io.Closer.
func (s *store) Close() error {
	var errs []error
	for _, p := range s.packs {
		errs = append(errs, p.file.Close(), p.index.close())
	}
	return errors.Join(errs...)
}

// find returns where an object lies. Errors: plumbing.ErrObjectNotFound, ErrIncomplete.
func (s *store) find(h plumbing.Hash) (place, error) {
	for _, p := range s.packs {
		at, ok, err := p.index.find(h)
		if err != nil {
			return place{}, fmt.Errorf("%w: %w", ErrIncomplete, bare(err))
		}
		if ok {
			return place{p, at}, nil
		}
	}
	return place{}, plumbing.ErrObjectNotFound
}

// has tells whether an object is here.
func (s *store) has(h plumbing.Hash) bool {
	_, err := s.find(h)
	return err == nil
}

// opened is an object to be read once.
type opened struct {
	io.Reader
	kind plumbing.ObjectType
	size int64
	done func() error
}

// Close implements io.Closer.
func (o *opened) Close() error { return o.done() }

// open opens an object, which the caller closes before the store. Errors:
// plumbing.ErrObjectNotFound, ErrIncomplete.
func (s *store) open(h plumbing.Hash) (*opened, error) {
	at, err := s.find(h)
	if err != nil {
		return nil, err
	}
	o, err := s.openAt(at)
	if err != nil {
		return nil, fmt.Errorf("%w: object %s: %w", ErrIncomplete, h, bare(err))
	}
	return o, nil
}

func (s *store) openAt(at place) (*opened, error) {
	i, head, err := inflaterAt(at.pack.file, at.at)
	if err != nil {
		return nil, err
	}
	if !head.kind.IsDelta() {
		release := sync.OnceFunc(i.release)
		return &opened{&sized{r: i.z, left: head.size}, head.kind, head.size, func() error { release(); return nil }}, nil
	}
	i.release()
	kind, c, err := s.made(at)
	if err != nil {
		return nil, err
	}
	return &opened{c.reader(), kind, c.size, c.close}, nil
}

// sized reads what has to have the given size, and no more.
type sized struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (e *sized) Read(b []byte) (int, error) {
	if int64(len(b)) > e.left+1 {
		b = b[:e.left+1] // one more finds the end, where the checksum is
	}
	n, err := e.r.Read(b)
	if e.left -= int64(n); e.left < 0 || errors.Is(err, io.EOF) && e.left != 0 {
		return 0, errors.New("an object has not the size that it announces")
	}
	return n, err
}

// made returns what a chain of deltas makes; the caller closes it.
func (s *store) made(at place) (plumbing.ObjectType, *content, error) {
	deltas, b, err := s.chain(at)
	if err != nil {
		return 0, nil, err
	}
	for n := len(deltas) - 1; n >= 0; n-- {
		next, err := s.apply(deltas[n], b.content)
		if err = errors.Join(err, s.passed(b)); err != nil {
			return 0, nil, errors.Join(err, next.close())
		}
		b = base{deltas[n], b.kind, next}
	}
	return b.kind, b.content, nil
}

// apply returns what one delta makes.
func (s *store) apply(at place, base *content) (*content, error) {
	i, h, err := inflaterAt(at.pack.file, at.at)
	if err != nil {
		return nil, err
	}
	defer i.release()
	d, err := readDelta(i, h.size)
	if err != nil {
		return nil, err
	}
	return s.content(d.made, func(w io.Writer) error { return d.apply(context.Background(), base, w) })
}

// chain returns the deltas from an object down to a base that is known, or none.
func (s *store) chain(at place) (deltas []place, b base, err error) {
	for range maxDeltas + 1 {
		if b, ok := s.known(at); ok {
			return deltas, b, nil
		}
		i, h, err := inflaterAt(at.pack.file, at.at)
		if err != nil {
			return nil, b, err
		}
		if !h.kind.IsDelta() {
			c, err := s.content(h.size, func(w io.Writer) error { return i.copyTo(w, h.size) })
			i.release()
			return deltas, base{at, h.kind, c}, err
		}
		i.release()
		deltas = append(deltas, at)
		if h.kind == plumbing.OFSDeltaObject {
			at.at -= h.back
		} else if at, err = s.find(h.base); err != nil {
			return nil, b, err
		}
	}
	return nil, b, errors.New("deltas of deltas without an end")
}

// content holds what fill writes, of the given size.
func (s *store) content(size int64, fill func(io.Writer) error) (*content, error) {
	if size <= maxInMemory {
		w := &spool{mem: make([]byte, 0, size)}
		err := fill(w)
		return &content{size: size, mem: w.mem}, err
	}
	f, err := unnamed(s.temp)
	if err != nil {
		return nil, err
	}
	c := &content{size: size, file: f}
	if err := fill(&spool{file: f}); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// known returns a base that is kept.
func (s *store) known(at place) (base, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.bases[at]
	if e == nil {
		return base{}, false
	}
	s.order.MoveToFront(e)
	return e.Value.(base), true
}

// passed keeps a base that was used, if it is in memory; else it is closed.
func (s *store) passed(b base) error {
	if b.content.file != nil {
		return b.content.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bases[b.place] != nil {
		return nil
	}
	s.bases[b.place] = s.order.PushFront(b)
	for s.bytes += b.content.size; s.bytes > s.max; {
		last := s.order.Remove(s.order.Back()).(base)
		delete(s.bases, last.place)
		s.bytes -= last.content.size
	}
	return nil
}

// read reads an object of a kind whole, up to max bytes. Errors: ErrIncomplete,
// ErrTooLarge.
func (s *store) read(kind plumbing.ObjectType, h plumbing.Hash, max int64) (data []byte, err error) {
	o, err := s.open(h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrIncomplete, kind, h, err)
	}
	defer func() {
		if e := o.Close(); err == nil && e != nil {
			err = e
		}
	}()
	if o.kind != kind {
		return nil, fmt.Errorf("%w: %s is a %s and no %s", ErrIncomplete, h, o.kind, kind)
	}
	if o.size > max {
		return nil, fmt.Errorf("%w: %s %s has %d bytes, the limit is %d", ErrTooLarge, kind, h, o.size, max)
	}
	var b bytes.Buffer
	b.Grow(int(o.size) + bytes.MinRead)
	if _, err := b.ReadFrom(o); err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrIncomplete, kind, h, bare(err))
	}
	return b.Bytes(), nil
}

// whole reads an object of any kind.
func (s *store) whole(h plumbing.Hash) (plumbing.EncodedObject, error) {
	o, err := s.open(h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrIncomplete, h, err)
	}
	m := &plumbing.MemoryObject{}
	m.SetType(o.kind)
	if _, err := io.Copy(m, o); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrIncomplete, h, bare(err)), o.Close())
	}
	return m, o.Close()
}
