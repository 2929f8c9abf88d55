package provider

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// secretsIn reads Secrets from memory, as an API server would answer.
type secretsIn map[string]map[string][]byte

func (s secretsIn) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	data, ok := s[key.Name]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return errors.New("only secrets are read")
	}
	secret.Name, secret.Namespace, secret.Data = key.Name, key.Namespace, data
	return nil
}

func (s secretsIn) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing is listed")
}

// providerOf decodes a spec as the API server stores it.
func providerOf(t *testing.T, spec string) *notificationv1beta3.Provider {
	t.Helper()
	p := &notificationv1beta3.Provider{}
	p.Name, p.Namespace = "demo", "ns"
	if err := json.Unmarshal([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLoadRefuses(t *testing.T) {
	store := secretsIn{
		"empty":   {},
		"headers": {"headers": []byte("- " + planted)},
		"ca":      {"ca.crt": []byte(planted)},
		"pair":    {"tls.crt": []byte("x"), "tls.key": []byte(planted)},
	}
	tests := map[string]struct {
		spec  string
		says  string
		final bool
	}{
		"missing secret":  {`{"type":"slack","secretRef":{"name":"none"}}`, `"none"`, false},
		"missing address": {`{"type":"slack","secretRef":{"name":"empty"}}`, "no address", true},
		"headers":         {`{"type":"generic","address":"https://a.example.com","secretRef":{"name":"headers"}}`, `"headers"`, false},
		"bad CA":          {`{"type":"generic","address":"https://a.example.com","certSecretRef":{"name":"ca"}}`, `"ca.crt"`, false},
		"bad pair":        {`{"type":"generic","address":"https://a.example.com","certSecretRef":{"name":"pair"}}`, `"tls.key"`, false},
		"no certificates": {`{"type":"generic","address":"https://a.example.com","certSecretRef":{"name":"empty"}}`, "neither", false},
		"no proxy":        {`{"type":"generic","address":"https://a.example.com","proxySecretRef":{"name":"empty"}}`, `"address"`, false},
		"timeout":         {`{"type":"generic","address":"https://a.example.com","timeout":"soon"}`, "spec.timeout", true},
		"identity":        {`{"type":"generic","address":"https://a.example.com","serviceAccountName":"x"}`, "serviceAccountName", true},
		"unknown type":    {`{"type":"pigeon","address":"https://a.example.com"}`, `"pigeon"`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := (&Loader{Secrets: store}).Load(context.Background(), providerOf(t, tt.spec))
			if err == nil || !strings.Contains(err.Error(), tt.says) || IsFinal(err) != tt.final || strings.Contains(err.Error(), planted) {
				t.Errorf("got %v (final %t)", err, IsFinal(err))
			}
		})
	}
}

func TestLoadTrustsTheAuthority(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	store := secretsIn{"to": {"address": []byte(server.URL)}, "ca": {"ca.crt": ca}}
	for _, trusted := range []bool{false, true} {
		p := providerOf(t, `{"type":"generic","address":"https://unused.example.com","secretRef":{"name":"to"}}`)
		if trusted {
			p.Spec.CertSecretRef = &meta.LocalObjectReference{Name: "ca"}
		}
		l, err := (&Loader{Secrets: store}).Load(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Send(context.Background(), &notificationv1beta3.Alert{}, sample()); (err == nil) != trusted {
			t.Errorf("trusted %t: %v", trusted, err)
		}
		l.Close()
	}
}

func TestLoadGoesThroughTheProxy(t *testing.T) {
	var login, asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		login, asked = r.Header.Get("Proxy-Authorization"), r.URL.Host
	}))
	t.Cleanup(proxy.Close)
	store := secretsIn{"proxy": {"address": []byte(proxy.URL), "username": []byte("me"), "password": []byte(planted)}}
	l, err := (&Loader{Secrets: store}).Load(context.Background(), providerOf(t, `{"type":"generic","address":"http://far.example.com","proxySecretRef":{"name":"proxy"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Send(context.Background(), &notificationv1beta3.Alert{}, sample()); err != nil || asked != "far.example.com" || login != basic("me", planted) {
		t.Errorf("the proxy was asked for %q with %q: %v", asked, login, err)
	}
}
