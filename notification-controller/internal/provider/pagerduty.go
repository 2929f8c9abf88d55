package provider

import (
	"context"
	"net/http"
	"net/url"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// pagerduty triggers the incident of an object on an error. Any other event
// but work in progress resolves it, and every event that is no error is told
// as a change.
// https://developer.pagerduty.com/docs/events-api-v2/overview/
type pagerduty struct {
	to     *url.URL
	target Target
}

type pagerdutyEvent struct {
	Key     string            `json:"routing_key"`
	Action  string            `json:"event_action,omitempty"`
	Dedup   string            `json:"dedup_key,omitempty"`
	Client  string            `json:"client,omitempty"`
	Payload *pagerdutyPayload `json:"payload,omitempty"`
}

type pagerdutyPayload struct {
	Summary   string            `json:"summary"`
	Source    string            `json:"source"`
	Severity  string            `json:"severity,omitempty"`
	Timestamp string            `json:"timestamp"`
	Component string            `json:"component,omitempty"`
	Group     string            `json:"group,omitempty"`
	Class     string            `json:"class,omitempty"`
	Details   map[string]string `json:"custom_details"`
}

// pagerdutySummary is the longest summary that PagerDuty takes, in bytes.
const pagerdutySummary = 1024

// pagerdutyMessage bounds the message; an event is 512 KB at most.
const pagerdutyMessage = 100_000

func newPagerDuty(t Target) (Sender, error) {
	if err := t.needChannel("the routing key of the integration"); err != nil {
		return nil, err
	}
	if t.Address == "" {
		t.Address = "https://events.pagerduty.com"
	}
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	return &pagerduty{to: &url.URL{Scheme: to.Scheme, Host: to.Host}, target: t}, nil
}

func (p *pagerduty) Send(ctx context.Context, event *eventv1.Event) error {
	payload := pagerdutyPayloadOf(event)
	if isError(event) {
		payload.Severity, payload.Component, payload.Group, payload.Class = "error", event.InvolvedObject.Name, event.InvolvedObject.Kind, event.Reason
		return p.post(ctx, "v2/enqueue", pagerdutyEvent{Action: "trigger", Dedup: incidentKey(event), Client: "weir", Payload: payload})
	}
	if recovers(event) {
		if err := p.post(ctx, "v2/enqueue", pagerdutyEvent{Action: "resolve", Dedup: incidentKey(event)}); err != nil {
			return err
		}
	}
	return p.post(ctx, "v2/change/enqueue", pagerdutyEvent{Payload: payload})
}

func (p *pagerduty) post(ctx context.Context, path string, e pagerdutyEvent) error {
	e.Key = p.target.Channel
	_, err := postJSON(ctx, p.target.Client, p.to.JoinPath(path), e, http.Header{})
	return err
}

func pagerdutyPayloadOf(event *eventv1.Event) *pagerdutyPayload {
	o := event.InvolvedObject
	details := map[string]string{"message": cut(event.Message, pagerdutyMessage), "kind": o.Kind, "name": o.Name, "namespace": o.Namespace, "reason": event.Reason}
	for _, f := range factsWithin(event, pagerdutyMessage) {
		details[f.key] = f.value
	}
	return &pagerdutyPayload{
		Summary: cut(objectName(event)+": "+event.Message, pagerdutySummary), Source: "flux " + objectName(event),
		Timestamp: event.Timestamp.UTC().Format(time.RFC3339), Details: details,
	}
}
