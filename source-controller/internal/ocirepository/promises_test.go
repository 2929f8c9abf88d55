package ocirepository

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestPromises holds the kind to what all kinds promise.
func TestPromises(t *testing.T) {
	sourcetest.Hold(t, func(t *testing.T) sourcetest.Promise {
		g := newRig(t)
		g.files("app", "latest", map[string]string{"a": "a"})
		g.create("app", nil)
		p := g.Promise("app", "ocirepositories")
		p.Restart = g.restart
		p.Change = func(n int) { g.files("app", "latest", map[string]string{"a": fmt.Sprint(n)}) }
		p.Break = func(broken bool) {
			g.through(nil)
			if broken {
				g.through(func(http.Handler) http.Handler { return http.NotFoundHandler() })
			}
		}
		p.Asked = func() int { return len(g.requests()) }
		return p
	})
}

// TestHostileServer asserts that no answer, to whichever request, does harm.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "1.0.0", map[string]string{"a": "a"})
	soon := duration.New(100 * time.Millisecond)
	for what, part := range map[string]string{"tags": "/tags/list", "resolve": "/manifests/1.0.0", "manifest": "/manifests/sha256:", "layer": "/blobs/sha256:"} {
		attacks := sourcetest.Attacks()
		if what != "tags" {
			attacks = sourcetest.Attacks("hang", "trickle", "reset", "endless", "redirects", "no-http", "bomb", "wrong-type")
		}
		for attack, a := range attacks {
			t.Run(what+"/"+attack, func(t *testing.T) {
				g.T = t
				g.through(func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if strings.Contains(r.URL.Path, part) {
							a.ServeHTTP(w, r)
							return
						}
						next.ServeHTTP(w, r)
					})
				})
				name := what + "-" + attack
				g.create(name, func(s *sourcev1.OCIRepositorySpec) {
					s.URL, s.Reference = "oci://"+g.host()+"/app", &sourcev1.OCIRepositoryRef{SemVer: "1.x"}
					if a.Slow {
						s.Timeout = &soon
					}
				})
				sourcetest.Attacked(t, g.Reconcile(name), a, g.Storage, sourcev1.OCIPullFailedReason, sourcev1.ReadOperationFailedReason, sourcev1.OCILayerOperationFailedReason)
			})
		}
	}
	g.T = t
	g.through(nil)
	g.create("after", func(s *sourcev1.OCIRepositorySpec) {
		s.URL, s.Reference = "oci://"+g.host()+"/app", &sourcev1.OCIRepositoryRef{SemVer: "1.x"}
	})
	g.Ready("after")
}
