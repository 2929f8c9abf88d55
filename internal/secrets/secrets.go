// Package secrets reads Secrets for the controllers and keeps what they hold
// out of everything that people see.
//
// Whoever uses a Secret gets it through Get, which remembers its values for
// the life of the process. Redact then removes them from any text. The
// reconcile loop and the event recorder call Redact on every status message,
// event and error, so that no other code has to think of it.
package secrets

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrNotFound reports a Secret that is not there (yet).
var ErrNotFound = errors.New("secret not found")

// public names the keys whose values are no secrets; redacting a user name
// such as "git" would make messages unreadable.
var public = map[string]bool{
	"username": true, "known_hosts": true, "identity.pub": true,
	"ca.crt": true, "tls.crt": true, "caFile": true, "certFile": true,
	"githubAppID": true, "githubAppInstallationID": true, "githubAppInstallationOwner": true, "githubAppBaseURL": true,
}

// Get returns the Secret and registers its values for redaction. The error
// names the Secret, and is ErrNotFound when there is none of that name.
func Get(ctx context.Context, c client.Reader, namespace, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("%w: %q in namespace %q: create it or correct the reference", ErrNotFound, name, namespace)
		}
		return nil, fmt.Errorf("reading secret %q in namespace %q: %w", name, namespace, err)
	}
	for key, value := range s.Data {
		if !public[key] {
			Register(string(value))
		}
	}
	return s, nil
}
