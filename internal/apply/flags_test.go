package apply

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// What managers own that are to be overridden is taken away; others keep theirs.
func TestOverrideManagers(t *testing.T) {
	l := newLab(t, func(_ *rest.Config, o *Options) { o.OverrideManagers = []string{"terraform"} })
	s := l.set(l.configMap("a", "ours"))
	l.want(s, "created 1", 2)
	l.patch(s.Objects[0], "someone", `{"data":{"kept":"yes"}}`)
	l.patch(s.Objects[0], "terraform-provider", `{"data":{"taken":"yes"}}`)
	l.noticed()
	if _, err := l.try(s); err != nil {
		t.Fatal(err)
	}
	live := l.live(s.Objects[0])
	data := live.Object["data"].(map[string]any)
	if data["kept"] != "yes" || data["taken"] != nil {
		t.Errorf("data is %v; want what terraform owned gone, and someone's kept", data)
	}
	for _, e := range live.GetManagedFields() {
		if e.Manager == "terraform-provider" {
			t.Error("terraform still owns fields")
		}
	}
}

// Chosen kinds are applied after definitions and classes and before the rest,
// and deleted after the rest.
func TestChosenStage(t *testing.T) {
	l := newLab(t, func(_ *rest.Config, o *Options) { o.StageKinds = []schema.GroupKind{{Kind: "Secret"}} })
	secret := l.object("{apiVersion: v1, kind: Secret}", "s")
	s := l.set(l.configMap("a", "one"), secret)
	if _, err := l.try(s); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, stage := range l.recorded {
		kinds = append(kinds, stage[len(stage)-1].Kind)
	}
	if !slices.Equal(kinds, []string{"Secret", "ConfigMap"}) {
		t.Errorf("stages end with %v, want the Secret in one before the ConfigMap", kinds)
	}
	l.meter.take()
	changes, _, err := l.As("").Prune(t.Context(), l.owner, []Ref{{secret.GVK, l.ns, "s"}, {configMaps, l.ns, "a"}}, PruneOptions{})
	must(t, err)
	if len(changes) != 2 || changes[0].Kind != "ConfigMap" || changes[1].Kind != "Secret" {
		t.Errorf("deleted %+v, want the reverse", changes)
	}
}
