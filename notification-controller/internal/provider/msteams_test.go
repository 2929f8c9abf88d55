package provider

import (
	"context"
	"encoding/json"
	"testing"
)

func TestTeamsSends(t *testing.T) {
	expectBoth(t, "msteams", words{"attention", "good"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "type": "message",
 "attachments": [
  {
   "contentType": "application/vnd.microsoft.card.adaptive",
   "content": {
    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
    "type": "AdaptiveCard",
    "version": "1.4",
    "msteams": {
     "width": "Full"
    },
    "body": [
     {
      "type": "TextBlock",
      "text": "kustomization/apps.ns",
      "size": "Large",
      "weight": "Bolder",
      "wrap": true
     },
     {
      "type": "TextBlock",
      "text": "no <way>",
      "color": "attention",
      "wrap": true
     },
     {
      "type": "FactSet",
      "facts": [
       {
        "title": "change_request",
        "value": "7"
       },
       {
        "title": "revision",
        "value": "main@sha1:0123456789012345678901234567890123456789"
       },
       {
        "title": "summary",
        "value": "staging"
       }
      ]
     }
    ]
   }
  }
 ]
}`},
	)
}

func TestTeamsConnector(t *testing.T) {
	to := newSink(t)
	target := targetAt("msteams", to.URL)
	target.Address = "https://acme.webhook.office.com/x"
	s, err := newTeams(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(context.Background(), sample()); err != nil {
		t.Fatal(err)
	}
	var card connectorCard
	if err := json.Unmarshal([]byte(to.bodies[0]), &card); err != nil || card.Type != "MessageCard" || card.ThemeColor != "B22222" || card.Sections[0].Title != "no <way>" || len(card.Sections[0].Facts) != 3 {
		t.Errorf("%+v, %v", card, err)
	}
}
