package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// maxBases bounds the bases that are in memory while what is made of them is
	// hashed, in bytes. Others are in a file.
	maxBases = 8 << 20
	// maxDeltas bounds deltas of deltas, as git does.
	maxDeltas = 4095
)

// resolver hashes what the deltas of a pack make. It goes from each base down to all
// that is made of it, so that nothing is inflated twice and only the bases above the
// object in hand are kept.
type resolver struct {
	ctx     context.Context
	pack    *os.File
	lim     limits
	objects []packObject
	waiting []waiting // deltas by reference, in the order of the hashes

	leaf    []byte   // what is made and no base of anything
	buf     []byte   // to copy with
	held    int64    // bytes of bases in memory
	scratch *os.File // nil until it is needed
	top     int64    // of what is in use of it
	temp    string
}

// waiting is a delta by reference: the hash of its base, and its number.
type waiting struct {
	base plumbing.Hash
	n    int32
}

func newResolver(ctx context.Context, pack *os.File, temp string, lim limits, s *scan) *resolver {
	r := &resolver{ctx: ctx, pack: pack, temp: temp, lim: lim, objects: s.objects, buf: make([]byte, 32<<10)}
	for _, n := range s.waiting {
		r.waiting = append(r.waiting, waiting{s.objects[n].hash, n})
	}
	slices.SortStableFunc(r.waiting, func(a, b waiting) int { return compareHashes(a.base, b.base) })
	return r
}

// resolve hashes all that is made of the bases in the pack.
func (r *resolver) resolve() error {
	for n := range r.objects {
		if !r.objects[n].made {
			if err := r.below(int32(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// below resolves all that is made of object n, whose hash is known.
func (r *resolver) below(n int32) error {
	o := &r.objects[n]
	if o.child == 0 && !r.waits(r.first(o.hash), o.hash) {
		return nil
	}
	base, free, err := r.keep(o.size, func(w io.Writer) error {
		i, h, err := inflaterAt(r.pack, o.at)
		if err != nil {
			return err
		}
		defer i.release()
		return i.copyTo(w, h.size)
	})
	if err != nil {
		return err
	}
	defer free()
	return r.children(n, base, 0)
}

// children resolves the deltas on object n, whose content is base.
func (r *resolver) children(n int32, base *content, depth int) error {
	if depth >= maxDeltas {
		return fmt.Errorf("%w: deltas of deltas, more than %d deep", ErrTooLarge, maxDeltas)
	}
	kind := r.objects[n].kind
	for c := r.objects[n].child; c != 0; c = r.objects[c].sibling {
		if err := r.make(c, kind, base, depth+1); err != nil {
			return err
		}
	}
	h := r.objects[n].hash
	for i := r.first(h); r.waits(i, h); i++ {
		if err := r.make(r.waiting[i].n, kind, base, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// make hashes what delta n makes of base, and all that is made of that.
func (r *resolver) make(n int32, kind plumbing.ObjectType, base *content, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	o := &r.objects[n]
	sum := plumbing.NewHasher(kind, o.size)
	apply := func(w io.Writer) error {
		i, h, err := inflaterAt(r.pack, o.at)
		if err != nil {
			return err
		}
		defer i.release()
		d, err := readDelta(i, h.size)
		if err != nil {
			return err
		}
		return d.apply(r.ctx, base, w)
	}
	if o.child == 0 && len(r.waiting) == 0 { // no base of others
		err := r.hash(sum, o.size, apply)
		o.hash, o.kind = sum.Sum(), kind
		return err
	}
	made, free, err := r.keep(o.size, apply)
	if err != nil {
		return err
	}
	defer free()
	if err := made.copyTo(sum, 0, made.size, r.buf); err != nil {
		return err
	}
	o.hash, o.kind = sum.Sum(), kind
	return r.children(n, made, depth)
}

// hash writes what fill makes to sum, in one piece where that is small.
func (r *resolver) hash(sum io.Writer, size int64, fill func(io.Writer) error) error {
	if size > maxInMemory {
		return fill(sum)
	}
	s := &spool{mem: r.leaf[:0]}
	err := fill(s)
	r.leaf = s.mem
	_, _ = sum.Write(s.mem) // a hash never fails
	return err
}

// first returns where the deltas are in waiting that wait for the object of that hash.
func (r *resolver) first(h plumbing.Hash) int {
	return sort.Search(len(r.waiting), func(i int) bool { return compareHashes(r.waiting[i].base, h) >= 0 })
}

// waits tells whether the i-th delta in waiting still waits for the object of that hash.
// Where one does not, no other does either: a second object of the same hash has seen to
// all of them, and is refused later.
func (r *resolver) waits(i int, h plumbing.Hash) bool {
	return i < len(r.waiting) && r.waiting[i].base == h && r.objects[r.waiting[i].n].kind == plumbing.REFDeltaObject
}

// keep holds what fill writes, of the given size, until free is called. What was kept
// last is to be freed first.
func (r *resolver) keep(size int64, fill func(io.Writer) error) (c *content, free func(), err error) {
	if size <= maxInMemory && r.held+size <= maxBases {
		s := &spool{mem: make([]byte, 0, size)}
		if err := fill(s); err != nil {
			return nil, nil, err
		}
		r.held += size
		return &content{size: size, mem: s.mem}, func() { r.held -= size }, nil
	}
	if r.scratch == nil {
		if r.scratch, err = unnamed(r.temp); err != nil {
			return nil, nil, err
		}
	}
	if r.top+size > 4*r.lim.object {
		return nil, nil, fmt.Errorf("%w: deltas of deltas that make more than %d bytes on the way", ErrTooLarge, 4*r.lim.object)
	}
	c = &content{size: size, file: r.scratch, at: r.top}
	s := &spool{file: r.scratch, off: r.top}
	r.top += size
	free = func() { r.top -= size }
	if err := fill(s); err != nil {
		free()
		return nil, nil, err
	}
	return c, free, nil
}

func (r *resolver) close() {
	if r.scratch != nil {
		r.scratch.Close()
	}
}

// unnamed makes a file that nobody sees and that is gone when it is closed.
func unnamed(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "scratch-")
	if err != nil {
		return nil, bare(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(bare(err), f.Close())
	}
	return f, nil
}
