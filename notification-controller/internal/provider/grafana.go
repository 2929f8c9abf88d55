package provider

import (
	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// grafanaAnnotation marks a moment. Grafana reads time; when is what others
// that take the same message know.
// https://grafana.com/docs/grafana/latest/developers/http_api/annotations/
type grafanaAnnotation struct {
	When int64    `json:"when"` // seconds
	Time int64    `json:"time"` // milliseconds
	Text string   `json:"text"`
	Tags []string `json:"tags"`
}

func newGrafana(t Target) (Sender, error) {
	p, err := newPoster(t, grafanaAnnotationOf)
	if err != nil {
		return nil, err
	}
	t.authorize(p.header)
	return p, nil
}

func grafanaAnnotationOf(event *eventv1.Event) any {
	o := event.InvolvedObject
	tags := []string{"flux", event.ReportingController, "kind: " + o.Kind, "name: " + o.Name, "namespace: " + o.Namespace}
	for _, f := range factsOf(event) {
		tags = append(tags, f.key+": "+f.value)
	}
	at := event.Timestamp
	return grafanaAnnotation{When: at.Unix(), Time: at.UnixMilli(), Text: objectName(event) + ": " + event.Message, Tags: tags}
}
