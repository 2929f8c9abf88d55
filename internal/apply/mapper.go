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

// mapper finds the resource of a kind. It asks the API server once, again when
// a kind is missing, and starts over after a reset.
type mapper struct {
	config *rest.Config
	http   *http.Client

	mu    sync.Mutex
	now   meta.RESTMapper
	known map[schema.GroupVersionKind]*meta.RESTMapping // found in now, which is slow to search
	reset time.Time
}

func newMapper(cfg *rest.Config, h *http.Client) (*mapper, error) {
	m := &mapper{config: cfg, http: h, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}
	var err error
	m.now, err = apiutil.NewDynamicRESTMapper(cfg, h)
	return m, err
}

// mapping returns the resource and scope of a kind; the error wraps ErrNoKind
// when the API server does not serve it.
func (m *mapper) mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	m.mu.Lock()
	now, found := m.now, m.known[gvk]
	m.mu.Unlock()
	if found != nil {
		return found, nil
	}
	found, err := now.RESTMapping(gvk.GroupKind(), gvk.Version)
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
func (m *mapper) confirm(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	fresh, err := apiutil.NewDynamicRESTMapper(m.config, m.http)
	if err != nil {
		return nil, err
	}
	found, err := fresh.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil && noKind(err) {
		found, err = fresh.RESTMapping(gvk.GroupKind())
	}
	if err != nil && noKind(err) {
		return nil, nil
	}
	return found, err
}

// await waits for a kind whose definition has just been applied.
func (m *mapper) await(ctx context.Context, gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	pause := newPause(20*time.Millisecond, time.Second)
	for {
		found, err := m.mapping(gvk)
		if err == nil || !errors.Is(err, ErrNoKind) {
			return found, err
		}
		if pause.wait(ctx) != nil {
			return nil, err
		}
	}
}
