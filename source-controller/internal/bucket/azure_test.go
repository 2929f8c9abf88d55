package bucket

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// blobServer stands for the REST interface of Azure Blob Storage, with one blob a
// page, a folder among them; let tells whether a request has credentials.
func blobServer(files map[string]string, seen *gets, let func(*http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fails := func(status int, code string) {
			w.Header().Set("x-ms-error-code", code)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
		}
		q := r.URL.Query()
		key, isBlob := strings.CutPrefix(r.URL.Path, "/app/")
		switch {
		case !let(r):
			fails(http.StatusForbidden, "AuthenticationFailed")
		case r.URL.Path == "/app" && q.Get("comp") == "list":
			listBlobs(w, files, q.Get("prefix"), q.Get("marker"))
		case isBlob:
			seen.add(key)
			if r.Header.Get("If-Match") != `"0x`+etagOf(files[key])+`"` {
				fails(http.StatusPreconditionFailed, "ConditionNotMet")
				return
			}
			r.Header.Del("If-Match")
			if part := r.Header.Get("x-ms-range"); part != "" {
				r.Header.Set("Range", part)
			}
			http.ServeContent(w, r, "", modified, strings.NewReader(files[key]))
		default:
			fails(http.StatusNotFound, "ContainerNotFound")
		}
	}
}

func listBlobs(w http.ResponseWriter, files map[string]string, prefix, marker string) {
	names := []string{}
	if prefix == "" && marker == "" {
		names = append(names, "dir")
	}
	for name := range files {
		if strings.HasPrefix(name, prefix) && name > marker {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>`)
	next := ""
	for i, name := range names {
		if i == 2 {
			next = names[1]
			break
		}
		kind := ""
		if name == "dir" {
			kind = "<ResourceType>directory</ResourceType>"
		}
		fmt.Fprintf(w, `<Blob><Name>%s</Name><Properties><Etag>"0x%s"</Etag><Content-Length>%d</Content-Length>%s</Properties></Blob>`,
			html.EscapeString(name), etagOf(files[name]), len(files[name]), kind)
	}
	fmt.Fprintf(w, `</Blobs><NextMarker>%s</NextMarker></EnumerationResults>`, html.EscapeString(next))
}

func TestAzureKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.Secret("key", "accountKey", "c2VjcmV0LWtleS1vZi1hY2NvdW50")
	g.Secret("bad-key", "accountKey", "#")
	g.Secret("sas", "sasKey", "?sv=2024-01-01&sig=signature-of-sas")
	g.Secret("wrong-sas", "sasKey", "sv=2024-01-01&sig=something-else")
	g.Secret("tenant", "tenantId", "11111111-2222-3333-4444-555555555555", "clientId", "66666666-7777-8888-9999-000000000000")
	let := func(r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:") || r.URL.Query().Get("sig") == "signature-of-sas"
	}
	files, seen := map[string]string{}, &gets{}
	through, _ := g.internet(map[string]http.HandlerFunc{"account.blob.core.windows.net": blobServer(files, seen, let)})
	spec := func(secret string) func(*sourcev1.BucketSpec) {
		return func(s *sourcev1.BucketSpec) {
			s.Provider, s.Endpoint, s.SecretRef = "azure", "https://account.blob.core.windows.net", &meta.LocalObjectReference{Name: secret}
			through(s)
		}
	}
	for _, name := range []string{"key", "sas"} {
		t.Run(name, func(t *testing.T) {
			g.create(name, spec(name))
			g.walk(name, files, func() {}, seen.take)
		})
	}
	for _, s := range g.worker.storages {
		resumed(t, s, `"0x1"`)
	}
	for name, c := range map[string]struct{ secret, reason, text string }{
		"bad-key":   {"bad-key", sourcev1.AuthenticationFailedReason, `"accountKey"`},
		"wrong-sas": {"wrong-sas", sourcev1.AuthenticationFailedReason, "403"},
		"tenant":    {"tenant", sourcev1.AuthenticationFailedReason, `"clientSecret"`},
		"nothing":   {"login", sourcev1.AuthenticationFailedReason, `"sasKey"`},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, spec(c.secret))
			g.Fails(name, c.reason, c.text)
		})
	}
	for name, endpoint := range map[string]string{"host": "account.blob.core.windows.net", "plain": "http://account.blob.core.windows.net"} {
		g.create(name, func(s *sourcev1.BucketSpec) { spec("key")(s); s.Endpoint = endpoint })
		if !sourcetest.Stalled(g.Fails(name, sourcev1.URLInvalidReason, "https")) {
			t.Errorf("%s does not stall", name)
		}
	}
	g.create("gone", func(s *sourcev1.BucketSpec) { spec("key")(s); s.BucketName = "gone" })
	g.Fails("gone", sourcev1.BucketOperationFailedReason, "ContainerNotFound")
}

// TestAzureEmulator asserts that the account is found in the path, without TLS.
func TestAzureEmulator(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	files, seen := map[string]string{}, &gets{}
	h := blobServer(files, seen, func(r *http.Request) bool {
		return strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey devstoreaccount1:")
	})
	s := httptest.NewServer(http.StripPrefix("/devstoreaccount1", h))
	defer s.Close()
	g.Secret("key", "accountKey", "c2VjcmV0LWtleS1vZi1hY2NvdW50")
	g.create("app", func(spec *sourcev1.BucketSpec) {
		spec.Provider, spec.Endpoint, spec.Insecure = "azure", s.URL+"/devstoreaccount1", true
		spec.SecretRef, spec.CertSecretRef = &meta.LocalObjectReference{Name: "key"}, nil
	})
	g.walk("app", files, func() {}, seen.take)
}

func TestAzurePrincipal(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	const tenant = "11111111-2222-3333-4444-555555555555"
	files, seen, tokens := map[string]string{}, &gets{}, 0
	through, _ := g.internet(map[string]http.HandlerFunc{
		"account.blob.core.windows.net": blobServer(files, seen, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer entra-token" }),
		cloudtest.EntraHost: cloudtest.Entra(tenant, func(w http.ResponseWriter, r *http.Request) {
			if r.PostFormValue("client_secret") != "client-secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			tokens++
			answerJSON(w, map[string]any{"access_token": "entra-token", "expires_in": 3600, "token_type": "Bearer"})
		}),
	})
	for name, word := range map[string]string{"app": "client-secret", "wrong": "something-else"} {
		g.Secret(name, "tenantId", tenant, "clientId", "66666666-7777-8888-9999-000000000000", "clientSecret", word)
		g.create(name, func(s *sourcev1.BucketSpec) {
			s.Provider, s.Endpoint, s.SecretRef = "azure", "https://account.blob.core.windows.net", &meta.LocalObjectReference{Name: name}
			through(s)
		})
	}
	g.walk("app", files, func() {}, seen.take)
	if tokens != 1 {
		t.Errorf("it took %d tokens, want 1", tokens)
	}
	g.Fails("wrong", sourcev1.AuthenticationFailedReason, "no token")
}
