// Package receiver answers webhooks: a call that is proved to come from its
// sender makes the objects that the Receiver names reconcile at once.
//
// The reconciler gives each Receiver its secret path; the handler finds the
// Receiver of a path, authenticates the call before it parses anything, and
// annotates the objects. Each type of sender has one file and one test, and
// stands once in the map of types.go.
package receiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/acl"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/expression"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// shortToken is the length, in bytes, below which a token is warned of.
const shortToken = 16

var (
	// errToken reports a Secret without what the type needs.
	errToken = errors.New("no token")
	// errShort reports a token that can be guessed.
	errShort = errors.New("short token")
)

// Reconciler gives Receivers their paths. It implements loop.Worker.
type Reconciler struct {
	Client client.Reader // reads Secrets live
	// NoCross forbids targets in other namespaces.
	NoCross bool
	// RefuseShort refuses tokens that are short, instead of warning of them.
	RefuseShort bool
	// Warn records a warning about a Receiver.
	Warn func(obj client.Object, reason, message string)
}

// Reconcile checks the spec and publishes the path.
func (r *Reconciler) Reconcile(ctx context.Context, obj *notificationv1.Receiver) (loop.Done, error) {
	before := obj.Status.WebhookPath
	obj.Status.WebhookPath = ""
	if _, err := typeOf(obj, nil); err != nil {
		return loop.Done{}, loop.Stall(reasonOf(err), err)
	}
	if _, err := targetsOf(obj, r.NoCross); err != nil {
		return loop.Done{}, loop.Stall(reasonOf(err), err)
	}
	secret, err := secretOf(ctx, r.Client, obj, r.RefuseShort)
	if errors.Is(err, errShort) {
		return loop.Done{}, loop.Retry(notificationv1.ValidationFailedReason, err)
	}
	if err != nil {
		return loop.Done{}, loop.Retry(notificationv1.TokenNotFoundReason, err)
	}
	token := secret[keyToken]
	path := obj.GetWebhookPath(string(token))
	if secret != nil && len(token) < shortToken && path != before {
		r.Warn(obj, notificationv1.ValidationFailedReason, fmt.Sprintf("the token of secret %q has %d bytes: use at least %d random ones", obj.Spec.SecretRef.Name, len(token), shortToken))
	}
	obj.Status.WebhookPath = path
	return loop.Done{Reason: meta.SucceededReason, Message: "Receiver initialized for path: " + path}, nil
}

// Finalize has nothing to undo: the path goes with the object.
func (r *Reconciler) Finalize(context.Context, *notificationv1.Receiver) error { return nil }

func reasonOf(err error) string {
	if errors.Is(err, ErrAccess) {
		return acl.AccessDeniedReason
	}
	if errors.Is(err, expression.ErrInvalid) {
		return meta.InvalidCELExpressionReason
	}
	return notificationv1.ValidationFailedReason
}

// keyToken is the key of the Secret that every type needs.
const keyToken = "token"

// secretOf reads the Receiver's Secret. Type generic-oidc has none. The error
// is errToken or errShort when what is in it cannot be used.
func secretOf(ctx context.Context, c client.Reader, obj *notificationv1.Receiver, refuseShort bool) (map[string][]byte, error) {
	if obj.Spec.Type == notificationv1.GenericOIDCReceiver {
		return nil, nil
	}
	if obj.Spec.SecretRef == nil {
		return nil, fmt.Errorf("%w: set spec.secretRef", errToken)
	}
	s, err := secrets.Get(ctx, c, obj.Namespace, obj.Spec.SecretRef.Name)
	if err != nil {
		return nil, err
	}
	keys := []string{keyToken}
	if obj.Spec.Type == notificationv1.GCRReceiver {
		keys = append(keys, keyEmail, keyAudience)
	}
	for _, key := range keys {
		if len(s.Data[key]) == 0 {
			return nil, fmt.Errorf("%w: the key %q of secret %q is missing or empty", errToken, key, s.Name)
		}
	}
	if n := len(s.Data[keyToken]); refuseShort && n < shortToken {
		return nil, fmt.Errorf("%w: the token of secret %q has %d bytes, fewer than %d (--refuse-short-tokens)", errShort, s.Name, n, shortToken)
	}
	return s.Data, nil
}
