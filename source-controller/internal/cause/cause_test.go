package cause

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/api/duration"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/upstream"
)

func TestFailure(t *testing.T) {
	errSpec, errFetch := errors.New("spec"), errors.New("fetch")
	table := Table{Causes: []Cause{Stall(errSpec, "Spec"), Retry(errFetch, "Fetch")}, Other: "Other"}
	soon := duration.New(time.Nanosecond)
	late, cancel := Within(t.Context(), "spec.timeout", &soon)
	defer cancel()
	<-late.Done()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want loop.Failure
	}{
		"final":            {t.Context(), fmt.Errorf("a: %w", errSpec), loop.Failure{Reason: "Spec", Final: true}},
		"first":            {t.Context(), errors.Join(errFetch, errSpec), loop.Failure{Reason: "Spec", Final: true}},
		"passing":          {t.Context(), fmt.Errorf("a: %w", errFetch), loop.Failure{Reason: "Fetch"}},
		"unknown":          {t.Context(), errors.New("else"), loop.Failure{Reason: "Other"}},
		"busy":             {t.Context(), fmt.Errorf("%w: %w", errFetch, &upstream.Busy{After: time.Minute}), loop.Failure{Reason: "Fetch", After: time.Minute}},
		"busy for nothing": {t.Context(), &upstream.Busy{}, loop.Failure{Reason: "Other", After: time.Second}},
		"busy Git server":  {t.Context(), gitrepo.Busy("429", time.Hour), loop.Failure{Reason: "Other", After: time.Hour}},
		"told already":     {t.Context(), fmt.Errorf("a: %w", loop.Wait("Later", time.Hour, errSpec)), loop.Failure{Reason: "Later", After: time.Hour, Waiting: true}},
		"late":             {late, errSpec, loop.Failure{Reason: "Other"}},
		"stopped":          {stopped, context.Canceled, loop.Failure{Reason: "Other"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := table.Failure(c.ctx, c.err)
			f, ok := errors.AsType[*loop.Failure](got)
			if !ok || f.Reason != c.want.Reason || f.After != c.want.After || f.Waiting != c.want.Waiting || f.Final != c.want.Final || !errors.Is(got, c.err) {
				t.Errorf("got %+v", got)
			}
			if told := strings.Contains(got.Error(), "not done within spec.timeout of 1ns"); told != (name == "late") {
				t.Errorf("the text is %q", got)
			}
		})
	}
	if err := table.Failure(t.Context(), nil); err != nil {
		t.Errorf("nothing failed, and it is %v", err)
	}
}

func TestWithin(t *testing.T) {
	hour, zero := duration.New(time.Hour), duration.New(0)
	for name, c := range map[string]struct {
		limit *duration.Duration
		want  time.Duration
	}{
		"nothing said": {nil, time.Minute},
		"zero":         {&zero, time.Minute},
		"an hour":      {&hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			before := time.Now()
			ctx, cancel := Within(t.Context(), "spec.timeout", c.limit)
			defer cancel()
			at, _ := ctx.Deadline()
			if d := at.Sub(before); d < c.want || d > c.want+30*time.Second {
				t.Errorf("it ends after %s, want %s", d, c.want)
			}
		})
	}
}
