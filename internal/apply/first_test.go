package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The one object of a stage that is applied without a dry run stops the stage as
// a dry run would: nothing of it is written, and nothing new is on record.
func TestTheFirstApplyStandsForADryRun(t *testing.T) {
	l := newLab(t)
	a, b := l.configMap("a", "one"), l.configMap("b", "one")
	l.apply(l.set(a, b))
	l.want(l.set(l.configMap("a", "two"), b), "configured 1, unchanged 1", 1)

	bad := l.object("{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {team: x}}, data: {a: two, 'not a key': two}}", "a")
	fresh := l.configMap("fresh", "one")
	l.recorded = nil
	_, err := l.try(l.set(bad, l.configMap("b", "two"), fresh))
	if err == nil || !strings.Contains(err.Error(), "ConfigMap/"+l.ns+"/a: dry run failed (Invalid)") {
		t.Errorf("the error is %v", err)
	}
	if d := cmp.Diff([][]Ref{{refOf(a)}}, l.recorded); d != "" {
		t.Errorf("on record (-want +got):\n%s", d)
	}
	if l.live(fresh) != nil {
		t.Error("an object of the stage was created")
	}
	if d := diff(map[string]any{"a": "one", "b": "two"}, l.live(b).Object["data"].(map[string]any)); d != "" {
		t.Errorf("an object of the stage was changed:\n%s", d)
	}

	// Another one is refused: the first is not written, and the error tells of both.
	l.want(l.set(l.configMap("a", "two"), b), "unchanged 2", 0)
	worse := l.object("{apiVersion: v1, kind: ConfigMap, metadata: {annotations: {team: x}}, data: {'not a key': two}}", "b")
	_, err = l.try(l.set(bad, worse))
	if err == nil || !strings.Contains(err.Error(), "/a: dry run") || !strings.Contains(err.Error(), "/b: dry run") {
		t.Errorf("the error is %v", err)
	}
	_, err = l.try(l.set(l.configMap("a", "three"), worse))
	if err == nil || strings.Contains(err.Error(), "/a: ") {
		t.Errorf("the error is %v", err)
	}
	if d := diff(map[string]any{"a": "two", "b": "two"}, l.live(a).Object["data"].(map[string]any)); d != "" {
		t.Errorf("the first was changed:\n%s", d)
	}
}
