package provider

import (
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// teamsMessage holds one adaptive card, as the workflow "post to a channel
// when a webhook request is received" takes it.
// https://adaptivecards.io/explorer/AdaptiveCard.html
type teamsMessage struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string    `json:"contentType"`
	Content     teamsCard `json:"content"`
}

type teamsCard struct {
	Schema  string         `json:"$schema"`
	Type    string         `json:"type"`
	Version string         `json:"version"`
	MSTeams map[string]any `json:"msteams"`
	Body    []teamsElement `json:"body"`
}

// teamsElement is a TextBlock or a FactSet.
type teamsElement struct {
	Type   string      `json:"type"`
	Text   string      `json:"text,omitempty"`
	Size   string      `json:"size,omitempty"`
	Weight string      `json:"weight,omitempty"`
	Color  string      `json:"color,omitempty"`
	Wrap   bool        `json:"wrap,omitempty"`
	Facts  []teamsFact `json:"facts,omitempty"`
}

type teamsFact struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

// connectorCard is what the older connectors take.
// https://learn.microsoft.com/outlook/actionable-messages/message-card-reference
type connectorCard struct {
	Type       string             `json:"@type"`
	Context    string             `json:"@context"`
	ThemeColor string             `json:"themeColor"`
	Summary    string             `json:"summary"`
	Sections   []connectorSection `json:"sections"`
}

type connectorSection struct {
	Title    string          `json:"activityTitle"`
	Subtitle string          `json:"activitySubtitle"`
	Facts    []connectorFact `json:"facts,omitempty"`
}

type connectorFact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Teams takes 28 KB in all; these are bytes before they are encoded.
const (
	teamsText  = 10_000
	teamsFacts = 4000
)

func newTeams(t Target) (Sender, error) {
	p, err := newPoster(t, teamsMessageOf)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(p.to.Hostname(), ".webhook.office.com") {
		p.message = connectorCardOf
	}
	return p, nil
}

func teamsMessageOf(event *eventv1.Event) any {
	card := teamsCard{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		MSTeams: map[string]any{"width": "Full"},
		Body: []teamsElement{
			{Type: "TextBlock", Text: objectName(event), Size: "Large", Weight: "Bolder", Wrap: true},
			{Type: "TextBlock", Text: cut(event.Message, teamsText), Color: either(event, "attention", "good"), Wrap: true},
		},
	}
	var facts []teamsFact
	for _, f := range factsWithin(event, teamsFacts) {
		facts = append(facts, teamsFact{f.key, f.value})
	}
	if len(facts) > 0 {
		card.Body = append(card.Body, teamsElement{Type: "FactSet", Facts: facts})
	}
	return teamsMessage{Type: "message", Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}}
}

func connectorCardOf(event *eventv1.Event) any {
	s := connectorSection{Title: cut(event.Message, teamsText), Subtitle: objectName(event)}
	for _, f := range factsWithin(event, teamsFacts) {
		s.Facts = append(s.Facts, connectorFact{f.key, f.value})
	}
	return connectorCard{
		Type: "MessageCard", Context: "https://schema.org/extensions", ThemeColor: either(event, "B22222", "0076D7"),
		Summary: objectName(event), Sections: []connectorSection{s},
	}
}
