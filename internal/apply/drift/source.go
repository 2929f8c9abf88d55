package drift

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
)

// State tells how much of a resource can be seen.
type State string

const (
	// Starting: nothing is known yet.
	Starting State = "starting"
	// Catching: a full listing runs.
	Catching State = "catching up"
	// Live: events arrive.
	Live State = "live"
	// Broken: the connection was lost and is being tried again.
	Broken State = "broken"
	// Blind: list or watch is forbidden; the caller has to poll.
	Blind State = "blind"
	// NoKind: the API server does not serve the resource.
	NoKind State = "no such kind"
)

// Event is a verdict together with what is needed to act on it.
type Event struct {
	Key     Key
	Verdict Verdict
	// Object is nil when a full listing found the object missing.
	Object *metav1.PartialObjectMetadata
}

// Options of a Source.
type Options struct {
	Client metadata.ResourceInterface // of all namespaces, or of the one that is followed
	GVR    schema.GroupVersionResource
	// LabelSelector and FieldSelector are evaluated by the API server.
	LabelSelector, FieldSelector string
	Table                        *Table
	// Handle gets every event. It runs on the watch and must not block.
	Handle func(Event)
	// OnState gets changes of state. Optional.
	OnState func(State, error)
	// Pages makes the source list in pages and then watch.
	Pages bool
}

// Source follows one resource with a metadata-only watch.
type Source struct {
	Options

	rv string // resume point; empty asks for a full listing

	mu      sync.Mutex
	state   State
	settled chan struct{} // closed once the state is Live, Blind or NoKind
	wake    chan struct{}
}

// NewSource returns a source that is Starting; Run makes it follow.
func NewSource(o Options) *Source {
	return &Source{Options: o, state: Starting, settled: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// State returns how much can be seen now.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Settled is closed once the source has listed everything, or has learned that it cannot.
func (s *Source) Settled() <-chan struct{} { return s.settled }

// Wake ends the pause of a source that waits to try again.
func (s *Source) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run follows the resource until the context ends. Pauses between attempts
// grow from 50 ms to 30 s; the connection to a server that is away is tried
// every 2 s at least.
func (s *Source) Run(ctx context.Context) {
	pause := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil || time.Since(began) > 10*time.Second {
			pause = 50 * time.Millisecond // an ordinary end of a long watch
		}
		switch {
		case err == nil:
		case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			s.rv = "" // the history is gone: list again, nothing is lost
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			s.set(Blind, err)
			s.rv, pause = "", max(pause, 5*time.Second)
		case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
			s.set(NoKind, err)
			s.rv, pause = "", max(pause, time.Second)
		case apierrors.IsInvalid(err) && s.rv == "" && !s.Pages:
			s.Pages = true // an older server without streaming lists
			continue
		default:
			s.set(Broken, err)
			pause = min(pause, 2*time.Second) // an API server that is back is used at once
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, 30*time.Second)
	}
}

func (s *Source) set(st State, err error) {
	s.mu.Lock()
	moved := st != s.state
	s.state = st
	if moved && (st == Live || st == Blind || st == NoKind) {
		select {
		case <-s.settled:
		default:
			close(s.settled)
		}
	}
	s.mu.Unlock()
	if moved && s.OnState != nil {
		s.OnState(st, err)
	}
}

// once runs one watch, after a full listing when there is no resume point.
func (s *Source) once(ctx context.Context) error {
	opts, listing, err := s.open(ctx)
	if err != nil {
		return err
	}
	w, err := s.Client.Watch(ctx, opts)
	if err != nil {
		return err
	}
	defer w.Stop()
	if !listing {
		s.set(Live, nil)
	}
	for ev := range w.ResultChan() {
		m, ok := ev.Object.(*metav1.PartialObjectMetadata)
		switch {
		case ev.Type == watch.Error:
			return apierrors.FromObject(ev.Object)
		case !ok:
			return errors.New("the watch sent something that is not metadata")
		case ev.Type == watch.Bookmark:
			if listing && m.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
				listing = false
				s.sweep()
				s.set(Live, nil)
			}
		default:
			s.emit(ev.Type, m)
		}
		if !listing { // a listing that breaks half-way starts over
			s.rv = m.ResourceVersion
		}
	}
	return nil
}

// open says how the next watch starts; listing is true when it begins with a
// streamed listing of everything. Where that is not served, it lists in pages.
func (s *Source) open(ctx context.Context) (opts metav1.ListOptions, listing bool, err error) {
	listing = s.rv == ""
	if listing {
		s.set(Catching, nil)
		s.Table.StartListing()
		if s.Pages {
			if err := s.pages(ctx); err != nil {
				return opts, false, err
			}
			listing = false
		}
	}
	seconds := int64(300 + rand.IntN(300))
	opts = metav1.ListOptions{LabelSelector: s.LabelSelector, FieldSelector: s.FieldSelector,
		AllowWatchBookmarks: true, TimeoutSeconds: &seconds, ResourceVersion: s.rv}
	if listing {
		yes := true
		opts.SendInitialEvents = &yes
		opts.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
	}
	return opts, listing, nil
}

// pages lists in pages of 500 objects; each page is dropped before the next.
func (s *Source) pages(ctx context.Context) error {
	opts := metav1.ListOptions{LabelSelector: s.LabelSelector, FieldSelector: s.FieldSelector, Limit: 500}
	for {
		l, err := s.Client.List(ctx, opts)
		if err != nil {
			return err
		}
		for i := range l.Items {
			s.emit(watch.Added, &l.Items[i])
		}
		if opts.Continue = l.Continue; opts.Continue == "" {
			s.rv = l.ResourceVersion
			s.sweep()
			return nil
		}
	}
}

func (s *Source) emit(t watch.EventType, m *metav1.PartialObjectMetadata) {
	k, v := s.Table.Observe(t, m)
	s.Handle(Event{Key: k, Verdict: v, Object: m})
}

func (s *Source) sweep() {
	for _, k := range s.Table.EndListing() {
		s.Handle(Event{Key: k, Verdict: Gone})
	}
}
