package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/weirhq/weir/notification-controller/internal/provider"
)

func key(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }

func job(to, severity string, n int) Job {
	j := Job{Provider: key(to), Alert: key("alert"), Accepted: time.Now()}
	j.Event.Severity, j.Event.Message = severity, strconv.Itoa(n)
	return j
}

func open(t *testing.T, o Options) *Queue {
	t.Helper()
	if o.Backoff == nil {
		o.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// start runs q and returns a function that stops and closes it.
func start(t *testing.T, q *Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Start(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, q.Close()); err != nil {
			t.Error(err)
		}
	})
}

func add(t *testing.T, q *Queue, jobs ...Job) {
	t.Helper()
	if err := q.Add(jobs); err != nil {
		t.Fatal(err)
	}
}

func TestAcceptedSurvivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	q := open(t, Options{Dir: dir, Send: func(context.Context, *Job) error { t.Error("sent before Start"); return nil }})
	for i := range 10 {
		add(t, q, job("a", "info", i))
	}
	if err := q.Close(); err != nil { // gives back the file's lock; all writes are synced before
		t.Fatal(err)
	}
	got := make(chan string, 10)
	q = open(t, Options{Dir: dir, Send: func(_ context.Context, j *Job) error { got <- j.Event.Message; return nil }})
	stop := start(t, q)
	defer stop()
	for i := range 10 {
		if m := <-got; m != strconv.Itoa(i) {
			t.Fatalf("job %d: got %q", i, m)
		}
	}
}

func TestInterruptedAttemptIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	under := make(chan struct{})
	q := open(t, Options{Dir: dir, Send: func(ctx context.Context, _ *Job) error { close(under); <-ctx.Done(); return ctx.Err() }})
	add(t, q, job("a", "error", 1))
	stop := start(t, q)
	<-under
	stop()
	q = open(t, Options{Dir: dir, Send: func(context.Context, *Job) error { return nil }})
	defer q.Close()
	if n := q.Waiting(); n != 1 {
		t.Errorf("%d jobs wait, want 1", n)
	}
}

func TestDeadProviderDelaysNoOther(t *testing.T) {
	got := make(chan string, 100)
	q := open(t, Options{Dir: t.TempDir(), Send: func(ctx context.Context, j *Job) error {
		if j.Provider.Name == "dead" {
			<-ctx.Done()
			return ctx.Err()
		}
		got <- j.Event.Message
		return nil
	}})
	stop := start(t, q)
	defer stop()
	for i := range 100 {
		add(t, q, job("dead", "info", i), job("alive", "info", i))
	}
	for range 100 {
		<-got
	}
}

func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	tests := map[string]struct {
		answers  []error // one for each attempt; then nil
		attempts int
		gaveUp   bool
	}{
		"taken":              {attempts: 1},
		"once down":          {answers: []error{boom}, attempts: 2},
		"down for long":      {answers: []error{boom, boom, boom, boom, boom, boom, boom}, attempts: 8},
		"refused for good":   {answers: []error{provider.Final(boom)}, attempts: 1, gaveUp: true},
		"asks to be left be": {answers: []error{&provider.Failure{Err: boom, After: 5 * time.Millisecond}}, attempts: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			attempts, gaveUp := 0, false
			all, last := make(chan struct{}), make(chan struct{})
			q := open(t, Options{Dir: t.TempDir(),
				Send: func(_ context.Context, j *Job) error {
					if j.Event.Message == "2" { // follows in the same lane
						close(last)
						return nil
					}
					attempts++
					if attempts == tt.attempts {
						close(all)
					}
					if attempts <= len(tt.answers) {
						return tt.answers[attempts-1]
					}
					return nil
				},
				Failed: func(_ *Job, _ error, final bool) { gaveUp = gaveUp || final },
			})
			stop := start(t, q)
			add(t, q, job("a", "info", 1))
			<-all
			add(t, q, job("a", "info", 2))
			<-last
			stop()
			if attempts != tt.attempts || gaveUp != tt.gaveUp {
				t.Errorf("%d attempts, gave up: %t; want %d, %t", attempts, gaveUp, tt.attempts, tt.gaveUp)
			}
		})
	}
}

// One event that is always refused with "try again" lets the others by.
func TestPoisonLetsOthersBy(t *testing.T) {
	got := make(chan string, 10)
	q := open(t, Options{Dir: t.TempDir(), Send: func(_ context.Context, j *Job) error {
		if j.Event.Message == "0" {
			return errors.New("boom")
		}
		got <- j.Event.Message
		return nil
	}})
	for i := range 10 {
		add(t, q, job("a", "info", i))
	}
	stop := start(t, q)
	defer stop()
	for i := 1; i < 10; i++ {
		if m := <-got; m != strconv.Itoa(i) {
			t.Fatalf("got %q, want %d", m, i)
		}
	}
}

func TestFullDropsOldestInfoFirst(t *testing.T) {
	got := make(chan string, 10)
	q := open(t, Options{Dir: t.TempDir(), MaxJobs: 3, Send: func(_ context.Context, j *Job) error { got <- j.Event.Message; return nil }})
	for i, severity := range []string{"error", "info", "info", "error", "error"} {
		add(t, q, job("a", severity, i))
	}
	stop := start(t, q)
	defer stop()
	if m := fmt.Sprintf("%s %s %s", <-got, <-got, <-got); m != "0 3 4" {
		t.Errorf("got %s, want the errors 0 3 4", m)
	}
}

// Errors are never dropped: while they fill the queue, others are refused, and
// info events are dropped and counted.
func TestFullOfErrors(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{{Dir: dir + "/jobs", MaxJobs: 2}, {Dir: dir + "/bytes", MaxBytes: 700}} {
		got := make(chan string, 10)
		o.Send = func(_ context.Context, j *Job) error { got <- j.Event.Message; return nil }
		q := open(t, o)
		add(t, q, job("a", "error", 0), job("a", "error", 1))
		if err := q.Add([]Job{job("a", "error", 2)}); !errors.Is(err, ErrFull) {
			t.Errorf("an error was answered %v, want ErrFull", err)
		}
		add(t, q, job("a", "info", 3))
		if n := q.Waiting(); n != 2 {
			t.Errorf("%d jobs wait, want 2", n)
		}
		stop := start(t, q)
		if m := <-got + <-got; m != "01" {
			t.Errorf("got %s, want the errors 0 and 1", m)
		}
		for q.Waiting() > 0 {
			time.Sleep(time.Millisecond)
		}
		add(t, q, job("a", "error", 4)) // there is room again
		if m := <-got; m != "4" {
			t.Errorf("got %s, want 4", m)
		}
		stop()
	}
}

// A destination that is down for ten minutes by the clock gets all errors when
// it is back, each of them, though it never takes the same attempt twice.
func TestTenMinutesDown(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const events = 50
		back := time.Now().Add(10 * time.Minute)
		got := map[string]int{}
		attempts := 0
		all := make(chan struct{})
		q, err := Open(Options{Dir: dir, Send: func(context.Context, *Job) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		q.o.Send = func(_ context.Context, j *Job) error {
			attempts++
			if time.Now().Before(back) {
				return errors.New("nobody answers")
			}
			if got[j.Event.Message]++; len(got) == events {
				close(all)
			}
			return nil
		}
		stop := start(t, q)
		for i := range events {
			add(t, q, job("a", "error", i))
			time.Sleep(20 * time.Second)
		}
		<-all
		stop()
		for message, n := range got {
			if n != 1 {
				t.Errorf("event %s arrived %d times", message, n)
			}
		}
		if attempts > 2*events {
			t.Errorf("%d attempts for %d events: a destination that is down is not left alone", attempts, events)
		}
	})
}

func TestThousandEventsShareSyncs(t *testing.T) {
	got := make(chan string, 1000)
	q := open(t, Options{Dir: t.TempDir(), Send: func(_ context.Context, j *Job) error { got <- j.Event.Message; return nil }})
	var work sync.WaitGroup
	for i := range 1000 {
		work.Go(func() {
			if err := q.Add([]Job{job("a", "info", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	stats := q.store.db.Stats()
	if n := stats.TxStats.GetWrite(); n > 1000 {
		t.Errorf("%d writes for 1000 events: they do not share transactions", n)
	}
	if n := q.Waiting(); n != 1000 {
		t.Fatalf("%d jobs wait, want 1000", n)
	}
	stop := start(t, q)
	defer stop()
	seen := map[string]bool{}
	for range 1000 {
		seen[<-got] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different events arrived, want 1000", len(seen))
	}
}
