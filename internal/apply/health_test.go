package apply

import (
	"context"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/build"
	"k8s.io/client-go/rest"
)

// health asks, and returns how many objects are ready, pending and failed, and the requests.
func (l *lab) ask(as string, refs []Ref) (h Health, requests int) {
	l.t.Helper()
	l.meter.take()
	h, err := l.As(as).Health(l.t.Context(), l.owner, refs)
	must(l.t, err)
	n, _ := l.meter.take()
	return h, n
}

func (l *lab) wantHealth(objects []Ref, ready, pending, failed, requests int) Health {
	l.t.Helper()
	h, n := l.ask("", objects)
	if h.Ready != ready || len(h.Pending) != pending || len(h.Failed) != failed || n != requests {
		l.t.Errorf("health %+v with %d requests, want %d ready, %d pending, %d failed with %d", h, n, ready, pending, failed, requests)
	}
	return h
}

const (
	gadgetYAML = "{apiVersion: drift.example/v1, kind: Gadget, spec: {size: small}}"
	notReady   = `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Working","message":"winding up"}]}}`
	isReady    = `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`
	stalled    = `{"status":{"conditions":[{"type":"Stalled","status":"True","reason":"Broken","message":"out of springs"}]}}`
)

func TestHealthOfCustomResources(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	g, h, cm := l.object(gadgetYAML, "g"), l.object(gadgetYAML, "h"), l.configMap("cm", "one")
	l.want(l.set(g, h, cm), "created 3", 6)
	for _, o := range []build.Object{g, h} {
		l.patch(o, "status-controller", notReady, "status")
		l.caughtUp(o)
	}
	all := refs(g, h, cm)
	got := l.wantHealth(all, 1, 2, 0, 2)
	if len(got.Pending) > 0 && (got.Pending[0].String() != "Gadget/"+l.ns+"/g" || got.Pending[0].Message != "winding up") {
		t.Errorf("pending %+v", got.Pending)
	}
	l.wantHealth(all, 1, 2, 0, 0)

	l.patch(g, "status-controller", isReady, "status")
	until(t, "the one being known as ready", func() bool { got, _ := l.ask("", all); return got.Ready == 2 })
	l.quiet() // the other is not ready: nothing to do for the owner
	l.patch(h, "status-controller", isReady, "status")
	l.noticed()
	l.wantHealth(all, 3, 0, 0, 0)

	// What is ready is read again only when it moved and somebody asks.
	l.patch(g, "status-controller", stalled, "status")
	l.caughtUp(g)
	failed := l.wantHealth(all, 2, 0, 1, 1)
	if len(failed.Failed) > 0 && failed.Failed[0].Message != "out of springs" {
		t.Errorf("failed %+v", failed.Failed)
	}
	l.quiet()
	l.want(l.set(g, h, cm), "unchanged 3", 0)
}

func TestHealthFailureIsToldAtOnce(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	g, h := l.object(gadgetYAML, "g"), l.object(gadgetYAML, "h")
	l.want(l.set(g, h), "created 2", 4)
	for _, o := range []build.Object{g, h} {
		l.patch(o, "status-controller", notReady, "status")
		l.caughtUp(o)
	}
	l.wantHealth(refs(g, h), 0, 2, 0, 2)
	l.patch(h, "status-controller", stalled, "status")
	l.noticed()
	l.wantHealth(refs(g, h), 0, 1, 1, 0)

	// What had failed is followed, too: it may recover.
	l.patch(g, "status-controller", isReady, "status")
	until(t, "the other being known as ready", func() bool { got, _ := l.ask("", refs(g, h)); return got.Ready == 1 })
	l.quiet() // one has failed still
	l.patch(h, "status-controller", isReady, "status")
	l.noticed()
	l.wantHealth(refs(g, h), 2, 0, 0, 0)
}

// TestHealthInParts: who asks about one thing and then another is told of both.
func TestHealthInParts(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	g, h := l.object(gadgetYAML, "part-g"), l.object(gadgetYAML, "part-h")
	l.want(l.set(g, h), "created 2", 4)
	for _, o := range []build.Object{g, h} {
		l.patch(o, "status-controller", notReady, "status")
		l.caughtUp(o)
	}
	about := func(part string, o build.Object) int {
		l.meter.take()
		_, err := l.As("").HealthBy(t.Context(), l.owner, refs(o), Rules{Part: part})
		must(t, err)
		n, _ := l.meter.take()
		return n
	}
	for round, want := range []int{1, 0} {
		if n, m := about("", g), about("dependencies", h); n != want || m != want {
			t.Errorf("round %d: %d and %d requests, want %d", round, n, m, want)
		}
	}
	l.patch(g, "status-controller", isReady, "status")
	l.noticed() // not for want of the other: that is another matter
	l.patch(h, "status-controller", isReady, "status")
	l.noticed()
	l.Forget(l.owner)
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	if len(l.health.items)+len(l.health.of) > 0 {
		t.Error("interest is kept")
	}
}

func TestHealthOfWorkloads(t *testing.T) {
	l := newLab(t)
	deployment := l.object(`{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 2, selector: {matchLabels: {app: a}},
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: "x:1"}]}}}}`, "web")
	job := l.object(`{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "x:1"}]}}}}`, "migrate")
	l.want(l.set(deployment, job), "created 2", 4)
	all := refs(deployment, job)
	first, _ := l.ask("", all)
	for first.Ready < 2 && len(first.Failed) == 0 {
		l.noticed()
		first, _ = l.ask("", all)
	}
	if first.Ready != 2 {
		t.Fatalf("health %+v", first)
	}
	until(t, "no more writes", func() bool { l.caughtUp(deployment); l.caughtUp(job); _, n := l.ask("", all); return n == 0 })
	l.want(l.set(deployment, job), "unchanged 2", 0) // status writes are no drift

	// A Deployment that cannot roll out fails.
	l.patch(deployment, "lab", `{"spec":{"paused":true}}`)
	l.patch(deployment, "lab", `{"status":{"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"no progress"}]}}`, "status")
	until(t, "the failure being known", func() bool { got, _ := l.ask("", all); return len(got.Failed) == 1 })
}

func TestHealthOfAnObjectOfSomebodyElse(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	g := l.object(gadgetYAML, "foreign")
	h := l.wantHealth(refs(g), 0, 1, 0, 1)
	if len(h.Pending) > 0 && h.Pending[0].Message != "it does not exist" {
		t.Errorf("pending %+v", h.Pending)
	}
	u, err := g.Unstructured()
	must(t, err)
	_, err = l.res(g).Create(context.Background(), u, createOptions)
	must(t, err)
	l.noticed()
	l.wantHealth(refs(g), 1, 0, 0, 1)
	if h, _ := l.ask("nobody", refs(g)); len(h.Failed) != 1 || !strings.Contains(h.Failed[0].Message, "may not be read") {
		t.Errorf("health for somebody without rights: %+v", h)
	}
	must(t, func() error { _, err := l.As("").Health(t.Context(), l.owner, nil); return err }())
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	if len(l.health.items)+len(l.health.of) > 0 {
		t.Error("interest is kept")
	}
}

func TestBlindWatch(t *testing.T) {
	l := newLab(t, func(c *rest.Config, _ *Options) { c.Impersonate.UserName = "blind" })
	l.grant("blind", `["get","patch","create"]`)
	o := l.configMap("cm", "one")
	l.want(l.set(o), "created 1", 2)
	if !l.Blind(Ref{GroupVersionKind: o.GVK}) {
		t.Error("not blind")
	}
	l.patch(o, "operator", `{"data":{"a":"other"}}`)
	l.want(l.set(o), "configured 1", 1) // asked about because nothing can be seen
}
