// Bench measures what the main jobs cost: seconds, API requests and CPU
// seconds, on the real programs against a real API server on this machine.
//
//	make bench                      # N = 100 Kustomizations of M = 10 ConfigMaps
//	make bench BENCH="-n 200 -idle 60s"
//	make bench BENCH="-n 1000 -only first"  # for the memory at the end
//	make bench BENCH="-large 5000"          # one Kustomization of 1250, 2500 and 5000 objects
//	make bench BENCH="-sources 1000"        # as many GitRepositories on a server that is far away
//	make bench BENCH="-events 1000"         # events, so many a second for ten seconds
//
// Seconds move with the machine; requests do not. "requests" are those of the
// four controllers, as their clients count them; "all req." is what the API
// server counts, without watches: its own controllers and this program, which
// creates the objects, are in it.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binDir, "bin-dir", "bin", "the folder with the programs")
	flag.StringVar(&o.crds, "crds", "config/crd/bases", "the folder with the custom resource definitions")
	flag.IntVar(&o.n, "n", 100, "how many Kustomizations")
	flag.IntVar(&o.m, "m", 10, "how many ConfigMaps each has")
	flag.IntVar(&o.one, "one", 100, "how many ConfigMaps the single Kustomization has")
	flag.IntVar(&o.chain, "chain", 10, "how long the chain of dependencies is")
	flag.IntVar(&o.large, "large", 0, "how many ConfigMaps a single large Kustomization has; measures only that, at a quarter, half and all of them")
	flag.IntVar(&o.sources, "sources", 0, "how many GitRepositories on a server that takes 200 ms for each answer; measures only that")
	flag.DurationVar(&o.interval, "interval", time.Minute, "the interval of those")
	flag.StringVar(&o.only, "only", "", "the jobs to measure, separated by commas: single, edit, deleted, first, rest, one, all, chain; rest, one and all need first, edit and deleted need single; all of them by default")
	flag.IntVar(&o.events, "events", 0, "how many events a second the notification-controller gets for ten seconds; measures only that")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long to watch the cluster at rest")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	binDir, crds     string
	n, m, one, chain int
	large, sources   int
	interval         time.Duration
	only             string
	events           int
	idle             time.Duration
}

func bench(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binDir, err = filepath.Abs(o.binDir); err != nil {
		return err
	}
	l, err := newLab(ctx, o, dir)
	if err != nil {
		return err
	}
	defer l.close()
	fmt.Printf("\n%-52s %9s %9s %9s", "workload", "seconds", "requests", "all req.")
	for _, name := range columns {
		fmt.Printf(" %9s", name.short)
	}
	fmt.Println(" (CPU seconds)")
	jobs, err := l.jobs()
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if err := job(ctx); err != nil {
			return err
		}
	}
	l.memory(ctx)
	return nil
}

// jobs returns those that the flags ask for, in their order.
func (l *lab) jobs() (jobs []func(context.Context) error, err error) {
	switch {
	case l.o.large > 0:
		return []func(context.Context) error{l.largeOnes}, nil
	case l.o.sources > 0:
		return []func(context.Context) error{l.manySources}, nil
	case l.o.events > 0:
		return []func(context.Context) error{l.eventLoad}, nil
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(l.o.only, ",") {
		wanted[name] = name != ""
	}
	for _, j := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"single", l.single}, {"edit", l.handEdit}, {"deleted", l.deleted}, {"first", l.firstApply}, {"rest", l.atRest},
		{"one", l.commitToOne}, {"all", l.commitToAll}, {"chain", l.dependencies},
	} {
		if l.o.only == "" || wanted[j.name] {
			jobs = append(jobs, j.run)
		}
		delete(wanted, j.name)
	}
	delete(wanted, "")
	if len(wanted) > 0 {
		return nil, fmt.Errorf("-only: there is no job %q", slices.Sorted(maps.Keys(wanted)))
	}
	return jobs, nil
}
