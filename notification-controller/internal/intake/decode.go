// Package intake takes the events that controllers post, in the format
// event.toolkit.fluxcd.io/v1beta1.
//
// An event that is answered with 202 is on disk, for every Alert that wants
// it. One that was told less than the rate limit's interval ago is answered
// with 429; the sender drops it. Anything else the sender may post again.
package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// maxMessage is the longest message of the format, in characters.
const maxMessage = 39000

// errInvalid reports an event that does not follow the format.
var errInvalid = errors.New("invalid event")

// decode reads one event. Every required field must be there and have a value
// that the format allows. Fields that the format does not know are passed
// over, so that newer controllers can talk to an older one.
func decode(body []byte) (*eventv1.Event, error) {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: the body is no JSON object", errInvalid)
	}
	event := &eventv1.Event{}
	if err := json.Unmarshal(trimmed, event); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	if err := check(event); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	return event, nil
}

func check(e *eventv1.Event) error {
	required := []struct {
		field string
		empty bool
	}{
		{"involvedObject.kind", e.InvolvedObject.Kind == ""},
		{"involvedObject.namespace", e.InvolvedObject.Namespace == ""},
		{"involvedObject.name", e.InvolvedObject.Name == ""},
		{"severity", e.Severity == ""},
		{"timestamp", e.Timestamp.IsZero()},
		{"message", e.Message == ""},
		{"reason", e.Reason == ""},
		{"reportingController", e.ReportingController == ""},
	}
	for _, r := range required {
		if r.empty {
			return fmt.Errorf("%s is missing", r.field)
		}
	}
	switch e.Severity {
	case eventv1.EventSeverityTrace, eventv1.EventSeverityInfo, eventv1.EventSeverityError:
	default:
		return fmt.Errorf("severity is %q, not trace, info or error", e.Severity)
	}
	if n := utf8.RuneCountInString(e.Message); n > maxMessage {
		return fmt.Errorf("message has %d characters, more than %d", n, maxMessage)
	}
	return nil
}
