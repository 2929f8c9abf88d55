package drift

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const patience = 20 * time.Second

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// rig is a source with what it said.
type rig struct {
	*Source
	t      *testing.T
	events chan Event
	states chan State
	client metadata.ResourceInterface
}

func newRig(t *testing.T, cfg *rest.Config, gvr schema.GroupVersionResource, namespace string) *rig {
	t.Helper()
	c, err := metadata.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, events: make(chan Event, 1000), states: make(chan State, 1000), client: c.Resource(gvr).Namespace(namespace)}
	r.Source = NewSource(Options{Client: r.client, GVR: gvr, LabelSelector: "owner", Table: newTable(),
		Handle: func(e Event) { r.events <- e }, OnState: func(s State, _ error) { r.states <- s }})
	return r
}

func (r *rig) run() { go r.Run(r.t.Context()) }

// until waits for a state.
func (r *rig) until(want State) {
	r.t.Helper()
	for {
		select {
		case s := <-r.states:
			if s == want {
				return
			}
		case <-time.After(patience):
			r.t.Fatalf("never %q, but %q", want, r.State())
		}
	}
}

// apply writes an object as we do and records it.
func (r *rig) apply(namespace, name, value string) {
	r.t.Helper()
	k, force := KeyOf(namespace, name), true
	r.Table.Begin(k)
	m, err := r.client.Patch(context.Background(), name, types.ApplyPatchType,
		fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"owner":"x"}},"data":{"a":%q}}`, name, value),
		metav1.PatchOptions{FieldManager: manager, Force: &force})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Table.Commit(k, Outcome{Object: m, Sum: 1})
}

// verdicts are those of the events so far that ask for something to be done.
func (r *rig) verdicts() (all []string) {
	for {
		select {
		case e := <-r.events:
			if e.Verdict.NeedsWrite() {
				all = append(all, e.Verdict.String())
			}
		default:
			return all
		}
	}
}

// forgetful answers as an API server does that was asked to resume from a version
// it has compacted. A young one has compacted nothing yet.
type forgetful struct{ next http.RoundTripper }

const forgotten = "1"

func (f forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	if q := r.URL.Query(); q.Get("watch") == "" || q.Get("resourceVersion") != forgotten {
		return f.next.RoundTrip(r)
	}
	body := `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}`
	return &http.Response{StatusCode: http.StatusGone, Status: "410 Gone", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// TestExpiredWatch edits one object and deletes another while nobody watches,
// and lets the watch resume from a version that the API server has forgotten.
func TestExpiredWatch(t *testing.T) {
	for name, pages := range map[string]bool{"streamed": false, "paged": true} {
		t.Run(name, func(t *testing.T) {
			ns := testenv.Namespace(t)
			cfg := testenv.Config(t)
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return forgetful{next} })
			r := newRig(t, cfg, configMaps, ns)
			r.Pages = pages
			for _, name := range []string{"same", "edited", "deleted"} {
				r.apply(ns, name, "ours")
			}
			if _, err := r.client.Patch(t.Context(), "edited", types.MergePatchType, []byte(`{"data":{"a":"theirs"}}`), metav1.PatchOptions{FieldManager: "operator"}); err != nil {
				t.Fatal(err)
			}
			if err := r.client.Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			r.rv = forgotten
			r.run()
			r.until(Catching)
			r.until(Live)
			if got := strings.Join(r.verdicts(), " "); got != "drifted gone" {
				t.Errorf("verdicts %q, want one drifted and one gone", got)
			}
			r.apply(ns, "edited", "ours again")
			if _, err := r.client.Patch(t.Context(), "edited", types.MergePatchType, []byte(`{"data":{"a":"theirs again"}}`), metav1.PatchOptions{FieldManager: "operator"}); err != nil {
				t.Fatal(err)
			}
			for e := range r.events {
				if e.Verdict == Drifted {
					break
				}
			}
		})
	}
}

func TestForbiddenWatchIsBlind(t *testing.T) {
	cfg := testenv.Config(t)
	cfg.Impersonate.UserName = "nobody"
	r := newRig(t, cfg, configMaps, "")
	r.run()
	r.until(Blind)
	<-r.Settled()
}

func TestUnknownResource(t *testing.T) {
	r := newRig(t, testenv.Config(t), schema.GroupVersionResource{Group: "no.example", Version: "v1", Resource: "nothings"}, "")
	r.run()
	r.until(NoKind)
	<-r.Settled()
}
