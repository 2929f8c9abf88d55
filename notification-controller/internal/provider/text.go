package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// summaryKey is the metadata key that holds an Alert's summary.
const summaryKey = "summary"

// objectName is how messages for people name the object of an event:
// kustomization/apps.flux-system.
func objectName(event *eventv1.Event) string {
	o := event.InvolvedObject
	return strings.ToLower(o.Kind) + "/" + o.Name + "." + o.Namespace
}
