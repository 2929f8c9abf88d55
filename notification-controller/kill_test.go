package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/testenv"
)

// TestStoppedProcessLosesNothing stops the real program, in both ways, while a
// hundred deliveries wait for a Provider that is down, and starts it anew.
func TestStoppedProcessLosesNothing(t *testing.T) {
	for name, signal := range map[string]os.Signal{"killed": syscall.SIGKILL, "asked to end": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) { stopAndStart(t, signal) })
	}
}

func stopAndStart(t *testing.T, signal os.Signal) {
	const events = 100
	c := testenv.Client(t, notificationv1.AddToScheme, notificationv1beta3.AddToScheme)
	ns := testenv.Namespace(t)
	sink := newOutage(t)
	in := metav1.ObjectMeta{Namespace: ns, Name: "demo"}
	create(t, c,
		&notificationv1beta3.Provider{ObjectMeta: in, Spec: notificationv1beta3.ProviderSpec{Type: "generic", Address: sink.URL}},
		alertOf(in))
	storage, addr := t.TempDir(), freeAddr(t)

	first := runProgram(t, storage, addr)
	for i := range events {
		if code := post(t, "http://"+addr+"/", failure(t, ns, fmt.Sprintf("event %d", i)), nil); code != http.StatusAccepted {
			t.Fatalf("event %d: got %d, want 202", i, code)
		}
	}
	select { // so that deliveries are being retried
	case <-sink.refused:
	case <-time.After(time.Minute):
		t.Fatal("no delivery was tried")
	}
	if err := first.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); signal == syscall.SIGTERM && err != nil {
		t.Errorf("asked to end, the program said %v", err)
	}

	sink.end()
	runProgram(t, storage, freeAddr(t))
	deadline := time.After(time.Minute)
	for seen := map[string]bool{}; len(seen) < events; {
		select {
		case message := <-sink.taken:
			seen[message] = true
		case <-deadline:
			t.Fatalf("%d of %d events arrived", len(seen), events)
		}
	}
}

// failure is an event about the Kustomization "apps".
func failure(t *testing.T, ns, message string) []byte {
	t.Helper()
	body, err := json.Marshal(eventv1.Event{
		InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: ns, Name: "apps"},
		Severity:       "error", Timestamp: metav1.Now(), Message: message, Reason: "BuildFailed", ReportingController: "kustomize-controller",
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// program is the built program.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "notification-controller-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "notification-controller")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// runProgram starts the program; it is killed when the test ends. Its Stdout
// is the file of its log.
func runProgram(t testing.TB, storage, eventsAddr string, more ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--storage-path", storage, "--events-addr", eventsAddr,
		"--metrics-addr", freeAddr(t), "--health-addr", freeAddr(t)}, more...)
	if !slices.Contains(more, "--receiverAddr") {
		args = append(args, "--receiverAddr", freeAddr(t))
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+testenv.Kubeconfig(t))
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the program said:\n%s", text)
		}
	})
	return cmd
}

// outage is an endpoint that refuses everything until end is called.
type outage struct {
	*httptest.Server
	refused chan struct{} // holds something once a request was refused
	taken   chan string   // the messages that arrived after the end
	end     func()
}

func newOutage(t *testing.T) *outage {
	over := make(chan struct{})
	o := &outage{refused: make(chan struct{}, 1), taken: make(chan string, 1000), end: sync.OnceFunc(func() { close(over) })}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			select {
			case o.refused <- struct{}{}:
			default:
			}
			return
		}
		e := &eventv1.Event{}
		if err := json.NewDecoder(r.Body).Decode(e); err != nil {
			t.Error(err)
		}
		o.taken <- e.Message
	}))
	t.Cleanup(o.Close)
	return o
}
