package alert

import (
	"slices"
	"strings"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"k8s.io/apimachinery/pkg/types"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// Options of an Index.
type Options struct {
	NoCross bool          // Alerts get the events of their own namespace only
	Fold    time.Duration // of Alerts that do not say; 0 folds nothing
}

// Index answers which Alerts want an event. It is safe for concurrent use.
type Index struct {
	o Options

	mu    sync.RWMutex
	rules map[types.NamespacedName]*rule
	at    map[place]map[types.NamespacedName]*rule
}

// Match is an Alert that wants an event.
type Match struct {
	Alert, Provider types.NamespacedName
	// Labels are label sets of which the event's object must carry one; empty
	// means that the labels do not matter.
	Labels []map[string]string
	// Event is a copy with the metadata that this Alert makes of it.
	Event eventv1.Event
	// Fold is how long events of one object are folded; 0 tells each. Events
	// that only renew the status of a commit are never folded.
	Fold time.Duration
	// Overridden names the metadata keys that were set in more than one place.
	Overridden []string
}

// NewIndex returns an empty index.
func NewIndex(o Options) *Index {
	return &Index{
		o:     o,
		rules: map[types.NamespacedName]*rule{},
		at:    map[place]map[types.NamespacedName]*rule{},
	}
}

// Put adds or replaces an Alert. The error says what of it cannot be used;
// the rest is in force all the same.
func (x *Index) Put(a *notificationv1beta3.Alert) error {
	key := types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
	if a.Spec.Suspend || !a.DeletionTimestamp.IsZero() {
		x.Remove(key)
		return nil
	}
	r, err := compile(a, x.o)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(key)
	x.rules[key] = r
	for _, s := range r.sources {
		if x.at[s.place] == nil {
			x.at[s.place] = map[types.NamespacedName]*rule{}
		}
		x.at[s.place][key] = r
	}
	return err
}

// Remove takes an Alert out; one that is not there is no error.
func (x *Index) Remove(key types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(key)
}

func (x *Index) remove(key types.NamespacedName) {
	r := x.rules[key]
	if r == nil {
		return
	}
	delete(x.rules, key)
	for _, s := range r.sources {
		delete(x.at[s.place], key)
		if len(x.at[s.place]) == 0 {
			delete(x.at, s.place)
		}
	}
}

// Match returns the Alerts that want the event, sorted by namespace and name.
func (x *Index) Match(e *eventv1.Event) []Match {
	var out []Match
	for _, r := range x.near(e) {
		labels, ok := r.from(e)
		if !ok || !r.wants(e) {
			continue
		}
		m := Match{Alert: r.key, Provider: r.provider, Labels: labels, Event: *e, Fold: r.fold}
		m.Event.Metadata, m.Overridden = metadata(e, r.metadata, r.summary)
		if m.Event.Metadata[eventv1.MetaCommitStatusKey] == eventv1.MetaCommitStatusUpdateValue {
			m.Fold = 0
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Match) int { return strings.Compare(a.Alert.String(), b.Alert.String()) })
	return out
}

// near returns the rules with a source of the event's kind and namespace.
// Rules never change, so they are used without the lock.
func (x *Index) near(e *eventv1.Event) []*rule {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*rule
	for _, r := range x.at[place{e.InvolvedObject.Kind, e.InvolvedObject.Namespace}] {
		out = append(out, r)
	}
	return out
}
