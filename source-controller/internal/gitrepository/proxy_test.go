package gitrepository

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync/atomic"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// startProxy is an HTTP proxy for anna that counts what goes through it.
func startProxy(t *testing.T) (address string, through *atomic.Int64) {
	through = &atomic.Int64{}
	forward := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if user, password, _ := login.BasicAuth(); user != "anna" || password != "the proxy's password" {
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		through.Add(1)
		if r.Method != http.MethodConnect {
			forward.ServeHTTP(w, r)
			return
		}
		server, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		w.WriteHeader(http.StatusOK)
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		go func() {
			_, _ = io.Copy(server, buffered)
			server.Close()
		}()
		_, _ = io.Copy(client, server)
	}))
	t.Cleanup(srv.CloseClientConnections)
	return srv.URL, through
}

func TestProxy(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, gitserver.Options{TLS: tls})
			address, through := startProxy(t)
			secret := func(name string, data map[string]string) {
				if err := g.c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name}, StringData: data}); err != nil {
					t.Fatal(err)
				}
			}
			secret("right", map[string]string{"address": address, "username": "anna", "password": "the proxy's password"})
			secret("wrong", map[string]string{"address": address, "username": "anna", "password": "x"})
			secret("ca", map[string]string{"ca.crt": string(g.git.CA())})
			g.init("app", map[string]string{"a.yaml": "1"})
			g.create("app", func(r *sourcev1.GitRepository) {
				r.Spec.ProxySecretRef, r.Spec.SecretRef = &meta.LocalObjectReference{Name: "right"}, &meta.LocalObjectReference{Name: "ca"}
			})
			g.ready("app")
			if through.Load() == 0 {
				t.Error("nothing went through the proxy")
			}
			g.update("app", func(r *sourcev1.GitRepository) { r.Spec.ProxySecretRef.Name = "wrong" })
			reason := sourcev1.AuthenticationFailedReason
			if tls { // the refusal of CONNECT has no status of its own
				reason = sourcev1.GitOperationFailedReason
			}
			g.fails("app", reason, "Proxy Authentication Required")
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", nil)
	g.create("app", nil)
	g.fails("app", sourcev1.EmptyGitRepositoryReason, "empty")
	g.commit("app", "first", map[string]string{"a.yaml": "1"})
	g.ready("app")
}
