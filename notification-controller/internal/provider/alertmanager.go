package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// alertmanager fires one alert for each event. When an object recovers, the
// errors of it that Alertmanager knows are resolved. What fires is asked of
// Alertmanager, so that a restart forgets nothing.
// https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
type alertmanager struct {
	to     *url.URL
	target Target
}

type alertmanagerAlert struct {
	Status      string            `json:"status,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt,omitempty"`
	EndsAt      string            `json:"endsAt,omitempty"`
}

// alertmanagerList bounds the list of alerts that is read, in bytes.
const alertmanagerList = 1 << 20

func newAlertmanager(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	return &alertmanager{to: to, target: t}, nil
}

func (a *alertmanager) Send(ctx context.Context, event *eventv1.Event) error {
	h := http.Header{}
	a.target.authorize(h)
	alerts := []alertmanagerAlert{alertmanagerAlertOf(event)}
	if recovers(event) {
		over, err := a.firing(ctx, event, h)
		if err != nil {
			return err
		}
		for _, f := range over {
			alerts = append(alerts, alertmanagerAlert{
				Status: "resolved", Labels: f.Labels, Annotations: f.Annotations, StartsAt: f.StartsAt,
				EndsAt: event.Timestamp.UTC().Format(time.RFC3339),
			})
		}
	}
	_, err := postJSON(ctx, a.target.Client, a.to, alerts, h)
	return err
}

// firing returns the errors of the event's object that Alertmanager knows. An
// endpoint that takes alerts but tells of none has nothing to resolve.
func (a *alertmanager) firing(ctx context.Context, event *eventv1.Event, h http.Header) ([]alertmanagerAlert, error) {
	o := event.InvolvedObject
	list := *a.to
	q := list.Query()
	for _, f := range []fact{{"kind", o.Kind}, {"name", o.Name}, {"namespace", o.Namespace}, {"severity", eventv1.EventSeverityError}} {
		q.Add("filter", fmt.Sprintf("%s=%q", f.key, f.value))
	}
	list.RawQuery = q.Encode()
	answer, err := do(ctx, a.target.Client, http.MethodGet, &list, nil, h, alertmanagerList)
	if IsFinal(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var alerts []struct { // without the status, which is an object here
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    string            `json:"startsAt"`
	}
	if err := json.Unmarshal(answer, &alerts); err != nil {
		return nil, &Failure{Err: fmt.Errorf("GET %s: the answer is no list of alerts", host(a.to))}
	}
	out := make([]alertmanagerAlert, 0, len(alerts))
	for _, f := range alerts {
		out = append(out, alertmanagerAlert{Labels: f.Labels, Annotations: f.Annotations, StartsAt: f.StartsAt})
	}
	return out, nil
}

func alertmanagerAlertOf(event *eventv1.Event) alertmanagerAlert {
	o := event.InvolvedObject
	annotations, labels := map[string]string{"message": event.Message}, map[string]string{}
	for _, f := range factsOf(event) {
		// As a label, how often it was said would make another alert of it.
		if f.key == summaryKey || f.key == FoldedKey {
			annotations[f.key] = f.value
			continue
		}
		labels[f.key] = f.value
	}
	labels["alertname"] = "Flux" + o.Kind + titled(event.Reason)
	labels["severity"] = event.Severity
	labels["reason"] = event.Reason
	labels["kind"], labels["name"], labels["namespace"] = o.Kind, o.Name, o.Namespace
	labels["reportingcontroller"] = event.ReportingController
	return alertmanagerAlert{Status: "firing", Labels: labels, Annotations: annotations, StartsAt: event.Timestamp.UTC().Format(time.RFC3339)}
}

// titled writes the first letter large and all others small, as the names of
// alerts have always been: Healthcheckfailed.
func titled(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}
