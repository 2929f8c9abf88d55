package bucket

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func generation(content string) string {
	h := fnv.New32a()
	h.Write([]byte(content))
	return fmt.Sprint(h.Sum32())
}

// gcsServer stands for the JSON interface of Google Cloud Storage, with one object
// a page.
func gcsServer(files map[string]string, seen *gets) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, isObject := strings.CutPrefix(r.URL.EscapedPath(), "/storage/v1/b/app/o/")
		q := r.URL.Query()
		switch {
		case r.Header.Get("Authorization") != "Bearer google-token":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":401,"message":"Invalid Credentials"}}`)
		case isObject && q.Get("alt") == "media":
			key, _ = url.PathUnescape(key)
			seen.add(key)
			if q.Get("ifGenerationMatch") != generation(files[key]) {
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
			http.ServeContent(w, r, "", modified, strings.NewReader(files[key]))
		case r.URL.Path == "/storage/v1/b/app/o":
			var names []string
			for name := range files {
				if strings.HasPrefix(name, q.Get("prefix")) && name > q.Get("pageToken") {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			answer := map[string]any{"kind": "storage#objects"}
			if len(names) > 0 {
				n := names[0]
				answer["items"] = []map[string]string{{"name": n, "etag": etagOf(files[n]), "generation": generation(files[n]), "size": fmt.Sprint(len(files[n]))}}
			}
			if len(names) > 1 {
				answer["nextPageToken"] = names[0]
			}
			answerJSON(w, answer)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"code":404,"message":"The specified bucket does not exist."}}`)
		}
	}
}

// accountKey is a key of a service account whose tokens are taken at uri.
func accountKey(t *testing.T, uri string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	out, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "robot@project.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": uri})
	must(t, err)
	return string(out)
}

func TestGoogleKey(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	files, seen, tokens := map[string]string{}, &gets{}, 0
	through, _ := g.internet(map[string]http.HandlerFunc{
		"storage.googleapis.com": gcsServer(files, seen),
		"oauth2.googleapis.com": func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("assertion") == "" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			tokens++
			answerJSON(w, map[string]any{"access_token": "google-token", "token_type": "Bearer", "expires_in": 3600})
		},
	})
	g.Secret("google", "serviceaccount", accountKey(t, "https://oauth2.googleapis.com/token"))
	g.Secret("google-bad", "serviceaccount", `{"type":"external_account","credential_source":{"file":"/etc/passwd"}}`)
	spec := func(secret string) func(*sourcev1.BucketSpec) {
		return func(s *sourcev1.BucketSpec) {
			s.Provider, s.Endpoint, s.SecretRef = "gcp", "storage.googleapis.com", &meta.LocalObjectReference{Name: secret}
			through(s)
		}
	}
	g.create("app", spec("google"))
	g.walk("app", files, func() {}, seen.take)
	if tokens != 1 {
		t.Errorf("it took %d tokens, want 1", tokens)
	}
	for _, s := range g.worker.storages {
		resumed(t, s, "1")
	}
	g.create("file", spec("google-bad"))
	g.Fails("file", sourcev1.AuthenticationFailedReason, `"serviceaccount"`)
	g.create("half", spec("login"))
	g.Fails("half", sourcev1.AuthenticationFailedReason, `"serviceaccount"`)
	g.create("gone", func(s *sourcev1.BucketSpec) { spec("google")(s); s.BucketName = "gone" })
	g.Fails("gone", sourcev1.BucketOperationFailedReason, "does not exist")
	g.create("region", func(s *sourcev1.BucketSpec) { spec("google")(s); s.Region = "eu" })
	if !sourcetest.Stalled(g.Fails("region", sourcev1.BucketOperationFailedReason, "spec.region")) {
		t.Error("spec.region is passed over")
	}
	g.create("elsewhere", func(s *sourcev1.BucketSpec) { spec("google")(s); s.SecretRef, s.Endpoint = nil, "evil.test" })
	if !sourcetest.Stalled(g.Fails("elsewhere", sourcev1.URLInvalidReason, `"evil.test"`)) {
		t.Error("an identity is used anywhere")
	}
}

func TestGoogleIdentity(t *testing.T) {
	cloudtest.Metadata(t)
	g := newRig(t)
	files, seen := map[string]string{}, &gets{}
	through, _ := g.internet(map[string]http.HandlerFunc{"storage.googleapis.com": gcsServer(files, seen)})
	g.create("app", func(s *sourcev1.BucketSpec) {
		s.Provider, s.Endpoint, s.SecretRef = "gcp", "storage.googleapis.com", nil
		through(s)
	})
	g.walk("app", files, func() {}, seen.take)
}
