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
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// shortToken is the length, in bytes, below which a token is warned of.
const shortToken = 16

// errToken reports a Secret without a usable token.
var errToken = errors.New("no token")

// Reconciler gives Receivers their paths. It implements loop.Worker.
type Reconciler struct {
	Client client.Reader // reads Secrets live
	// NoCross forbids targets in other namespaces.
	NoCross bool
	// Warn records a warning about a Receiver.
	Warn func(obj client.Object, reason, message string)
}

// Reconcile checks the spec and publishes the path.
func (r *Reconciler) Reconcile(ctx context.Context, obj *notificationv1.Receiver) (loop.Done, error) {
	before := obj.Status.WebhookPath
	obj.Status.WebhookPath = ""
	if _, err := typeOf(obj); err != nil {
		return loop.Done{}, loop.Stall(notificationv1.ValidationFailedReason, err)
	}
	if _, err := targetsOf(obj, r.NoCross); err != nil {
		return loop.Done{}, loop.Stall(reasonOf(err), err)
	}
	token, err := tokenOf(ctx, r.Client, obj)
	if err != nil {
		return loop.Done{}, loop.Retry(notificationv1.TokenNotFoundReason, err)
	}
	path := obj.GetWebhookPath(string(token))
	if len(token) < shortToken && path != before {
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
	if errors.Is(err, errFilter) {
		return meta.InvalidCELExpressionReason
	}
	return notificationv1.ValidationFailedReason
}

// tokenOf reads the token as it stands in the Secret.
func tokenOf(ctx context.Context, c client.Reader, obj *notificationv1.Receiver) ([]byte, error) {
	if obj.Spec.SecretRef == nil {
		return nil, fmt.Errorf("%w: set spec.secretRef", errToken)
	}
	s, err := secrets.Get(ctx, c, obj.Namespace, obj.Spec.SecretRef.Name)
	if err != nil {
		return nil, err
	}
	if len(s.Data["token"]) == 0 {
		return nil, fmt.Errorf("%w: the key \"token\" of secret %q is missing or empty", errToken, s.Name)
	}
	return s.Data["token"], nil
}
