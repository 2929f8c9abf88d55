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
	for name, promise := range sourcetest.Promises {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.files("app", "latest", map[string]string{"a": "a"})
			g.create("app", nil)
			promise(sourcetest.Promise{
				T: t, C: g.c, Resource: "ocirepositories", Storage: g.storage,
				Reconcile: func() sourcetest.Source { return g.reconcile("app") },
				Change:    func(n int) { g.files("app", "latest", map[string]string{"a": fmt.Sprint(n)}) },
				Break: func(broken bool) {
					g.through(nil)
					if broken {
						g.through(func(http.Handler) http.Handler { return http.NotFoundHandler() })
					}
				},
				Asked:   func() int { return len(g.requests()) },
				Told:    g.told,
				Restart: g.restart,
				Files:   func() http.Handler { return g.o.Store.Handler() },
			})
		})
	}
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
				g.t = t
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
				sourcetest.Attacked(t, g.reconcile(name), a, g.storage, sourcev1.OCIPullFailedReason, sourcev1.ReadOperationFailedReason, sourcev1.OCILayerOperationFailedReason)
			})
		}
	}
	g.t = t
	g.through(nil)
	g.create("after", func(s *sourcev1.OCIRepositorySpec) {
		s.URL, s.Reference = "oci://"+g.host()+"/app", &sourcev1.OCIRepositoryRef{SemVer: "1.x"}
	})
	g.ready("after")
}
