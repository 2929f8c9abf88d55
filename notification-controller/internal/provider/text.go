package provider

import (
	"maps"
	"slices"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/apis/meta"
)

// summaryKey is the metadata key that holds an Alert's summary.
const summaryKey = "summary"

// FoldedKey is the metadata key that says how many events a message stands for.
const FoldedKey = "folded"

// objectName is how messages for people name the object of an event:
// kustomization/apps.flux-system.
func objectName(event *eventv1.Event) string {
	o := event.InvolvedObject
	return strings.ToLower(o.Kind) + "/" + o.Name + "." + o.Namespace
}

// fact is one entry of an event's metadata.
type fact struct{ key, value string }

// factsOf returns the metadata of an event, sorted by key.
func factsOf(event *eventv1.Event) []fact {
	facts := make([]fact, 0, len(event.Metadata))
	for _, key := range slices.Sorted(maps.Keys(event.Metadata)) {
		facts = append(facts, fact{key, event.Metadata[key]})
	}
	return facts
}

// factsWithin returns the facts that fit into max bytes, keys and values
// together. A service that limits its messages would refuse longer ones
// whole, and with them the news.
func factsWithin(event *eventv1.Event, max int) []fact {
	var facts []fact
	for _, f := range factsOf(event) {
		f.value = cut(f.value, 1024)
		if max -= len(f.key) + len(f.value); max < 0 {
			break
		}
		facts = append(facts, f)
	}
	return facts
}

// isError says whether an event tells of a failure.
func isError(event *eventv1.Event) bool { return event.Severity == eventv1.EventSeverityError }

// recovers says whether an event ends the trouble that an earlier error told
// of. Work that has only begun does not.
func recovers(event *eventv1.Event) bool {
	return !isError(event) && !event.HasReason(meta.ProgressingReason)
}

// either returns bad for errors and good for all other events.
func either(event *eventv1.Event, bad, good string) string {
	if isError(event) {
		return bad
	}
	return good
}

// cut shortens text to at most max bytes, at a border of characters.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	const more = "..."
	return strings.ToValidUTF8(text[:max-len(more)], "") + more
}
