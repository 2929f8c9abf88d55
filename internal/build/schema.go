package build

import (
	"errors"
	"maps"
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
var gate schemaGate

type schemaGate struct {
	sync.RWMutex
	once sync.Once
	defs spec.Definitions
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

// alone runs fn with the document of a fresh process, then puts the built-in
// definitions back from memory instead of parsing them again. Definitions are
// all there is to put back: whether a built-in kind is namespaced, kyaml knows
// without them.
func (g *schemaGate) alone(fn func()) {
	g.Lock()
	defer g.Unlock()
	openapi.ResetOpenAPI()
	openapi.Schema() // parses, so that fn adds to the built-in document
	defer func() {
		openapi.ResetOpenAPI()
		openapi.SuppressBuiltInSchemaUse()
		openapi.AddDefinitions(g.defs)
		openapi.Schema() // settle it before anyone reads it without a lock
	}()
	fn()
}
