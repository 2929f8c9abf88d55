package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/runtime/leaderelection"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// standbyLook is how often the lease is looked at by those who wait for it, so that
// one which is released is taken soon. A leader renews it as seldom as the flag says.
const standbyLook = time.Second

// errDeposed is the error of a write after the lease has run out.
var errDeposed = errors.New("the lease of this process has run out: it may not write any more")

// lease is the lock of the leader election. It knows how long the lease holds, and
// keeps a process that was stopped for longer (by a debugger, a slow disk or a
// sleeping machine) from writing what it decided before: it may not be the leader
// any more, and not know it yet.
type lease struct {
	resourcelock.Interface
	duration, period time.Duration

	mu      sync.Mutex
	led     bool      // this process has had the lease
	renewed time.Time // when the last renewal began that succeeded
	record  resourcelock.LeaderElectionRecord
}

// newLease returns the lock in the namespace, on which cfg must be reachable.
func newLease(cfg *rest.Config, namespace, id string, o leaderelection.Options) (*lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, id,
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())}, rest.AddUserAgent(rest.CopyConfig(cfg), "leader-election"), o.RenewDeadline)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	return &lease{Interface: lock, duration: o.LeaseDuration, period: o.RetryPeriod}, nil
}

// Create implements resourcelock.Interface.
func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	err := l.Interface.Create(ctx, record)
	l.note(record, began, err)
	return err
}

// Update implements resourcelock.Interface. A renewal within the retry period of the
// last one has nothing to add, and costs no request.
func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	began := time.Now()
	l.mu.Lock()
	fresh := l.led && began.Sub(l.renewed) < l.period && l.record.HolderIdentity == record.HolderIdentity
	l.mu.Unlock()
	if fresh {
		return nil
	}
	err := l.Interface.Update(ctx, record)
	l.note(record, began, err)
	return err
}

func (l *lease) note(record resourcelock.LeaderElectionRecord, began time.Time, err error) {
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = record
	if record.HolderIdentity == l.Identity() {
		l.led, l.renewed = true, began
	} else {
		l.renewed = time.Time{} // it was given back
	}
}

// holds tells whether this process may write: it never led, so that nobody relies on
// it, or its lease has not run out.
func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.led || time.Since(l.renewed) < l.duration
}

// fence refuses writes of a process that cannot know that it leads.
type fence struct {
	lease *lease
	next  http.RoundTripper
}

// elsewhere are requests that are no decisions of a leader: those for the lease
// itself, and questions that are asked with POST.
var elsewhere = []string{"/apis/coordination.k8s.io/", "/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/"}

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || f.lease.holds() {
		return f.next.RoundTrip(r)
	}
	for _, prefix := range elsewhere {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return f.next.RoundTrip(r)
		}
	}
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, errDeposed
}
