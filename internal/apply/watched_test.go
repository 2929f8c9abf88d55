package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// owner applies its set whenever it is told, as a controller does.
func (l *lab) keep(s Set) (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.notices:
				if _, err := l.As("").Apply(ctx, s, nil); err != nil && ctx.Err() == nil {
					l.t.Errorf("repair: %v", err)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

func TestStatusChurnCostsNothing(t *testing.T) {
	l := newLab(t)
	l.gadgets()
	g := l.object(gadgetYAML, "g")
	l.want(l.set(g), "created 1", 2)
	l.meter.take()
	for i := range 100 {
		l.patch(g, "status-controller", fmt.Sprintf(`{"status":{"round":%d}}`, i), "status")
	}
	l.caughtUp(g)
	l.quiet()
	if n, log := l.meter.take(); n != 0 {
		t.Errorf("%d requests: %q", n, log)
	}
}

// TestFight lets somebody insist on a value.
func TestFight(t *testing.T) {
	l := newLab(t)
	o := l.configMap("fought-over", "ours")
	s := l.set(o)
	l.want(s, "created 1", 2)
	for round := range freeRepairs + 2 {
		l.patch(o, "hpa-of-doom", fmt.Sprintf(`{"data":{"a":"theirs-%d"}}`, round))
		r, k, _ := l.row(o)
		until(t, "the edit being seen", func() bool { return r.dirty(k) != nil })
		if round >= freeRepairs {
			// An apply for another reason does not repair it before its time.
			res, err := l.try(s)
			must(t, err)
			if c := res.Changes[0]; c.Action == Skipped && (!c.Fight || c.Manager != "hpa-of-doom") {
				t.Errorf("round %d: %+v", round, c)
			} else if c.Action != Skipped {
				t.Logf("round %d: the pause was over already", round)
			}
		}
		l.noticed()
		res, err := l.try(s)
		must(t, err)
		c := res.Changes[0]
		if round < freeRepairs && (c.Action != Configured || !c.Drift || c.Manager != "hpa-of-doom" || c.Fight) {
			t.Errorf("round %d: %+v", round, c)
		}
		if round >= freeRepairs && c.Action == Configured && !c.Fight {
			t.Errorf("round %d is not called a fight: %+v", round, c)
		}
	}
	l.caughtUp(o)
	if got := l.live(o).Object["data"].(map[string]any)["a"]; got != "ours" {
		t.Errorf("data.a is %q", got)
	}
}

// TestRace lets our applies and foreign edits of the same objects run against
// each other; the last word has to be ours, and then it has to be quiet.
func TestRace(t *testing.T) {
	l := newLab(t)
	const objects, rounds = 10, 8
	sets := make([]Set, rounds)
	for n := range sets {
		for i := range objects {
			sets[n].Objects = append(sets[n].Objects, l.configMap(fmt.Sprintf("race-%d", i), fmt.Sprintf("v%d", n)))
		}
		sets[n].Owner = l.owner
	}
	_, err := l.try(sets[0])
	must(t, err)
	edited := make(chan struct{})
	go func() {
		defer close(edited)
		for m := range 3 * rounds {
			for i := range objects {
				_, _ = l.dyn.Resource(configMaps.GroupVersion().WithResource("configmaps")).Namespace(l.ns).Patch(context.Background(), fmt.Sprintf("race-%d", i),
					types.MergePatchType, fmt.Appendf(nil, `{"data":{"a":"x%d"}}`, m), metav1.PatchOptions{FieldManager: "operator"})
			}
		}
	}()
	for _, s := range sets {
		_, err := l.try(s)
		must(t, err)
	}
	<-edited
	last := sets[rounds-1]
	stop := l.keep(last)
	defer stop()
	until(t, "the last word", func() bool {
		for _, o := range last.Objects {
			if l.live(o).Object["data"].(map[string]any)["a"] != fmt.Sprintf("v%d", rounds-1) {
				return false
			}
		}
		return len(l.Drifted(l.owner)) == 0
	})
	for _, o := range last.Objects {
		l.caughtUp(o)
	}
	l.meter.take()
	l.want(last, "unchanged 10", 0)
}

func TestForgetEndsTheWatch(t *testing.T) {
	l := newLab(t)
	a, b := l.configMap("a", "one"), l.configMap("b", "one")
	l.want(l.set(a, b), "created 2", 4)
	l.want(l.set(a), "unchanged 1", 0)
	l.patch(b, "operator", `{"data":{"a":"other"}}`) // not in the set any more
	l.patch(a, "operator", `{"data":{"a":"other"}}`)
	l.noticed()
	l.want(l.set(a), "configured 1", 1)
	l.Forget(l.owner)
	l.mu.Lock()
	left := len(l.resources)
	l.mu.Unlock()
	if left != 0 {
		t.Errorf("%d resources are still followed", left)
	}
	l.patch(a, "operator", `{"data":{"a":"other"}}`)
	l.quiet()
}

func TestTenant(t *testing.T) {
	l := newLab(t)
	l.grant("tenant", `["get","patch","create"]`)
	apply := func(o build.Object) error {
		_, err := l.As("tenant").Apply(t.Context(), l.set(o), nil)
		return err
	}
	o := l.configMap("cm", "one")
	must(t, apply(o))
	if first, second := l.As("tenant"), l.As("tenant"); first != second {
		t.Error("a client is made for each call")
	}
	err := apply(l.object("{apiVersion: v1, kind: Secret, stringData: {a: b}}", "s"))
	if err == nil || !strings.Contains(err.Error(), `Secret/`+l.ns+`/s: dry run is forbidden: `) || !strings.Contains(err.Error(), `"tenant"`) {
		t.Errorf("error %v", err)
	}
	l.patch(o, "operator", `{"data":{"a":"other"}}`)
	l.noticed() // the watch is the controller's own
	must(t, apply(o))
}

func TestHangingServerEndsWithTheContext(t *testing.T) {
	l := newLab(t, func(c *rest.Config, _ *Options) { c.Dial = (&hang{}).dial })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := l.As("").Apply(ctx, l.set(l.configMap("a", "one")), nil)
	if err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
}

// TestFightsOfOneOwner: the repair that is due later is asked for, too, though the
// owner was told of another one before it.
func TestFightsOfOneOwner(t *testing.T) {
	l := newLab(t)
	often, seldom := l.configMap("often", "ours"), l.configMap("seldom", "ours")
	s := l.set(often, seldom)
	l.want(s, "created 2", 4)
	r, k, _ := l.row(often)
	_, k2, _ := l.row(seldom)
	l.mu.Lock()
	l.fights[r.item(k)], l.fights[r.item(k2)] = fight{freeRepairs, time.Now()}, fight{freeRepairs + 4, time.Now()}
	l.mu.Unlock()
	l.patch(seldom, "somebody", `{"data":{"a":"theirs"}}`)
	l.caughtUp(seldom)
	l.patch(often, "somebody", `{"data":{"a":"theirs"}}`)
	for repaired := 0; repaired < 2; {
		l.noticed()
		res, err := l.try(s)
		must(t, err)
		for _, c := range res.Changes {
			if c.Drift {
				repaired++
			}
		}
	}
}

// TestLeftAloneForAWhile: when an annotation on the object no longer keeps it from
// being applied, its owner hears of it, also when it was skipped meanwhile.
func TestLeftAloneForAWhile(t *testing.T) {
	l := newLab(t)
	o := l.configMap("left", "ours")
	s := l.set(o)
	l.want(s, "created 1", 2)
	l.patch(o, "admin", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"}},"data":{"a":"theirs"}}`)
	r, k, _ := l.row(o)
	until(t, "the annotation being seen", func() bool { row, _ := r.table.Row(k); return row.Marks&drift.Leave != 0 })
	l.want(s, "skipped 1", 0)
	l.quiet()
	l.patch(o, "admin", `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":null}}}`)
	l.noticed()
	if got, _ := l.apply(s); got != "configured 1" {
		t.Errorf("apply did %q", got)
	}
	l.caughtUp(o)
	if got := l.live(o).Object["data"].(map[string]any)["a"]; got != "ours" {
		t.Errorf("data.a is %q", got)
	}
	l.want(s, "unchanged 1", 0)
}
