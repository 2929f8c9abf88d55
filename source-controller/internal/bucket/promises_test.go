package bucket

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
		g.s3.put("a", "a")
		g.create("app", nil)
		p := g.Promise("app", "buckets")
		p.Restart = g.restart
		p.Change = func(n int) { g.s3.put("a", fmt.Sprint(n)) }
		p.Break = func(broken bool) {
			g.s3.through(nil)
			if broken {
				g.s3.through(func(http.Handler) http.Handler { return http.NotFoundHandler() })
			}
		}
		p.Asked = func() int { seen, _ := g.s3.requests(); return len(seen) }
		return p
	})
}

// TestHostileServer asserts that no answer, to a listing or a download, does harm.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "content")
	soon := duration.New(100 * time.Millisecond)
	list := func(r *http.Request) bool { return r.URL.Query().Has("list-type") }
	get := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/a") }
	try := func(what string, at func(*http.Request) bool, attacks map[string]sourcetest.Attack) {
		for attack, a := range attacks {
			t.Run(what+"/"+attack, func(t *testing.T) {
				g.T = t
				g.s3.through(func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if at(r) {
							a.ServeHTTP(w, r)
							return
						}
						next.ServeHTTP(w, r)
					})
				})
				name := what + "-" + attack
				g.create(name, func(s *sourcev1.BucketSpec) {
					if a.Slow {
						s.Timeout = &soon
					}
				})
				sourcetest.Attacked(t, g.Reconcile(name), a, g.Storage, sourcev1.BucketOperationFailedReason)
			})
		}
	}
	try("list", list, sourcetest.Attacks())
	try("get", get, sourcetest.Attacks("hang", "trickle", "reset", "endless", "redirects", "no-http", "bomb", "wrong-type"))
	g.T = t
	g.s3.through(nil)
	g.create("after", nil)
	g.Ready("after")
}
