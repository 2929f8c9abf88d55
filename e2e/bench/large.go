package main

import (
	"context"
	"fmt"
)

// largeOnes installs, changes and prunes single Kustomizations of a quarter,
// half and all of the objects: each step is to cost in proportion to them.
func (l *lab) largeOnes(ctx context.Context) error {
	for _, count := range []int{l.o.large / 4, l.o.large / 2, l.o.large} {
		if err := l.largeOne(ctx, count); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) largeOne(ctx context.Context, count int) error {
	name := fmt.Sprintf("large-%d", count)
	if err := l.repository(ctx, name, files("app", name, count, "one")); err != nil {
		return err
	}
	if err := l.measure(ctx, fmt.Sprintf("%d objects: install", count), func() error {
		if err := l.kustomization(ctx, name, name, "./app", never); err != nil {
			return err
		}
		return l.seen.until("installing", func() bool { return l.seen.states[name].ready })
	}); err != nil {
		return err
	}
	commit := func(what string, change map[string]string, remove ...string) error {
		return l.measure(ctx, fmt.Sprintf("%d objects: %s", count, what), func() error {
			hash, err := l.git.Commit(name, "main", what, change, remove...)
			if err != nil {
				return err
			}
			return l.pokeUntil(ctx, name, func() bool {
				s := l.seen.states[name]
				return s.ready && s.revision == "main@sha1:"+hash
			})
		})
	}
	if err := commit("change one", map[string]string{"app/" + name + "-7.yaml": manifest(name+"-7", "two")}); err != nil {
		return err
	}
	var half []string
	for i := range count / 2 {
		half = append(half, fmt.Sprintf("app/%s-%d.yaml", name, 2*i))
	}
	return commit("prune half", nil, half...)
}
