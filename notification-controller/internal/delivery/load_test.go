package delivery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/notification-controller/internal/alert"
)

const (
	loadRate      = 1000 // events a second
	loadAlerts    = 200
	loadProviders = 10 // of which the first is down
	loadTeams     = 50 // whose events an Alert tells by an expression: four Alerts for each
)

// TestLoad sends events past 200 Alerts whose expressions all have to be
// asked; four of them want each event, and one of ten Providers is down.
// WEIR_LOAD_SECONDS makes it last that long, at a thousand events a second,
// and print what it measured.
func TestLoad(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("WEIR_LOAD_SECONDS"))
	total := loadRate * seconds
	if err != nil {
		total = 200
	}
	index := loadIndex(t)
	var mu sync.Mutex
	var took []time.Duration
	q := open(t, Options{
		Dir: t.TempDir(), Backoff: func(int) time.Duration { return time.Second },
		Send: func(_ context.Context, j *Job) error {
			if j.Provider.Name == "p0" {
				return errors.New("nobody answers")
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(j.Accepted))
			return nil
		},
	})
	stop := start(t, q)
	defer stop()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	wanted, lost, peak, late := drive(t, q, index, total, time.Second/loadRate)
	for deadline := time.Now().Add(time.Minute); q.Waiting() > wanted["p0"]; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries wait, want the %d of the provider that is down", q.Waiting(), wanted["p0"])
		}
	}
	mu.Lock()
	defer mu.Unlock()
	alive := 0
	for name, n := range wanted {
		if name != "p0" {
			alive += n
		}
	}
	if len(took) != alive || q.Waiting() != wanted["p0"] || lost != 0 || alive+wanted["p0"] != 4*total {
		t.Fatalf("of %d events %d were refused; %d deliveries made and %d wait, want %d and %d", total, lost, len(took), q.Waiting(), alive, wanted["p0"])
	}
	slices.Sort(took)
	t.Logf("%d events, %d deliveries; accepted to first attempt: median %s, p99 %s, at most %s; behind schedule at most %s; heap grew by at most %d MiB",
		total, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], late, max(0, int64(peak)-int64(before.HeapAlloc))>>20)
}

func loadIndex(t *testing.T) *alert.Index {
	t.Helper()
	index := alert.NewIndex(alert.Options{})
	for i := range loadAlerts {
		a := &notificationv1beta3.Alert{}
		a.Name, a.Namespace = fmt.Sprintf("a%d", i), "ns"
		a.Spec = notificationv1beta3.AlertSpec{
			ProviderRef:   meta.LocalObjectReference{Name: fmt.Sprintf("p%d", i%loadProviders)},
			EventSources:  []notificationv1.CrossNamespaceObjectReference{{Kind: "Kustomization", Name: "*"}},
			InclusionList: []string{fmt.Sprintf(`^event [0-9]+ of team-%d$`, i/4)}, ExclusionList: []string{`(?i)waiting.*socket`},
		}
		if err := index.Put(a); err != nil {
			t.Fatal(err)
		}
	}
	return index
}

// drive accepts total events, one every period, as a hundred senders do. It
// returns how many deliveries each Provider is to get, how many events were
// refused, the largest heap that it saw and how late an event was at most.
func drive(t *testing.T, q *Queue, index *alert.Index, total int, period time.Duration) (wanted map[string]int, lost int, peak uint64, late time.Duration) {
	t.Helper()
	wanted = map[string]int{}
	var mu sync.Mutex
	var work sync.WaitGroup
	began := time.Now()
	next := make(chan int)
	for range 100 {
		work.Go(func() {
			for i := range next {
				e := &eventv1.Event{
					InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: "ns", Name: "apps"},
					Severity:       "error", Message: fmt.Sprintf("event %d of team-%d", i, i%loadTeams), Reason: "BuildFailed", ReportingController: "kustomize-controller",
				}
				var jobs []Job
				for _, m := range index.Match(e) {
					jobs = append(jobs, Job{Provider: m.Provider, Alert: m.Alert, Event: m.Event, Accepted: time.Now()})
				}
				err := q.Add(jobs)
				mu.Lock()
				if err != nil {
					lost++
				}
				for _, j := range jobs {
					wanted[j.Provider.Name]++
				}
				late = max(late, time.Since(began.Add(time.Duration(i)*period)))
				mu.Unlock()
			}
		})
	}
	for i := range total {
		if ahead := time.Until(began.Add(time.Duration(i) * period)); ahead > 0 {
			time.Sleep(ahead)
		}
		next <- i
		if i%500 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	close(next)
	work.Wait()
	return wanted, lost, peak, late
}
