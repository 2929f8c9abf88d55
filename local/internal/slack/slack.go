// Package slack stands where Slack's incoming webhooks are: it takes what a Provider of type slack
// sends and keeps it, to be shown instead of delivered. The format is that of
// https://api.slack.com/messaging/webhooks with the legacy attachments.
package slack

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxMessageBytes bounds what is read of one message; Slack's own limit is lower.
const maxMessageBytes = 1 << 20

// Message is one message as it was sent.
type Message struct {
	Channel     string       `json:"channel"`
	Username    string       `json:"username"`
	Text        string       `json:"text"`
	Attachments []Attachment `json:"attachments"`
}

// Attachment is the coloured part of a message.
type Attachment struct {
	Color      string  `json:"color"`
	AuthorName string  `json:"author_name"`
	Text       string  `json:"text"`
	Fields     []Field `json:"fields"`
}

// Field is a line below the text of an attachment.
type Field struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

// Lines are the message as a reader sees it, without colour.
func (m Message) Lines() []string {
	var lines []string
	head := strings.TrimSpace(m.Username + "  #" + strings.TrimPrefix(m.Channel, "#"))
	lines = append(lines, head)
	if m.Text != "" {
		lines = append(lines, strings.Split(m.Text, "\n")...)
	}
	for _, a := range m.Attachments {
		if a.AuthorName != "" {
			lines = append(lines, a.AuthorName)
		}
		lines = append(lines, strings.Split(a.Text, "\n")...)
		for _, f := range a.Fields {
			lines = append(lines, f.Title+": "+f.Value)
		}
	}
	return lines
}

// Sink is the webhook's server.
type Sink struct {
	// URL is the webhook's address.
	URL string
	// Messages holds what has arrived and was not received from it. A message that finds it full is
	// answered with 429.
	Messages chan Message

	server *http.Server
}

// Start starts a sink on a free port of 127.0.0.1.
func Start() (*Sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("port of the Slack endpoint: %w", err)
	}
	s := &Sink{URL: "http://" + listener.Addr().String() + "/services/demo", Messages: make(chan Message, 64)}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // ends with Close
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m Message
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessageBytes)).Decode(&m); err != nil {
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	}
	select {
	case s.Messages <- m:
		_, _ = w.Write([]byte("ok"))
	default:
		http.Error(w, "rate_limited", http.StatusTooManyRequests)
	}
}

// Close ends the server.
func (s *Sink) Close() error { return s.server.Close() }
