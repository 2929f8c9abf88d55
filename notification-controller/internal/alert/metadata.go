package alert

import (
	"maps"
	"slices"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// metadata joins what is known about an event, with bare keys. Later wins:
// annotations of the object (keys of group event.toolkit.fluxcd.io), the
// Alert's spec.eventMetadata, its summary, what the controller reported (keys
// of the object's own group). Keys of any other group are not passed on. The
// precedence is that of Flux's RFC-0008. overridden names, sorted, the keys
// that had different values in more than one place.
func metadata(e *eventv1.Event, own map[string]string, summary string) (joined map[string]string, overridden []string) {
	group := schema.FromAPIVersionAndKind(e.InvolvedObject.APIVersion, e.InvolvedObject.Kind).Group
	layers := []map[string]string{withGroup(e.Metadata, eventv1.Group), own, {}, withGroup(e.Metadata, group)}
	if summary != "" {
		layers[2]["summary"] = summary
	}
	joined = map[string]string{}
	lost := map[string]bool{}
	for _, layer := range layers {
		for key, value := range layer {
			if old, ok := joined[key]; ok && old != value {
				lost[key] = true
			}
			joined[key] = value
		}
	}
	return joined, slices.Sorted(maps.Keys(lost))
}

func withGroup(m map[string]string, group string) map[string]string {
	out := map[string]string{}
	if group == "" {
		return out
	}
	for key, value := range m {
		if bare, ok := strings.CutPrefix(key, group+"/"); ok {
			out[bare] = value
		}
	}
	return out
}
