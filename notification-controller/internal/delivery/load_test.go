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

// TestLoad sends events through 200 Alerts with expressions, of which a tenth
// has a Provider that is down. WEIR_LOAD_SECONDS makes it last that long, at a
// thousand events a second, and print what it measured.
func TestLoad(t *testing.T) {
	const rate, alerts, namespaces = 1000, 200, 20
	seconds, err := strconv.Atoi(os.Getenv("WEIR_LOAD_SECONDS"))
	total := rate * seconds
	if err != nil {
		total = 200
	}
	index := alert.NewIndex(alert.Options{})
	for i := range alerts {
		a := &notificationv1beta3.Alert{}
		a.Name, a.Namespace = fmt.Sprintf("a%d", i), fmt.Sprintf("ns%d", i%namespaces)
		a.Spec = notificationv1beta3.AlertSpec{
			ProviderRef:   meta.LocalObjectReference{Name: fmt.Sprintf("p%d", i/namespaces)}, // p0 of each namespace is down
			EventSources:  []notificationv1.CrossNamespaceObjectReference{{Kind: "Kustomization", Name: "*"}},
			InclusionList: []string{`^event [0-9]+ of .*$`}, ExclusionList: []string{`(?i)waiting.*socket`},
		}
		if err := index.Put(a); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var took []time.Duration
	q := open(t, Options{
		Dir: t.TempDir(), MaxJobs: 1 << 20, MaxBytes: 1 << 30, Backoff: func(int) time.Duration { return time.Second },
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
	peak, late := drive(t, q, index, total, namespaces, time.Second/rate)
	wantTaken, wantWaiting := total*9, total // ten Alerts per namespace, one of them with p0
	for deadline := time.Now().Add(time.Minute); q.Waiting() > wantWaiting; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries wait, want the %d of the providers that are down", q.Waiting(), wantWaiting)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(took) != wantTaken || q.Waiting() != wantWaiting {
		t.Fatalf("%d delivered and %d wait, want %d and %d", len(took), q.Waiting(), wantTaken, wantWaiting)
	}
	slices.Sort(took)
	t.Logf("%d events, %d deliveries; accepted to delivered: median %s, p99 %s; behind schedule at most %s; heap at most %d MiB",
		total, len(took), took[len(took)/2], took[len(took)*99/100], late, peak>>20)
}

// drive accepts total events, one every period, as sixteen senders do. It
// returns the largest heap that it saw and how late an event was at most.
func drive(t *testing.T, q *Queue, index *alert.Index, total, namespaces int, period time.Duration) (peak uint64, late time.Duration) {
	var mu sync.Mutex
	var work sync.WaitGroup
	began := time.Now()
	next := make(chan int)
	for range 16 {
		work.Go(func() {
			for i := range next {
				e := &eventv1.Event{
					InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: fmt.Sprintf("ns%d", i%namespaces), Name: "apps"},
					Severity:       "error", Message: fmt.Sprintf("event %d of many", i), Reason: "BuildFailed", ReportingController: "kustomize-controller",
				}
				var jobs []Job
				for _, m := range index.Match(e) {
					jobs = append(jobs, Job{Provider: m.Provider, Alert: m.Alert, Event: m.Event, Accepted: time.Now()})
				}
				if err := q.Add(jobs); err != nil {
					t.Error(err)
				}
				mu.Lock()
				late = max(late, time.Since(began.Add(time.Duration(i)*period)))
				mu.Unlock()
			}
		})
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for i := range total {
		if behind := time.Until(began.Add(time.Duration(i) * period)); behind > 0 {
			<-tick.C
		}
		next <- i
		if i%1000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	close(next)
	work.Wait()
	return peak, late
}
