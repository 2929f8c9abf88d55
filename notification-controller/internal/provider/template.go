package provider

import (
	"encoding/json"
	"errors"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/rendering"
)

// templateAnnotation is the annotation of an Alert with a Go template that
// shapes the message. It sees event and alert, with the names that their JSON
// has.
const templateAnnotation = "weir.dev/template"

// shaped returns the event with the message that the Alert's template makes
// of it, or the event itself where there is no template or it fails.
func shaped(alert *notificationv1beta3.Alert, event *eventv1.Event) (*eventv1.Event, error) {
	text := alert.Annotations[templateAnnotation]
	if strings.TrimSpace(text) == "" {
		return event, nil
	}
	data, err := plainData(map[string]any{"event": event, "alert": alert})
	if err != nil {
		return event, err
	}
	message, err := rendering.Execute(templateAnnotation, text, data)
	if err != nil {
		return event, err
	}
	if message = strings.TrimSpace(message); message == "" {
		return event, errors.New("the template yields no text")
	}
	out := *event
	out.Message = message
	return &out, nil
}

// plainData turns objects into what their JSON says, without methods.
func plainData(objects map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for name, object := range objects {
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, err
		}
		if m, ok := fields["metadata"].(map[string]any); ok && name != "event" {
			delete(m, "managedFields")
		}
		out[name] = fields
	}
	return out, nil
}
