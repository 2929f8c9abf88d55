package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/notification-controller/internal/provider"
)

// keepSender is how long a sender is used before its Secrets are read again.
// A failure ends it at once.
const keepSender = 30 * time.Second

// ErrSource reports that the object of an event could not be looked up, which
// an Alert with matchLabels needs.
var ErrSource = errors.New("the event's object could not be read")

// Courier makes the attempts of a Queue: it looks up Alert and Provider,
// prepares the sender and sends.
type Courier struct {
	// Cache reads Alerts and Providers.
	Cache client.Reader
	// Providers prepares senders.
	Providers *provider.Loader
	// Live reads the objects that events are about.
	Live client.Reader

	mu      sync.Mutex
	senders map[types.NamespacedName]*prepared
}

type prepared struct {
	*provider.Loaded
	version string // of the Provider object
	until   time.Time
}

// Send implements Options.Send. An event whose Alert or Provider is suspended,
// or whose Alert is gone, is no longer wanted: it is taken without being sent.
func (c *Courier) Send(ctx context.Context, job *Job) error {
	a, p, wanted, err := c.lookUp(ctx, job)
	if err != nil || !wanted {
		return err
	}
	wanted, err = c.labelled(ctx, job)
	if err != nil || !wanted {
		return err
	}
	sender, err := c.prepare(ctx, p)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = sender.Send(ctx, a, &job.Event)
	told(p, &job.Event, begun, err)
	if err != nil {
		c.Forget(job.Provider)
		return fmt.Errorf("provider %q: %w", p.Name, err)
	}
	return nil
}

// Forget drops the prepared sender of a Provider that was deleted or failed.
func (c *Courier) Forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.senders[key]; s != nil {
		s.Close()
		delete(c.senders, key)
	}
}

func (c *Courier) lookUp(ctx context.Context, job *Job) (*notificationv1beta3.Alert, *notificationv1beta3.Provider, bool, error) {
	a := &notificationv1beta3.Alert{}
	if err := c.Cache.Get(ctx, job.Alert, a); err != nil {
		return nil, nil, false, client.IgnoreNotFound(err)
	}
	p := &notificationv1beta3.Provider{}
	err := c.Cache.Get(ctx, job.Provider, p)
	if apierrors.IsNotFound(err) {
		return nil, nil, false, fmt.Errorf("provider %q is not there: create it in namespace %q or correct spec.providerRef", job.Provider.Name, job.Provider.Namespace)
	}
	if err != nil || a.Spec.Suspend || p.Spec.Suspend {
		return nil, nil, false, err
	}
	if job.Event.HasMetadata(eventv1.MetaCommitStatusKey, eventv1.MetaCommitStatusUpdateValue) {
		return a, p, provider.WantsCommitStatusUpdates(p.Spec.Type), nil
	}
	return a, p, true, nil
}

// labelled says whether the event's object has the labels that the Alert asks
// for. An object that is gone has none.
func (c *Courier) labelled(ctx context.Context, job *Job) (bool, error) {
	if len(job.Labels) == 0 {
		return true, nil
	}
	o := job.Event.InvolvedObject
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(schema.FromAPIVersionAndKind(o.APIVersion, o.Kind))
	err := c.Live.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Name}, obj)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if apierrors.IsForbidden(err) || apimeta.IsNoMatchError(err) {
		return false, provider.Final(fmt.Errorf("%w: %s %q: %w", ErrSource, o.Kind, o.Name, err))
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s %q: %w", ErrSource, o.Kind, o.Name, err)
	}
	for _, want := range job.Labels {
		if labels.SelectorFromSet(want).Matches(labels.Set(obj.Labels)) {
			return true, nil
		}
	}
	return false, nil
}

// prepare returns the sender of p, of the last half minute if p is unchanged.
func (c *Courier) prepare(ctx context.Context, p *notificationv1beta3.Provider) (*provider.Loaded, error) {
	key := client.ObjectKeyFromObject(p)
	version := string(p.UID) + "/" + p.ResourceVersion
	c.mu.Lock()
	s := c.senders[key]
	c.mu.Unlock()
	if s != nil && s.version == version && time.Now().Before(s.until) {
		return s.Loaded, nil
	}
	loaded, err := c.Providers.Load(ctx, p)
	if err != nil {
		return nil, err
	}
	c.Forget(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.senders == nil {
		c.senders = map[types.NamespacedName]*prepared{}
	}
	c.senders[key] = &prepared{Loaded: loaded, version: version, until: time.Now().Add(keepSender)}
	return loaded, nil
}
