package provider

import (
	"crypto/sha256"
	"encoding/hex"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// incident is an alert event of incident.io: an error fires the alert of its
// object, any other event but work in progress resolves it.
// https://api-docs.incident.io/tag/Alert-Events-V2
type incident struct {
	Title       string            `json:"title"`
	Status      string            `json:"status"`
	Key         string            `json:"deduplication_key"`
	Description string            `json:"description"`
	Source      string            `json:"source_url,omitempty"`
	Metadata    map[string]string `json:"metadata"`
}

func newIncident(t Target) (Sender, error) {
	if err := t.needToken(); err != nil {
		return nil, err
	}
	p, err := newPoster(t, incidentOf)
	if err != nil {
		return nil, err
	}
	t.authorize(p.header)
	return skipProgress{p}, nil
}

func incidentOf(event *eventv1.Event) any {
	metadata := map[string]string{
		"kind": event.InvolvedObject.Kind, "name": event.InvolvedObject.Name, "namespace": event.InvolvedObject.Namespace,
		"reason": event.Reason, "severity": event.Severity, "reportingController": event.ReportingController,
	}
	for _, f := range factsOf(event) {
		metadata[f.key] = f.value
	}
	return incident{
		Title: objectName(event) + ": " + event.Reason, Status: either(event, "firing", "resolved"),
		Key: incidentKey(event), Description: event.Message, Source: event.Metadata[sourceKey], Metadata: metadata,
	}
}

// incidentKey names the trouble of one object, the same for its error and its
// recovery: the object's UID or, if the event has none, its name.
func incidentKey(event *eventv1.Event) string {
	if uid := string(event.InvolvedObject.UID); uid != "" {
		return uid
	}
	name := objectName(event)
	if len(name) > maxIncidentKey {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:])
	}
	return name
}

// maxIncidentKey bounds the key, in bytes; it is what PagerDuty takes.
const maxIncidentKey = 255
