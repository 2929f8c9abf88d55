package apply

import (
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
)

func TestDecide(t *testing.T) {
	now := time.Now()
	row := func(applied bool, sum uint64, marks drift.Marks) drift.Row {
		return drift.Row{Print: drift.Print{Marks: marks}, Applied: applied, Sum: sum}
	}
	due, later := &dirt{verdict: drift.Drifted, due: now}, &dirt{verdict: drift.Drifted, due: now.Add(time.Second)}
	gone := &dirt{verdict: drift.Gone, due: now}
	for name, c := range map[string]struct {
		in   situation
		want step
	}{
		"new":                                   {situation{sum: 1}, check},
		"reported, new":                         {situation{sum: 1, report: true}, check},
		"reported, as applied":                  {situation{known: true, row: row(true, 1, 0), sum: 1, report: true}, nothing},
		"reported, drifted":                     {situation{known: true, row: row(true, 1, 0), sum: 1, dirt: due, report: true}, compare},
		"reported, in a fight":                  {situation{known: true, row: row(true, 1, 0), sum: 1, dirt: later, report: true}, compare},
		"reported, rechecked":                   {situation{known: true, row: row(true, 1, 0), sum: 1, recheck: true, report: true}, compare},
		"reported, changed and drifted":         {situation{known: true, row: row(true, 1, 0), sum: 2, dirt: due, report: true}, check},
		"reported, of a former run":             {situation{known: true, row: row(false, 0, 0), sum: 1, report: true, former: true}, compare},
		"reported, gone since a former run":     {situation{sum: 1, report: true, former: true}, compare},
		"as applied":                            {situation{known: true, row: row(true, 1, 0), sum: 1}, nothing},
		"changed":                               {situation{known: true, row: row(true, 1, 0), sum: 2}, check},
		"changed and drifted":                   {situation{known: true, row: row(true, 1, 0), sum: 2, dirt: due}, check},
		"of a former run":                       {situation{known: true, row: row(false, 0, 0), sum: 1}, check},
		"drifted":                               {situation{known: true, row: row(true, 1, 0), sum: 1, dirt: due}, send},
		"in a fight":                            {situation{known: true, row: row(true, 1, 0), sum: 1, dirt: later}, postpone},
		"in a fight, changed":                   {situation{known: true, row: row(true, 1, 0), sum: 2, dirt: later}, check},
		"in a fight, rechecked":                 {situation{known: true, row: row(true, 1, 0), sum: 1, dirt: later, recheck: true}, send},
		"rechecked":                             {situation{known: true, row: row(true, 1, 0), sum: 1, recheck: true}, send},
		"left alone by the source":              {situation{wants: drift.Leave, sum: 1}, skip},
		"left alone in the cluster":             {situation{known: true, row: row(true, 1, drift.Leave), sum: 2, recheck: true}, skip},
		"left alone in the cluster and deleted": {situation{known: true, row: row(true, 1, drift.Leave), sum: 1, dirt: gone}, send},
		"only created, maybe there":             {situation{wants: drift.Once, sum: 1}, look},
		"only created, there":                   {situation{wants: drift.Once, known: true, row: row(true, 1, 0), sum: 2}, skip},
		"only created, until now":               {situation{known: true, row: row(true, 1, drift.Once), sum: 2, dirt: due}, check},
		"only created, deleted":                 {situation{wants: drift.Once, known: true, row: row(true, 1, 0), sum: 1, dirt: gone}, send},
	} {
		c.in.now = now
		if got := decide(c.in); got != c.want {
			t.Errorf("%s: step %d, want %d", name, got, c.want)
		}
	}
}

func TestFightPause(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		fight fight
		want  time.Duration
	}{
		"none":            {fight{}, 0},
		"second repair":   {fight{2, now}, 0},
		"fourth":          {fight{3, now}, 100 * time.Millisecond},
		"sixth":           {fight{5, now}, 400 * time.Millisecond},
		"long":            {fight{15, now}, 409600 * time.Millisecond},
		"very long":       {fight{1000, now}, 409600 * time.Millisecond},
		"over":            {fight{5, now.Add(-61 * time.Second)}, 0},
		"long, not over":  {fight{15, now.Add(-10 * time.Minute)}, 409600 * time.Millisecond},
		"long, over":      {fight{15, now.Add(-15 * time.Minute)}, 0},
		"just not over":   {fight{5, now.Add(-59 * time.Second)}, 400 * time.Millisecond},
		"clock goes back": {fight{5, now.Add(time.Hour)}, 400 * time.Millisecond},
	} {
		if got := c.fight.pause(now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
