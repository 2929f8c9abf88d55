package receiver

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/loop"
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
	for _, want := range []struct {
		token         string
		refuse        bool // short ones, by the flag
		ready, warned bool
	}{
		{"", false, false, false},
		{"tiny", false, true, true},
		{"fifteen-letters", false, true, true},
		{"sixteen--letters", false, true, false},
		{testToken, false, true, false},
		{"", true, false, false},
		{"tiny", true, false, false},
		{"fifteen-letters", true, false, false},
		{"sixteen--letters", true, true, false},
		{testToken, true, true, false},
	} {
		warned, token := false, want.token
		r := &Reconciler{Client: tokenIn(token), RefuseShort: want.refuse, Warn: func(client.Object, string, string) { warned = true }}
		obj := &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{Type: "github", SecretRef: &meta.LocalObjectReference{Name: "x"}}}
		_, err := r.Reconcile(context.Background(), obj)
		if (err == nil) != want.ready || (obj.Status.WebhookPath != "") != want.ready || warned != want.warned {
			t.Errorf("%d bytes: path %q, warned %t, %v", len(token), obj.Status.WebhookPath, warned, err)
		}
		if want.ready {
			continue
		}
		reason := notificationv1.ValidationFailedReason
		if token == "" {
			reason = notificationv1.TokenNotFoundReason
		}
		f, ok := errors.AsType[*loop.Failure](err)
		if !ok || f.Reason != reason || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%d bytes, refused %t: %v", len(token), want.refuse, err)
		}
	}
}
