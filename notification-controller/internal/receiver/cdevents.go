package receiver

import (
	"context"
	"fmt"
	"regexp"
)

// cdevents takes CDEvents as CloudEvents in binary mode, which have no
// signature. It checks what version 0.4 asks of every event; what the single
// types of events ask of their subjects is not checked.
// https://cdevents.dev/docs/spec/
type cdevents struct{}

type cdeventsPayload struct {
	Context struct {
		Version   string `json:"version"`
		ID        string `json:"id"`
		Source    string `json:"source"`
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
	} `json:"context"`
	Subject struct {
		ID      string         `json:"id"`
		Content map[string]any `json:"content"`
	} `json:"subject"`
}

var cdeventsType = regexp.MustCompile(`^dev\.cdevents\.[a-z]+\.[a-z]+\.[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.-]+)?$`)

func (cdevents) Authenticate(context.Context, Request) (Claims, error) { return nil, nil }

func (cdevents) Read(r Request) (Call, error) {
	event := r.Header.Get("Ce-Type")
	if !cdeventsType.MatchString(event) {
		return Call{}, fmt.Errorf("%w: the header Ce-Type names no type of CDEvents", ErrPayload)
	}
	var p cdeventsPayload
	if err := decodeObject(r.Body, &p); err != nil {
		return Call{}, err
	}
	if p.Context.Type != event {
		return Call{}, fmt.Errorf("%w: context.type is not what the header Ce-Type says", ErrPayload)
	}
	for _, f := range []struct{ name, value string }{
		{"context.version", p.Context.Version}, {"context.id", p.Context.ID}, {"context.source", p.Context.Source},
		{"context.timestamp", p.Context.Timestamp}, {"subject.id", p.Subject.ID},
	} {
		if f.value == "" {
			return Call{}, fmt.Errorf("%w: %s is missing", ErrPayload, f.name)
		}
	}
	if p.Subject.Content == nil {
		return Call{}, fmt.Errorf("%w: subject.content is missing", ErrPayload)
	}
	return Call{Event: event}, nil
}
