package gitrepository

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/proxytest"
)

func TestProxy(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, gitserver.Options{TLS: tls})
			proxy := proxytest.Start(t, proxytest.Options{Username: "anna", Password: "the proxy's password"})
			g.Secret("right", "address", proxy.URL, "username", "anna", "password", "the proxy's password")
			g.Secret("wrong", "address", proxy.URL, "username", "anna", "password", "x")
			g.Secret("ca", "ca.crt", string(g.git.CA()))
			g.init("app", map[string]string{"a.yaml": "1"})
			g.create("app", func(r *sourcev1.GitRepository) {
				r.Spec.ProxySecretRef, r.Spec.SecretRef = &meta.LocalObjectReference{Name: "right"}, &meta.LocalObjectReference{Name: "ca"}
			})
			g.Ready("app")
			if len(proxy.Hosts()) == 0 {
				t.Error("nothing went through the proxy")
			}
			g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.ProxySecretRef.Name = "wrong" })
			reason := sourcev1.AuthenticationFailedReason
			if tls { // the refusal of CONNECT has no status of its own
				reason = sourcev1.GitOperationFailedReason
			}
			g.Fails("app", reason, "Proxy Authentication Required")
		})
	}
}

func TestEmptyRepository(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	g.init("app", nil)
	g.create("app", nil)
	g.Fails("app", sourcev1.EmptyGitRepositoryReason, "empty")
	g.commit("app", "first", map[string]string{"a.yaml": "1"})
	g.Ready("app")
}
