package build

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"sync"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// errSchema ends a build on the shared OpenAPI document that turns out to bring
// its own.
var errSchema = errors.New("build brings its own OpenAPI document")

// gate guards kustomize's process-wide OpenAPI document. Builds on the built-in
// document only read it, once it is parsed, and may overlap. A build with a
// document of its own replaces it, so it runs alone.
//
// A writer that waits for a reader keeps new readers out. So that nobody waits
// for a large build in this way, one that cannot be interrupted and one that
// runs alone exclude each other before either comes to the lock.
var gate = schemaGate{
	large: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	whole: make(chan struct{}, 1),
}

type schemaGate struct {
	sync.RWMutex
	once sync.Once
	defs spec.Definitions
	// large has room for the large builds that work at one time, so that others
	// find a processor, and whole for one that holds the lock for long, or alone.
	large, whole chan struct{}
}

// way is how a build is made. The zero value is that of nearly all.
type way struct {
	alone bool // with an OpenAPI document of its own
	parts bool // it is large: in parts
	whole bool // it is large, and cannot be taken apart
}

// limit is how many objects a build may have.
func (w way) limit() int {
	switch {
	case w.whole && w.alone:
		return maxAlone
	case w.whole:
		return maxWhole
	}
	return maxObjects
}

// turn is what a build holds while it runs. A nil one holds nothing.
type turn struct {
	gate *schemaGate
	way
	large, in bool
}

// enter waits for the turn of a build.
func (g *schemaGate) enter(ctx context.Context, w way) (*turn, error) {
	t := &turn{gate: g, way: w}
	if w.parts || w.whole {
		select {
		case g.large <- struct{}{}:
			t.large = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := t.take(ctx); err != nil {
		t.leave()
		return nil, err
	}
	return t, nil
}

func (t *turn) take(ctx context.Context) error {
	if t.alone || t.whole {
		select {
		case t.gate.whole <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if t.alone {
		t.gate.lockAlone()
	} else {
		t.gate.lockShared()
	}
	t.in = true
	return nil
}

func (t *turn) give() {
	if !t.in {
		return
	}
	t.in = false
	if t.alone {
		t.gate.unlockAlone()
	} else {
		t.gate.RUnlock()
	}
	if t.alone || t.whole {
		<-t.gate.whole
	}
}

// pass lets others have their turn between two parts.
func (t *turn) pass(ctx context.Context) error {
	if t == nil {
		return ctx.Err()
	}
	t.give()
	return t.take(ctx)
}

// leave gives everything back. It may be called again.
func (t *turn) leave() {
	if t == nil {
		return
	}
	t.give()
	if t.large {
		t.large = false
		<-t.gate.large
	}
}

// lockShared takes the gate for a build on the built-in document, which the
// first caller parses (50 ms).
func (g *schemaGate) lockShared() {
	g.once.Do(func() {
		g.Lock()
		defer g.Unlock()
		openapi.ResetOpenAPI()
		g.defs = maps.Clone(openapi.Schema().Definitions) // parses
	})
	g.RLock()
}

// lockAlone takes the gate with the document of a fresh process.
func (g *schemaGate) lockAlone() {
	g.Lock()
	openapi.ResetOpenAPI()
	openapi.Schema() // parses, so that the build adds to the built-in document
}

// unlockAlone puts the built-in definitions back from memory instead of parsing
// them again. Definitions are all there is to put back: whether a built-in kind
// is namespaced, kyaml knows without them.
func (g *schemaGate) unlockAlone() {
	defer g.Unlock()
	openapi.ResetOpenAPI()
	openapi.SuppressBuiltInSchemaUse()
	openapi.AddDefinitions(g.defs)
	openapi.Schema() // settle it before anyone reads it without a lock
}
