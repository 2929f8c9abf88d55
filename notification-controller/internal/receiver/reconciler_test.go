package receiver

import (
	"context"
	"errors"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

// tokenIn reads one Secret, whatever its name, as an API server would answer.
type tokenIn string

func (s tokenIn) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return errors.New("only secrets are read")
	}
	secret.Name, secret.Namespace, secret.Data = key.Name, key.Namespace, map[string][]byte{"token": []byte(s)}
	return nil
}

func (s tokenIn) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing is listed")
}

func TestTokens(t *testing.T) {
	for token, want := range map[string]struct{ ready, warned bool }{
		"":        {false, false},
		"short":   {true, true},
		testToken: {true, false},
	} {
		warned := false
		r := &Reconciler{Client: tokenIn(token), Warn: func(client.Object, string, string) { warned = true }}
		obj := &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{Type: "github", SecretRef: &meta.LocalObjectReference{Name: "x"}}}
		_, err := r.Reconcile(context.Background(), obj)
		if (err == nil) != want.ready || (obj.Status.WebhookPath != "") != want.ready || warned != want.warned {
			t.Errorf("%d bytes: path %q, warned %t, %v", len(token), obj.Status.WebhookPath, warned, err)
		}
		if !want.ready && !errors.Is(err, errToken) {
			t.Errorf("%d bytes: %v", len(token), err)
		}
	}
}
