package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// slack posts messages with one attachment, to an incoming webhook or to the
// chat.postMessage method of Slack's Web API (which needs a token).
// https://api.slack.com/reference/messaging/attachments
type slack struct {
	to     *url.URL
	target Target
}

type slackMessage struct {
	Channel     string            `json:"channel,omitempty"`
	Username    string            `json:"username,omitempty"`
	IconURL     string            `json:"icon_url,omitempty"`
	Attachments []slackAttachment `json:"attachments"`
}

type slackAttachment struct {
	Color      string       `json:"color"`
	AuthorName string       `json:"author_name"`
	Text       string       `json:"text"`
	MrkdwnIn   []string     `json:"mrkdwn_in"`
	Fields     []slackField `json:"fields,omitempty"`
}

type slackField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

func newSlack(t Target) (Sender, error) {
	to, err := parseAddress(t.Address)
	if err != nil {
		return nil, err
	}
	return &slack{to: to, target: t}, nil
}

func (s *slack) Send(ctx context.Context, event *eventv1.Event) error {
	header := http.Header{}
	if s.target.Token != "" {
		header.Set("Authorization", "Bearer "+s.target.Token)
	}
	answer, err := postJSON(ctx, s.target.Client, s.to, slackMessageTo(s.target, event), header)
	if err != nil {
		return err
	}
	return s.check(answer)
}

// check reads the answer of the Web API, which reports failures with status
// 200. An incoming webhook answers with plain text.
func (s *slack) check(answer []byte) error {
	var said struct {
		OK    *bool  `json:"ok"`
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.OK == nil || *said.OK {
		return nil
	}
	err := fmt.Errorf("POST %s: Slack refused the message: %q", host(s.to), said.Error)
	switch said.Error {
	case "ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout":
		return &Failure{Err: err}
	}
	return Final(err)
}

// slackMessageTo makes the message; services that take Slack's messages use it
// too.
func slackMessageTo(t Target, event *eventv1.Event) slackMessage {
	username := t.Username
	if username == "" {
		username = event.ReportingController
	}
	return slackMessage{
		Channel:     t.Channel,
		Username:    username,
		Attachments: []slackAttachment{slackAttachmentOf(event)},
	}
}

func slackAttachmentOf(event *eventv1.Event) slackAttachment {
	a := slackAttachment{
		Color:      "good",
		AuthorName: objectName(event),
		Text:       slackEscape(event.Message),
		MrkdwnIn:   []string{"text"},
	}
	if event.Severity == eventv1.EventSeverityError {
		a.Color = "danger"
	}
	for _, f := range factsOf(event) {
		value := f.value
		if f.key != summaryKey { // the Alert's author may mention people there
			value = slackEscape(value)
		}
		a.Fields = append(a.Fields, slackField{Title: f.key, Value: value})
	}
	return a
}

// slackEscape keeps a message from being read as markup, so that nothing a
// tenant writes can mention a channel.
// https://api.slack.com/reference/surfaces/formatting#escaping
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
