package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/artifact"
)

// What a caller may want to tell apart. All of them are properties of the
// source or the spec, not of the moment.
var (
	// ErrPath: Spec.Path is not a directory of the tree.
	ErrPath = errors.New("path not found")
	// ErrRemote: something names a file or base outside the tree by URL.
	ErrRemote = errors.New("remote reference")
	// ErrPlugin: a field asks for a Helm chart to be inflated or a program to be run.
	ErrPlugin = errors.New("plugin not supported")
	// ErrAliases: YAML aliases of a file expand without bound.
	ErrAliases = errors.New("YAML aliases expand beyond the limit")
	// ErrTooLarge: a bound on files, objects or output was passed.
	ErrTooLarge = errors.New("build is too large")
)

// Spec is what a Kustomization says about a build. The zero value builds the
// root of the tree as it is.
type Spec struct {
	// Scope says whose build it is: the namespace and name of the Kustomization.
	// It changes nothing in a result. The cache keeps the last two states of each
	// scope, and without one, equal specs of different sources would push each
	// other out.
	Scope string
	// Path is a directory of the tree, "" and "./" being its root. It cannot
	// climb above the root.
	Path string
	// TargetNamespace, NamePrefix and NameSuffix replace those of the
	// kustomization file unless empty.
	TargetNamespace, NamePrefix, NameSuffix string
	// CommonLabels and CommonAnnotations are set on every object of the result,
	// over values that are there.
	CommonLabels, CommonAnnotations map[string]string
	// Patches come after those of the kustomization file. A patch is a strategic
	// merge or a JSON6902 one.
	Patches []kustomize.Patch
	// Images are merged by name with those of the kustomization file; where both
	// set a field, the one here wins.
	Images []kustomize.Image
	// Components come after those of the kustomization file. Each is a directory
	// relative to Path.
	Components []string
	// IgnoreMissingComponents leaves out the Components that are not in the tree.
	IgnoreMissingComponents bool
	// BuildMetadata replaces that of the kustomization file unless empty:
	// originAnnotations, transformerAnnotations, managedByLabel.
	BuildMetadata []string
	// Decrypt says how encrypted content is decrypted. Nil means not at all.
	Decrypt *Decryption
	// Substitute says how variables are substituted. Nil means not at all.
	Substitute *Substitution
}

// Same reports whether two specs make the same of every tree.
func (s *Spec) Same(o *Spec) bool { return s.key(false) == o.key(false) }

// Substitution replaces expressions like ${name} and ${name:=default} in the
// YAML text of each object, unless the object has the label or annotation
// kustomize.toolkit.fluxcd.io/substitute: disabled. An escaped $${name} becomes
// ${name}.
type Substitution struct {
	// Variables by name ([_a-zA-Z][_a-zA-Z0-9]*). Newlines are dropped from
	// values.
	Variables map[string]string
	// Strict makes an unset variable without a default an error; otherwise it is
	// empty.
	Strict bool
	// Always substitutes even when there is no variable, for the defaults.
	Always bool
}

// Object is one object of a result. It is immutable and shared: nobody may
// write to JSON.
type Object struct {
	GVK             schema.GroupVersionKind
	Namespace, Name string
	JSON            []byte // keys sorted, no white space
	Sum             uint64 // xxhash64 of JSON
}

// Unstructured returns a copy of the object that is the caller's own.
func (o *Object) Unstructured() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(o.JSON); err != nil {
		return nil, fmt.Errorf("%s: %w", o.describe(), err)
	}
	return u, nil
}

func (o *Object) describe() string { return describe(o.GVK.Kind, o.Namespace, o.Name) }

func describe(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprintf("%q", kind+"/"+name)
}

// Result is the outcome of a build, in the order kustomize emits objects.
type Result struct {
	Objects []Object
	Digest  string // "sha256:" and the hash of all objects in order
	Cached  bool   // nothing was built for this call
}

// Options of an Engine. The zero value is usable.
type Options struct {
	// Remote fetches what kustomizations name by URL. Nil forbids URLs: whatever
	// field names one, the build is refused and nothing is dialled.
	Remote RemoteLoader
	// CacheBytes bounds the memory of kept results, to which large builds add
	// half as much for their parts. Zero means 32 MiB, a negative value keeps
	// nothing.
	CacheBytes int64
}

// Engine builds, and remembers what it built. It is safe for concurrent use.
type Engine struct {
	options Options
	cache   *cache
	memo    *memo
	flight  singleflight.Group
}

// New returns an Engine.
func New(o Options) *Engine {
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	return &Engine{options: o, cache: newCache(o.CacheBytes), memo: newMemo(o.CacheBytes / 2)}
}

// Build returns the objects that s makes of t. An error says what is wrong with
// the source or with s, naming the file or the object, unless ctx ended; such
// errors are remembered like results are. A build that has begun looks at ctx
// between the files it reads, and t must stay open until Build returns.
func (e *Engine) Build(ctx context.Context, t *artifact.Tree, s Spec) (*Result, error) {
	key := s.key(e.options.Remote == nil)
	e.cache.seal(s.Scope, key, s.Decrypt != nil)
	far := newRemotes(ctx, e.options.Remote)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, ok := e.cache.get(key, t, far.same)
		requests.Count(ok)
		if ok {
			return out.result(true)
		}
		if far != nil && far.err != nil {
			return nil, far.err
		}
		// Equal builds at one time are one build. Its leader's context may end
		// while ours goes on, then it is our turn.
		v, _, shared := e.flight.Do(fmt.Sprintf("%x %p", key, t), func() (any, error) {
			out := e.build(ctx, t, s, key, far)
			if out.lasting {
				e.cache.put(key, out)
			}
			return out, nil
		})
		out = v.(*outcome)
		if shared && !out.lasting && ctx.Err() == nil && isContext(out.err) {
			continue
		}
		return out.result(false)
	}
}

// Forget drops what is remembered of a scope whose builds were decrypted, when
// its keys are gone or it is.
func (e *Engine) Forget(scope string) { e.cache.seal(scope, key{}, false) }

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// outcome is how a build ended and what that depended on.
type outcome struct {
	objects []Object
	digest  string
	err     error
	read    readSet
	far     []farFact // what was named by URL
	lasting bool      // a function of read and far: the same for every tree that agrees with them

	scope     string
	decrypted bool // Spec.Decrypt was set
}

func (o *outcome) result(cached bool) (*Result, error) {
	if o.err != nil {
		return nil, o.err
	}
	return &Result{Objects: o.objects, Digest: o.digest, Cached: cached}, nil
}

// build runs s on t. Nearly all builds share the built-in OpenAPI document and
// are small. One that turns out to bring its own document is started again,
// alone, and one that turns out to be large in parts, or whole after all; and one
// that needs something from elsewhere once that is here: nobody waits for the
// network while others wait for the document.
func (e *Engine) build(ctx context.Context, t *artifact.Tree, s Spec, k key, far *remotes) *outcome {
	var w way
	for {
		out := e.attempt(ctx, t, s, k, far, w)
		switch {
		case errors.Is(out.err, errSchema):
			w.alone = true
		case errors.Is(out.err, errLarge):
			w.parts = true
		case errors.Is(out.err, errWhole):
			w.parts, w.whole = false, true
		case errors.Is(out.err, errNeeded):
			if err := far.load(ctx); err != nil {
				return &outcome{scope: s.Scope, err: err}
			}
		default:
			return out
		}
	}
}

func (e *Engine) attempt(ctx context.Context, t *artifact.Tree, s Spec, k key, far *remotes, w way) *outcome {
	turn, err := gate.enter(ctx, w)
	if err != nil {
		return &outcome{scope: s.Scope, err: err}
	}
	defer turn.leave()
	rec := newRecorder(ctx, t, guard{ownSchema: w.alone, forbidRemote: e.options.Remote == nil}.check)
	rec.decryption, rec.remotes, rec.way, rec.turn = s.Decrypt, far, w, turn
	if rec.spec = k; s.Decrypt == nil { // what was decrypted is kept by the cache alone, which knows when the keys go
		rec.memo = e.memo
	}
	out := &outcome{scope: s.Scope, decrypted: s.Decrypt != nil}
	objects, err := run(rec, s)
	if err == nil {
		out.objects, out.digest = objects, digest(objects)
	}
	out.err, out.read, out.far = err, rec.readSet(), rec.far
	out.lasting = rec.broken == nil && !isContext(err) && !errors.Is(err, ErrDecryption) && !errors.Is(err, errNeeded)
	return out
}
