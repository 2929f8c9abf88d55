package apply

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirhq/weir/internal/build"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func refs(objects ...build.Object) (refs []Ref) {
	for _, o := range objects {
		refs = append(refs, Ref{o.GVK, o.Namespace, o.Name})
	}
	return refs
}

func TestPrune(t *testing.T) {
	l := newLab(t)
	with := func(name, annotation string) build.Object {
		return l.object("{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {"+annotation+"}}, data: {a: one}}", name)
	}
	plain, kept := with("plain", ""), with("kept", "kustomize.toolkit.fluxcd.io/prune: disabled")
	excused, taken, gone := with("excused", ""), with("taken", ""), with("gone", "")
	role := l.object("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, rules: []}", "weir:"+l.ns)
	l.want(l.set(plain, kept, excused, taken, gone, role), "created 6", 12)
	l.patch(excused, "kubectl-annotate", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/ssa":"Ignore"}}}`)
	l.patch(taken, "operator", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"other"}}}`)
	l.delete(gone)
	l.caughtUp(gone)
	for len(l.notices) > 0 {
		<-l.notices
	}
	unknown := Ref{GroupVersionKind: schema.GroupVersionKind{Group: "no.example", Version: "v1", Kind: "Nothing"}, Namespace: l.ns, Name: "x"}
	all := append(refs(plain, kept, excused, taken, gone, role), unknown)
	l.meter.take()
	changes, survivors, err := l.As("").Prune(t.Context(), l.owner, all, PruneOptions{Wait: true})
	if err != nil || len(survivors) > 0 {
		t.Fatalf("survivors %v, error %v", survivors, err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.Name+" "+c.Action)
	}
	want := []string{"excused skipped", "kept skipped", "plain deleted", "taken skipped", role.Name + " deleted"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	for _, o := range []build.Object{kept, excused, taken} {
		if l.live(o) == nil {
			t.Errorf("%s was deleted", o.Name)
		}
	}
	if l.live(plain) != nil || l.live(role) != nil {
		t.Error("not deleted")
	}
	for len(l.notices) > 0 {
		<-l.notices
	}
	l.quiet() // our own deletions are no drift
	if left := l.Drifted(l.owner); len(left) > 1 {
		t.Errorf("marked: %v", left)
	}
}

func TestPruneNamesSurvivors(t *testing.T) {
	l := newLab(t)
	a, b := l.configMap("a", "one"), l.configMap("b", "one")
	l.want(l.set(a, b), "created 2", 4)
	nobody := l.As("nobody")
	_, survivors, err := nobody.Prune(t.Context(), l.owner, refs(a, b), PruneOptions{})
	if d := cmp.Diff(refs(a, b), survivors); d != "" || err == nil {
		t.Errorf("error %v, survivors (-want +got):\n%s", err, d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, survivors, err = l.As("").Prune(ctx, l.owner, refs(a), PruneOptions{}); err == nil || len(survivors) != 1 {
		t.Errorf("error %v, survivors %v", err, survivors)
	}
}

func TestInventoryIDs(t *testing.T) {
	for _, c := range []struct {
		id, version string
		ref         Ref
	}{
		{"apps_web_apps_Deployment", "v1", Ref{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "apps", "web"}},
		{"_apps__Namespace", "v1", Ref{schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", "apps"}},
		{"apps_conf__ConfigMap", "v1", Ref{schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "apps", "conf"}},
		{"_system__reader_rbac.authorization.k8s.io_ClusterRole", "v1",
			Ref{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, "", "system:reader"}},
		{"a_x__y__z_rbac.authorization.k8s.io_Role", "v1",
			Ref{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, "a", "x:y:z"}},
		{"a_x:y__z_g.example_K", "v1", Ref{schema.GroupVersionKind{Group: "g.example", Version: "v1", Kind: "K"}, "a", "x:y__z"}},
	} {
		if got := c.ref.ID(); got != c.id {
			t.Errorf("ID of %s is %q, want %q", c.ref, got, c.id)
		}
		if got, err := ParseID(c.id, c.version); err != nil || got != c.ref {
			t.Errorf("ParseID(%q) = %+v, %v", c.id, got, err)
		}
	}
	for _, id := range []string{"", "a", "a_b", "a_b_c", "a__g_", "___"} {
		if r, err := ParseID(id, "v1"); err == nil {
			t.Errorf("ParseID(%q) = %+v, want an error", id, r)
		}
	}
}
