// Package provider tells events to the world outside the cluster.
//
// A Provider object names a type, an address and Secrets. Load turns it into
// a Sender, which makes one attempt at a time; whoever calls it (package
// delivery) decides when the next attempt is due, with the help of Failure.
// Each type has one file and one test, and stands once in the map of
// types.go; no other code knows which types there are.
package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/cache"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/secrets"
)

// defaultTimeout bounds one attempt when the Provider states no timeout.
const defaultTimeout = 15 * time.Second

// Sender tells one event to one destination. Send makes a single attempt and
// may be called from one goroutine at a time. Its error is a Failure when it
// knows whether another attempt can help. No error holds a secret. A Sender
// with resources of its own has a method Close.
type Sender interface {
	Send(ctx context.Context, event *eventv1.Event) error
}

// alertSender is a Sender to which it matters which Alert wants the event.
type alertSender interface {
	SendFor(ctx context.Context, alert *notificationv1beta3.Alert, event *eventv1.Event) error
}

// Target is what a Provider object and its Secrets come down to.
type Target struct {
	UID               string                        // of the Provider object
	Format            string                        // annotation weir.dev/slack-format
	Address           string                        // from the Secret if it has one, else from spec.address
	Channel, Username string                        // from the spec
	Token             string                        // key token
	Login, Password   string                        // keys username and password
	Headers           map[string]string             // key headers
	Object            *notificationv1beta3.Provider // for expressions
	Memory            *memory                       // what was told before
	Creds, NKey       []byte                        // keys creds and nkey, of NATS
	GitHubApp         map[string][]byte             // the Secret, if it has the keys of a GitHub App
	Apps              *githubapp.Tokens             // of GitHub Apps
	Identity          identity
	Client            *http.Client // with the proxy and the certificates
	// Proxy and TLS are for whoever cannot use Client. nil: no proxy was asked
	// for, or no certificates.
	Proxy *url.URL
	TLS   *tls.Config
}

// Type is one type of Provider.
type Type struct {
	// New checks the target and returns its sender.
	New func(Target) (Sender, error)
	// Identity is set for the types that take spec.serviceAccountName.
	Identity bool
	// CommitStatusUpdates is set for the types that also want events whose
	// only purpose is to renew the status of a commit.
	CommitStatusUpdates bool
}

var (
	// ErrUnsupported reports a Provider whose type, or one of whose fields,
	// this version cannot serve.
	ErrUnsupported = errors.New("not supported by this version of the notification-controller")
	// ErrInvalid reports a Provider or Secret that cannot be used as written.
	ErrInvalid = errors.New("invalid provider")
)

// Loader prepares the senders of Providers.
type Loader struct {
	// Secrets reads Secrets; they should come live. Required.
	Secrets client.Reader
	// Accounts reads service accounts and makes tokens for them. Without it no
	// Provider can have an identity.
	Accounts client.Client
	// Tokens keeps credentials that were given for an identity; nil keeps none.
	Tokens *cache.TokenCache
	// TokenAge is the longest that a credential is used; 0 means, and the most
	// is, an hour.
	TokenAge time.Duration
	// Apps keeps the tokens of GitHub Apps. Required where a Secret describes one.
	Apps *githubapp.Tokens
	// Warn is told what of an Alert could not be done although its event was
	// sent. nil tells nobody.
	Warn func(alert types.NamespacedName, reason, message string)

	memory memory
	own    ownTokens
}

// Keep remembers in a file what messages refer back to, such as threads, so that it
// is known after a restart. It returns how to end that.
func (l *Loader) Keep(path string) (stop func() error, err error) {
	return l.memory.Close, l.memory.keep(path)
}

// Loaded is a Provider ready for use.
type Loaded struct {
	Type    Type
	Timeout time.Duration // of one attempt
	sender  Sender
	client  *http.Client
	warn    func(alert types.NamespacedName, reason, message string)
}

// Send makes one attempt for an Alert, within the Provider's timeout. The
// Alert's template shapes the message; one that fails is told of, and leaves
// the message as it is.
func (l *Loaded) Send(ctx context.Context, alert *notificationv1beta3.Alert, event *eventv1.Event) error {
	event, err := shaped(alert, event)
	if err != nil && l.warn != nil {
		l.warn(client.ObjectKeyFromObject(alert), notificationv1beta3.InvalidConfigReason,
			fmt.Sprintf("annotation %s: %v: the message was sent as it is", templateAnnotation, err))
	}
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	if s, ok := l.sender.(alertSender); ok {
		return s.SendFor(ctx, alert, event)
	}
	return l.sender.Send(ctx, event)
}

// Close gives back the connections of the sender.
func (l *Loaded) Close() {
	if c, ok := l.sender.(interface{ Close() }); ok {
		c.Close()
	}
	l.client.CloseIdleConnections()
}

// Load reads the Secrets that p names and prepares its sender. A Failure that
// is final says that p must be edited; any other error may pass, as when a
// Secret is yet to be created.
func (l *Loader) Load(ctx context.Context, p *notificationv1beta3.Provider) (*Loaded, error) {
	t, known := byName[p.Spec.Type]
	if !known {
		return nil, Final(fmt.Errorf("provider %q has type %q, which is %w", p.Name, p.Spec.Type, ErrUnsupported))
	}
	if p.Spec.ServiceAccountName != "" && !t.Identity {
		return nil, Final(fmt.Errorf("%w: provider %q of type %q has no use for spec.serviceAccountName: remove it and use spec.secretRef", ErrInvalid, p.Name, p.Spec.Type))
	}
	timeout, err := timeoutOf(p)
	if err != nil {
		return nil, err
	}
	target, err := l.targetOf(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("provider %q: %w", p.Name, err)
	}
	sender, err := t.New(target)
	if err != nil {
		return nil, Final(fmt.Errorf("provider %q of type %q: %w", p.Name, p.Spec.Type, err))
	}
	return &Loaded{Type: t, Timeout: timeout, sender: sender, client: target.Client, warn: l.Warn}, nil
}

// WantsCommitStatusUpdates says whether Providers of the named type want
// events that only renew the status of a commit.
func WantsCommitStatusUpdates(name string) bool { return byName[name].CommitStatusUpdates }

func timeoutOf(p *notificationv1beta3.Provider) (time.Duration, error) {
	if p.Spec.Timeout == nil {
		return defaultTimeout, nil
	}
	if err := p.Spec.Timeout.Err(); err != nil {
		return 0, Final(fmt.Errorf("%w: provider %q: spec.timeout: %w", ErrInvalid, p.Name, err))
	}
	if p.Spec.Timeout.Duration <= 0 {
		return defaultTimeout, nil
	}
	return p.Spec.Timeout.Duration, nil
}

func (l *Loader) targetOf(ctx context.Context, p *notificationv1beta3.Provider) (Target, error) {
	t := Target{
		Address:  p.Spec.Address,
		Channel:  p.Spec.Channel,
		Username: p.Spec.Username,
		UID:      string(p.UID),
		Object:   p,
		Format:   p.Annotations[slackFormat],
		Memory:   &l.memory,
		Apps:     l.Apps,
	}
	secret := &corev1.Secret{}
	if ref := p.Spec.SecretRef; ref != nil {
		s, err := secrets.Get(ctx, l.Secrets, p.Namespace, ref.Name)
		if err != nil {
			return Target{}, fmt.Errorf("spec.secretRef: %w", err)
		}
		secret = s
	}
	if err := t.read(secret); err != nil {
		return Target{}, err
	}
	var err error
	if t.Proxy, err = proxyOf(ctx, l.Secrets, p, secret); err != nil {
		return Target{}, err
	}
	if t.TLS, err = tlsOf(ctx, l.Secrets, p); err != nil {
		return Target{}, err
	}
	t.Client = clientOf(t.Proxy, t.TLS)
	t.Identity, err = l.identityOf(p, t.Proxy != nil)
	return t, err
}

// read takes over what the Secret of spec.secretRef says.
func (t *Target) read(s *corev1.Secret) error {
	if v := string(s.Data["address"]); v != "" {
		t.Address = v
	}
	t.Token = string(s.Data["token"])
	t.Login, t.Password = string(s.Data["username"]), string(s.Data["password"])
	t.Creds, t.NKey = s.Data["creds"], s.Data["nkey"]
	if _, ok := s.Data[githubapp.KeyID]; ok {
		t.GitHubApp = s.Data
	}
	headers, err := headersOf(s)
	if err != nil {
		return err
	}
	t.Headers = headers
	return nil
}
