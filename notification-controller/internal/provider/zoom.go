package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// zoomMessage is a rich message for an incoming webhook of Zoom Team Chat.
// https://developers.zoom.us/docs/team-chat/customizing-messages/
type zoomMessage struct {
	Content zoomContent `json:"content"`
}

type zoomContent struct {
	Head zoomHead   `json:"head"`
	Body []zoomPart `json:"body"`
}

type zoomHead struct {
	Text    string            `json:"text"`
	SubHead map[string]string `json:"sub_head"`
}

// zoomPart is of type message or fields.
type zoomPart struct {
	Type  string      `json:"type"`
	Text  string      `json:"text,omitempty"`
	Items []zoomField `json:"items,omitempty"`
}

type zoomField struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Bounds of a message, in bytes; Zoom publishes none, and shows no more.
const (
	zoomMax   = 4000
	zoomFacts = 4000
)

func newZoom(t Target) (Sender, error) {
	if err := t.needToken(); err != nil {
		return nil, err
	}
	p, err := newPoster(t, zoomMessageOf)
	if err != nil {
		return nil, err
	}
	if q := p.to.Query(); q.Get("format") == "" {
		q.Set("format", "full")
		p.to.RawQuery = q.Encode()
	}
	p.header.Set("Authorization", t.Token) // the bare token, no scheme
	return p, nil
}

func zoomMessageOf(event *eventv1.Event) any {
	body := []zoomPart{{Type: "message", Text: cut(event.Message, zoomMax)}}
	var fields []zoomField
	for _, f := range factsWithin(event, zoomFacts) {
		fields = append(fields, zoomField{f.key, f.value})
	}
	if len(fields) > 0 {
		body = append(body, zoomPart{Type: "fields", Items: fields})
	}
	head := zoomHead{Text: objectName(event), SubHead: map[string]string{"text": event.Severity}}
	return zoomMessage{Content: zoomContent{Head: head, Body: body}}
}
