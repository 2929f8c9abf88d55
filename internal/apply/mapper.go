package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// discoveryTimeout ends a discovery request that nobody waits for any more.
const discoveryTimeout = 30 * time.Second

// mapper finds the resource of a kind. It asks the API server once, again when
// a kind is missing, and starts over when it is told to be stale.
type mapper struct {
	config *rest.Config
	http   *http.Client

	mu    sync.Mutex
	now   meta.RESTMapper
	known map[schema.GroupVersionKind]*meta.RESTMapping // found in now, which is slow to search
	reset time.Time
}

func newMapper(cfg *rest.Config) (*mapper, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = discoveryTimeout
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	m := &mapper{config: cfg, http: h, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}
	m.now, err = apiutil.NewDynamicRESTMapper(cfg, h)
	return m, err
}

// mapping returns the resource and scope of a kind; the error wraps ErrNoKind
// when the API server does not serve it.
func (m *mapper) mapping(ctx context.Context, gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	m.mu.Lock()
	now, found := m.now, m.known[gvk]
	m.mu.Unlock()
	if found != nil {
		return found, nil
	}
	found, err := search(ctx, now, gvk.GroupKind(), gvk.Version)
	switch {
	case err == nil:
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.now == now {
			m.known[gvk] = found
		}
		return found, nil
	case noKind(err):
		return nil, fmt.Errorf("%w: %s", ErrNoKind, gvk)
	}
	return nil, fmt.Errorf("cannot discover kind %q: %w", gvk, err)
}

// remembered returns what mapping has found before, or nil.
func (m *mapper) remembered(gvk schema.GroupVersionKind) *meta.RESTMapping {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[gvk]
}

// search asks a REST mapper, which knows no contexts.
func search(ctx context.Context, m meta.RESTMapper, gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	type answer struct {
		mapping *meta.RESTMapping
		err     error
	}
	got := make(chan answer, 1)
	go func() {
		found, err := m.RESTMapping(gk, versions...)
		got <- answer{found, err}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case a := <-got:
		return a.mapping, a.err
	}
}

// stale says that what was discovered is out of date: a resource that should
// be there is not. Many callers notice at once; they share one new discovery.
func (m *mapper) stale() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.reset) < time.Second {
		return
	}
	if fresh, err := apiutil.NewDynamicRESTMapper(m.config, m.http); err == nil {
		m.now, m.reset = fresh, time.Now()
		clear(m.known)
	}
}

// confirm asks the API server itself, past everything that is remembered, how
// it serves a kind, in whatever version; nil when it does not.
func (m *mapper) confirm(ctx context.Context, gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	fresh, err := apiutil.NewDynamicRESTMapper(m.config, m.http)
	if err != nil {
		return nil, err
	}
	found, err := search(ctx, fresh, gvk.GroupKind(), gvk.Version)
	if err != nil && noKind(err) {
		found, err = search(ctx, fresh, gvk.GroupKind())
	}
	if err != nil && noKind(err) {
		return nil, nil
	}
	return found, err
}

// settleTimeout is how long something that the API server has accepted may take
// to be seen: a new kind in its discovery, a first listing by a watch.
const settleTimeout = 5 * time.Second

// await waits a while for a kind whose definition has just been applied.
func (m *mapper) await(ctx context.Context, gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	pause, began := newPause(20*time.Millisecond, time.Second), time.Now()
	for {
		found, err := m.mapping(ctx, gvk)
		if err == nil || !errors.Is(err, ErrNoKind) || time.Since(began) > settleTimeout {
			return found, err
		}
		if pause.wait(ctx) != nil {
			return nil, err
		}
	}
}
