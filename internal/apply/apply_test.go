package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

func TestApplyCostsWhatChanged(t *testing.T) {
	l := newLab(t)
	const n = 10
	var objects []build.Object
	for i := range n {
		objects = append(objects, l.configMap(fmt.Sprintf("cm-%d", i), "one"))
	}
	l.want(l.set(objects...), "created 10", 2*n)
	if d := l.meter.discovery; d > 4 {
		t.Errorf("%d discovery requests, want at most 4", d)
	}
	if w := l.meter.watches; w != 1 {
		t.Errorf("%d watches, want 1", w)
	}
	l.want(l.set(objects...), "unchanged 10", 0)

	objects[3] = l.configMap("cm-3", "changed")
	objects[7] = l.configMap("cm-7", "changed")
	l.want(l.set(objects...), "configured 2, unchanged 8", 3)
	l.want(l.set(objects...), "unchanged 10", 0)

	all := l.set(objects...)
	all.Recheck = true
	l.want(all, "unchanged 10", n)
	for _, o := range objects {
		l.caughtUp(o)
	}
	l.quiet()
	if labels := l.live(objects[0]).GetLabels(); labels["kustomize.toolkit.fluxcd.io/name"] != l.owner.Name || labels["kustomize.toolkit.fluxcd.io/namespace"] != l.ns {
		t.Errorf("owner labels %v", labels)
	}

	for _, o := range objects { // so that the whole seconds of managedFields can tell, see drift.Blur
		_, _, row := l.row(o)
		time.Sleep(time.Until(time.Unix(int64(row.OwnTime), 0).Add(drift.Blur + 10*time.Millisecond)))
	}
	l = l.again()
	l.want(l.set(objects...), "unchanged 10", n)
	l.want(l.set(objects...), "unchanged 10", 0)
	l.patch(objects[2], "operator", `{"data":{"a":"other"}}`)
	l.noticed()
	l.want(l.set(objects...), "configured 1, unchanged 9", 1)
}

// TestRestart changes things while the program is not running.
func TestRestart(t *testing.T) {
	l := newLab(t)
	same, edited, deleted := l.configMap("same", "one"), l.configMap("edited", "one"), l.configMap("deleted", "one")
	labelled := l.configMap("label-lost", "one")
	s := l.set(same, edited, deleted, labelled)
	l.want(s, "created 4", 8)
	_, _, row := l.row(labelled)
	time.Sleep(time.Until(time.Unix(int64(row.OwnTime), 0).Add(drift.Blur + 10*time.Millisecond)))
	l.Close()
	l.patch(edited, "operator", `{"data":{"a":"other"}}`)
	l.patch(labelled, "operator", `{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":null}}}`)
	l.delete(deleted)

	l = l.again()
	// 1 for what is the same, 2 for each of the others, and 1 more to see whose it is that has no label.
	l.want(s, "created 1, configured 2, unchanged 1", 8)
	if got := l.live(edited).Object["data"].(map[string]any)["a"]; got != "one" {
		t.Errorf("data.a is %q", got)
	}
	l.want(s, "unchanged 4", 0)
}

// TestPanicIsAnError of the object that caused it.
func TestPanicIsAnError(t *testing.T) {
	l := newLab(t, func(_ *rest.Config, o *Options) {
		o.MayTake = func(Ref, types.NamespacedName, types.NamespacedName) bool { panic("out of cheese") }
	})
	o := l.configMap("cm", "one")
	_, err := l.try(Set{Owner: types.NamespacedName{Namespace: l.ns, Name: "other"}, Objects: []build.Object{o}})
	must(t, err)
	if _, err := l.try(l.set(o)); err == nil || !strings.Contains(err.Error(), "ConfigMap/"+l.ns+"/cm: apply failed: panic: out of cheese") {
		t.Errorf("error %v", err)
	}
	defer func() {
		if p := recover(); p == nil || !strings.Contains(p.(string), "really") {
			t.Errorf("recovered %v", p)
		}
	}()
	fanOut(2, 5, func(i int) {
		if i == 3 {
			panic("really")
		}
	})
}
