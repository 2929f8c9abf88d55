package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// datadogEvent is an event of Datadog's first API version.
// https://docs.datadoghq.com/api/latest/events/#post-an-event
type datadogEvent struct {
	Title     string   `json:"title"`
	Text      string   `json:"text"`
	Tags      []string `json:"tags"`
	Source    string   `json:"source_type_name"`
	Happened  int64    `json:"date_happened"`
	AlertType string   `json:"alert_type"`
	Aggregate string   `json:"aggregation_key"`
}

// The longest texts that Datadog takes, in bytes.
const (
	datadogTitle = 100
	datadogText  = 4000
)

func newDatadog(t Target) (Sender, error) {
	if err := t.needToken(); err != nil {
		return nil, err
	}
	p, err := newPoster(t, datadogEventOf)
	if err != nil {
		return nil, err
	}
	p.to = p.to.JoinPath("api/v1/events")
	p.header.Set("DD-API-KEY", t.Token)
	return p, nil
}

func datadogEventOf(event *eventv1.Event) any {
	o := event.InvolvedObject
	tags := []string{
		"flux_reporting_controller:" + event.ReportingController, "flux_reason:" + event.Reason,
		"kube_kind:" + o.Kind, "kube_name:" + o.Name, "kube_namespace:" + o.Namespace,
	}
	for _, f := range factsOf(event) {
		tags = append(tags, f.key+":"+f.value)
	}
	for i := range tags {
		tags[i] = strings.ToLower(tags[i]) // as Datadog would store them
	}
	return datadogEvent{
		Title: cut("Events from the "+o.Kind+" "+o.Name+"/"+o.Namespace, datadogTitle),
		Text:  cut(event.Message, datadogText), Tags: tags, Source: "fluxcd",
		Happened: event.Timestamp.Unix(), AlertType: either(event, "error", "info"), Aggregate: cut(objectName(event), 100),
	}
}
