package testenv

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
)

// AuditEvent is one request that the API server has answered; of a watch, that it has begun.
type AuditEvent struct {
	Verb         string // get, list, watch, create, update, patch, delete, deletecollection
	Group        string // API group, "" for core
	Resource     string // plural, lower case; "" for requests that are not for a resource
	Subresource  string // such as status
	Namespace    string
	Name         string // "" for a create that was refused before its object was read
	User         string // who asked
	Impersonated string // as whom, or ""
	UserAgent    string
	URI          string // path and query: dryRun, fieldManager and the like are seen here
	Code         int    // HTTP status
}

// Writes tells whether the request is one that changes something, if it is let.
func (e AuditEvent) Writes() bool { return e.Verb != "get" && e.Verb != "list" && e.Verb != "watch" }

// String is what was asked, as "<verb> <resource>" or "<verb> <resource>/<subresource>".
func (e AuditEvent) String() string {
	return strings.TrimSuffix(e.Verb+" "+e.Resource+"/"+e.Subresource, "/")
}

// ours are the users of the control plane itself, whose requests no test has made.
var ours = map[string]bool{
	"system:apiserver": true, "system:kube-controller-manager": true, "weir:pod-simulator": true,
}

// markerPrefix names namespaces that do not exist; asking for one writes a line to the audit log.
const markerPrefix = "testenv-audit-marker-"

var markers atomic.Int64

// Audit returns every request of this process's API server so far, in the order in which they were
// answered, without those of the control plane itself. Requests whose answer has arrived before the
// call are in it.
func Audit(t testing.TB) []AuditEvent {
	t.Helper()
	e := env(t)
	if e.auditLog == "" {
		t.Skipf("the cluster of %s has no audit log to read", kubeconfigVariable)
	}
	events, err := e.audit.read(t.Context(), e)
	if err != nil {
		t.Fatalf("audit log: %v", err)
	}
	return events
}

// Requests returns how many requests the API server has answered so far, without watches, probes and
// what the control plane asks itself. Two calls around an action tell what it cost.
func Requests(t testing.TB) int64 {
	t.Helper()
	var n int64
	for _, event := range Audit(t) {
		if event.Verb != "watch" {
			n++
		}
	}
	return n
}

// auditReader reads the log from where it has stopped the time before.
type auditReader struct {
	mu     sync.Mutex
	offset int64
	events []AuditEvent    // of all lines before offset
	seen   map[string]bool // markers in them that are still waited for
}

// read leaves a marker in the log and reads until it is there: a line is written just after its
// answer is sent.
func (a *auditReader) read(ctx context.Context, e *environment) ([]AuditEvent, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	clients, err := kubernetes.NewForConfig(e.config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	marker := fmt.Sprintf("%s%d", markerPrefix, markers.Add(1))
	// It is not found, and that is all we want of it.
	_, _ = clients.CoreV1().RESTClient().Get().Resource("namespaces").Name(marker).DoRaw(ctx)
	for {
		events, found, err := a.until(marker, e.auditLog)
		if err != nil {
			return nil, err
		}
		if found {
			return events, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no line about namespace %q: %w", marker, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// until takes in what was added to the log, and tells whether the marker is among what was read so far.
func (a *auditReader) until(marker, file string) ([]AuditEvent, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.Open(file)
	if err != nil {
		return nil, false, errors.New("it cannot be read")
	}
	defer f.Close()
	r := bufio.NewReader(io.NewSectionReader(f, a.offset, math.MaxInt64-a.offset))
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF { // what follows the last line end is still being written
			break
		}
		if err != nil {
			return nil, false, err
		}
		var l auditLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, false, fmt.Errorf("line %q: %w", line, err)
		}
		a.offset += int64(len(line))
		if strings.HasPrefix(l.ObjectRef.Name, markerPrefix) {
			a.seen[l.ObjectRef.Name] = true
		} else if event, ok := l.event(); ok {
			a.events = append(a.events, event)
		}
	}
	found := a.seen[marker]
	delete(a.seen, marker)
	return slices.Clip(a.events), found, nil
}

// auditLine holds what is used of an audit.k8s.io/v1 Event.
type auditLine struct {
	Stage            string
	Verb             string
	RequestURI       string
	UserAgent        string
	User             struct{ Username string }
	ImpersonatedUser *struct{ Username string }
	ObjectRef        struct{ Resource, Namespace, Name, APIGroup, Subresource string }
	ResponseStatus   struct{ Code int }
}

func (l auditLine) event() (AuditEvent, bool) {
	// A watch tells its start and its end; all others are told once, when they are complete.
	begun := l.Stage == "ResponseStarted" && l.Verb == "watch"
	if !begun && (l.Stage != "ResponseComplete" || l.Verb == "watch") {
		return AuditEvent{}, false
	}
	if ours[l.User.Username] {
		return AuditEvent{}, false
	}
	event := AuditEvent{
		Verb: l.Verb, Group: l.ObjectRef.APIGroup, Resource: l.ObjectRef.Resource, Subresource: l.ObjectRef.Subresource,
		Namespace: l.ObjectRef.Namespace, Name: l.ObjectRef.Name, User: l.User.Username,
		UserAgent: l.UserAgent, URI: l.RequestURI, Code: l.ResponseStatus.Code,
	}
	if l.ImpersonatedUser != nil {
		event.Impersonated = l.ImpersonatedUser.Username
	}
	return event, true
}
