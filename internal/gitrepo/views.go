package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Wanted is a commit that Fetch has returned, of a repository.
type Wanted struct {
	Repo *Repo
	Hash string
}

// Views is View of several commits at once, of one or many repositories of a Pool:
// fn gets a View for each, in the same order.
func Views(ctx context.Context, wanted []Wanted, fn func([]*View) error) error {
	order := make([]int, len(wanted))
	for i := range order {
		order[i] = i
	}
	// Mirrors are taken in one order by all: nobody waits for one and holds another
	// that the first one's owner waits for.
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(wanted[a].Repo.key, wanted[b].Repo.key) })
	v := &views{ctx: ctx, wanted: wanted, order: order, out: make([]*View, len(wanted)), fn: fn}
	return v.open(0, nil)
}

type views struct {
	ctx    context.Context
	wanted []Wanted
	order  []int
	out    []*View
	fn     func([]*View) error
}

// open opens the views from the n-th on; held is the mirror of the one before.
func (v *views) open(n int, held *mirror) error {
	if n == len(v.order) {
		return v.fn(v.out)
	}
	i := v.order[n]
	r := v.wanted[i].Repo
	if n > 0 && v.wanted[v.order[n-1]].Repo.key == r.key {
		return v.view(n, held)
	}
	m, release, err := r.mirror(v.ctx)
	if err != nil {
		return r.fail(err)
	}
	defer release()
	if err := m.readers.Acquire(v.ctx, 1); err != nil {
		return r.fail(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	err = v.view(n, m)
	m.readers.Release(1)
	if errors.Is(err, ErrIncomplete) {
		m.distrust() // it may be another's fault: then it is fetched in vain
	}
	return err
}

func (v *views) view(n int, m *mirror) error {
	i := v.order[n]
	h := plumbing.NewHash(v.wanted[i].Hash)
	if !m.has(h) {
		return v.wanted[i].Repo.fail(fmt.Errorf("%w: commit %q was not fetched", ErrIncomplete, v.wanted[i].Hash))
	}
	s, err := m.storeWith(baseCache / int64(len(v.wanted)))
	if err != nil {
		return v.wanted[i].Repo.fail(err)
	}
	defer s.Close()
	w := &View{ctx: v.ctx, commit: h, s: s, max: v.wanted[i].Repo.pool.o.MaxObjectBytes, trees: map[string][]treeEntry{}}
	c, err := readCommit(w.s, h)
	if err != nil {
		return v.wanted[i].Repo.fail(err)
	}
	w.root, v.out[i] = c.TreeHash, w
	return v.open(n+1, m)
}
