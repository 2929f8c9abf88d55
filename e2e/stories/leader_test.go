package stories

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// The lease of these stories is short, so that they are.
const leaseSeconds = 4

var electing = []string{
	"--enable-leader-election", fmt.Sprintf("--leader-election-lease-duration=%ds", leaseSeconds),
	"--leader-election-renew-deadline=3s", "--leader-election-retry-period=500ms",
}

// replica is one of several kustomize-controllers, with a way to the API server
// of its own, so that its writes can be told from the others'.
type replica struct {
	*toolkit.Toolkit
	proxy *testenv.Proxy
}

func (s *story) replica(namespace string) *replica {
	s.Helper()
	r := &replica{proxy: testenv.StartProxy(s.T, testenv.Config(s.T))}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	var err error
	r.Toolkit, err = toolkit.Start(ctx, toolkit.Options{ // it returns when the program is ready, leader or not
		BinDir: bin(s.T), WorkDir: s.TempDir(), Kubeconfig: r.proxy.Kubeconfig(s.T), Namespace: namespace,
		Programs: []string{toolkit.Kustomize}, Flags: map[string][]string{toolkit.Kustomize: electing},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = r.Stop() }) // most of them have ended in some other way
	return r
}

// holder returns who leads now.
func (s *story) holder() string {
	s.Helper()
	lease := &coordinationv1.Lease{}
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.ns, Name: "kustomize-controller-leader-election"}, lease); err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// Two replicas, of which one works: the other takes over when the first ends,
// is killed, or stands still; one that stood still and wakes up writes nothing.
func TestLeadersTakeOver(t *testing.T) {
	onProcesses(t)
	s := begin(t)
	shared := s.tools.(*toolkit.Toolkit)
	if err := shared.Process(toolkit.Kustomize).Stop(); err != nil { // the one of all stories knows no leader
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the invariants are checked
		if err := shared.Run(toolkit.Kustomize); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := shared.WaitReady(ctx, toolkit.Kustomize); err != nil {
			t.Fatal(err)
		}
	})
	first := s.replica(s.ns)
	s.eventually("somebody leads", func() string { return missing(s.holder()) })
	second := s.replica(s.ns)
	repo := s.repository(time.Second, map[string]string{"app/a.yaml": configMap("a", "0")})
	s.kustomization(never, nil)
	s.value("a", "0")
	if len(second.proxy.Writes()) > 0 {
		t.Errorf("the one that does not lead wrote %v", second.proxy.Writes())
	}

	began, before := time.Now(), s.holder()
	if err := first.Process(toolkit.Kustomize).Stop(); err != nil {
		t.Fatal(err)
	}
	s.takesOver(before)
	t.Logf("another leads %s after SIGTERM", time.Since(began).Round(time.Millisecond))
	s.commit("One", map[string]string{"app/a.yaml": configMap("a", "1")})
	s.value("a", "1")

	third := s.replica(s.ns)
	before = s.holder()
	_ = second.Process(toolkit.Kustomize).Signal(syscall.SIGKILL)
	s.commit("Two", map[string]string{"app/a.yaml": configMap("a", "2")})
	s.takesOver(before)
	s.value("a", "2")

	fourth := s.replica(s.ns)
	before = s.holder()
	third.signal(t, syscall.SIGSTOP) // its own clock does not tell it that time passes
	s.commit("Three", map[string]string{"app/a.yaml": configMap("a", "3")})
	s.takesOver(before)
	s.value("a", "3")
	s.ready(repo)
	stale := len(third.proxy.Writes())
	third.signal(t, syscall.SIGCONT)
	select {
	case <-third.Process(toolkit.Kustomize).Ended():
	case <-time.After(patience):
		t.Error("a leader that lost its lease goes on")
	}
	if late := third.proxy.Writes()[stale:]; len(late) > 0 {
		t.Errorf("a leader that had lost its lease wrote %v", late)
	}
	s.commit("Four", map[string]string{"app/a.yaml": configMap("a", "4")})
	s.value("a", "4")
	if err := fourth.Process(toolkit.Kustomize).Stop(); err != nil {
		t.Error(err)
	}
}

func missing(s string) string {
	if s == "" {
		return "nobody"
	}
	return ""
}

// takesOver waits until another one leads than before.
func (s *story) takesOver(before string) {
	s.Helper()
	s.eventually("another one leads", func() string {
		if now := s.holder(); now == before || strings.TrimSpace(now) == "" {
			return fmt.Sprintf("it is %q", now)
		}
		return ""
	})
}

// signal sends a signal that does not end the program.
func (r *replica) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.Process(toolkit.Kustomize).Send(sig); err != nil {
		t.Fatal(err)
	}
}
