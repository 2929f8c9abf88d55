package apply

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
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
	l.want(l.set(objects...), "configured 2, unchanged 8", 4)
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
