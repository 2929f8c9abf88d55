package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/toolkit"
)

const (
	eventAlerts    = 200 // all with expressions that are asked for each event
	eventTeams     = 50  // four Alerts each
	eventProviders = 10  // the first is dead
	eventTime      = 10 * time.Second
	eventSenders   = 100
)

// inbox is where nine of the Providers lead.
type inbox struct {
	mu       sync.Mutex
	accepted map[string]time.Time // by message, when the post began
	took     []time.Duration
	arrived  map[string]bool // by provider and message
	probes   atomic.Int64
}

func (b *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var e eventv1.Event
	if json.NewDecoder(r.Body).Decode(&e) != nil {
		return
	}
	if strings.HasPrefix(e.Message, "probe") {
		b.probes.Add(1)
		return
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if key := r.URL.Path + e.Message; !b.arrived[key] {
		b.arrived[key] = true
		b.took = append(b.took, now.Sub(b.accepted[e.Message]))
	}
}

func (b *inbox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.arrived)
}

// eventLoad posts events past 200 Alerts to ten Providers, one of which is dead, and
// tells what arrived, how soon, and how much memory the program had at most.
func (l *lab) eventLoad(ctx context.Context) error {
	box := &inbox{accepted: map[string]time.Time{}, arrived: map[string]bool{}}
	server := httptest.NewServer(box)
	defer server.Close()
	if err := l.alerts(ctx, server.URL); err != nil {
		return err
	}
	for n := 0; box.probes.Load() == 0; n++ { // the last Alert is known
		if err := l.post(ctx, fmt.Sprintf("probe %d of team-%d", n, eventTeams-1)); err != nil {
			return err
		}
		if n > 1000 {
			return fmt.Errorf("no event arrives")
		}
		time.Sleep(20 * time.Millisecond)
	}
	total := l.o.events * int(eventTime/time.Second)
	wanted := 0
	for i := range total {
		for a := 4 * (i % eventTeams); a < 4*(i%eventTeams)+4; a++ {
			if a%eventProviders != 0 {
				wanted++
			}
		}
	}
	var refused atomic.Int64
	if err := l.measure(ctx, fmt.Sprintf("%d events a second for %s, until all arrived", l.o.events, eventTime), func() error {
		l.send(ctx, box, total, &refused)
		for deadline := time.Now().Add(limit); box.count() < wanted && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	}); err != nil {
		return err
	}
	peak, err := l.tools.Process(toolkit.Notification).Peak()
	if err != nil {
		return err
	}
	box.mu.Lock()
	defer box.mu.Unlock()
	slices.Sort(box.took)
	fmt.Printf("\n%d events, %d refused; %d of %d deliveries to living providers\n", total, refused.Load(), len(box.took), wanted)
	if n := len(box.took); n > 0 {
		fmt.Printf("from post to delivery: median %s, p99 %s, at most %s\n", box.took[n/2], box.took[n*99/100], box.took[n-1])
	}
	fmt.Printf("memory of the notification-controller at most (VmHWM): %.1f MiB\n", float64(peak)/(1<<20))
	return nil
}

// send posts the events on time, as many senders do.
func (l *lab) send(ctx context.Context, box *inbox, total int, refused *atomic.Int64) {
	period := time.Second / time.Duration(l.o.events)
	began := time.Now()
	next := make(chan int)
	var work sync.WaitGroup
	for range eventSenders {
		work.Go(func() {
			for i := range next {
				message := fmt.Sprintf("event %d of team-%d", i, i%eventTeams)
				box.mu.Lock()
				box.accepted[message] = time.Now()
				box.mu.Unlock()
				if err := l.post(ctx, message); err != nil {
					refused.Add(1)
				}
			}
		})
	}
	for i := range total {
		if ahead := time.Until(began.Add(time.Duration(i) * period)); ahead > 0 {
			time.Sleep(ahead)
		}
		next <- i
	}
	close(next)
	work.Wait()
}

// eventClient keeps a connection for each sender.
var eventClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: eventSenders}, Timeout: time.Minute}

func (l *lab) post(ctx context.Context, message string) error {
	body, err := json.Marshal(eventv1.Event{
		InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: namespace, Name: "apps"},
		Severity:       eventv1.EventSeverityError, Timestamp: metav1.Now(), Message: message, Reason: "BuildFailed", ReportingController: "kustomize-controller",
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.tools.Address(toolkit.Notification, "events")+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := eventClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the event was answered %q", resp.Status)
	}
	return nil
}

// alerts creates the Providers and their Alerts.
func (l *lab) alerts(ctx context.Context, address string) error {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer dead.Close() // from then on connections are refused
	for i := range eventProviders {
		p := &notificationv1beta3.Provider{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("p%d", i)}}
		p.Spec.Type, p.Spec.Address = "generic", fmt.Sprintf("%s/p%d", address, i)
		if i == 0 {
			p.Spec.Address = "http://" + dead.Addr().String()
		}
		if err := l.c.Create(ctx, p); err != nil {
			return err
		}
	}
	for i := range eventAlerts {
		a := &notificationv1beta3.Alert{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("a%d", i)}}
		a.Spec = notificationv1beta3.AlertSpec{
			ProviderRef:   meta.LocalObjectReference{Name: fmt.Sprintf("p%d", i%eventProviders)},
			EventSources:  []notificationv1.CrossNamespaceObjectReference{{Kind: "Kustomization", Name: "*"}},
			InclusionList: []string{fmt.Sprintf(`^[a-z]+ [0-9]+ of team-%d$`, i/4)}, ExclusionList: []string{`(?i)waiting.*socket`},
		}
		if err := l.c.Create(ctx, a); err != nil {
			return err
		}
	}
	return nil
}
