package helmrepository

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
		g.create("app", nil)
		healthy := g.index
		p := g.Promise("app", "helmrepositories")
		p.Restart = func() { g.restart(0) }
		p.Change = func(n int) {
			healthy = index(fmt.Sprintf("1.0.%d", n+1))
			g.set(healthy, nil)
		}
		p.Break = func(broken bool) {
			g.set(healthy, nil)
			if broken {
				g.set(healthy, http.NotFound)
			}
		}
		p.Asked = func() int { return len(g.requests()) }
		return p
	})
}

// TestHostileServer asserts that no answer does harm.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.restart(1 << 20)
	healthy := g.index
	attacks := sourcetest.Attacks()
	for name, text := range map[string]string{
		"aliases":    "a: &a [x,x,x,x,x,x,x,x,x]\n" + aliases(12) + "apiVersion: v1\nentries: {app: *m}\n",
		"deep-flow":  "apiVersion: v1\nentries: " + strings.Repeat("[", 200_000),
		"deep-block": "apiVersion: v1\nentries:\n" + deep(1000),
		"deep-json":  `{"apiVersion":"v1","entries":` + strings.Repeat(`{"a":`, 200_000),
		"long-key":   "apiVersion: v1\nentries:\n  " + strings.Repeat("k", 1<<20),
		"no-mapping": "- a\n- b\n",
		"binary":     "\x00\x01\x02\xff\xfe",
	} {
		attacks[name] = sourcetest.Attack{HandlerFunc: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }}
	}
	soon := duration.New(100 * time.Millisecond)
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			g.T = t
			g.set(healthy, a.HandlerFunc)
			g.create(name, func(s *sourcev1.HelmRepositorySpec) {
				if a.Slow {
					s.Timeout = &soon
				}
			})
			sourcetest.Attacked(t, g.Reconcile(name), a, g.Storage, sourcev1.IndexationFailedReason)
		})
	}
	g.T = t
	g.set(healthy, nil)
	g.create("after", nil)
	g.Ready("after")
}

// aliases are levels of lists, each of which stands for nine of the one before.
func aliases(levels int) (out string) {
	for i := range levels {
		name, last := string(rune('b'+i)), string(rune('a'+i))
		out += fmt.Sprintf("%s: &%s [%s]\n", name, name, strings.TrimSuffix(strings.Repeat("*"+last+",", 9), ","))
	}
	return out
}

// deep is a mapping in a mapping in a mapping.
func deep(levels int) string {
	var out strings.Builder
	for i := range levels {
		fmt.Fprintf(&out, "%sa:\n", strings.Repeat(" ", i+2))
	}
	return out.String()
}
