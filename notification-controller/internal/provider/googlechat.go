package provider

import eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

// chatMessage holds one card of Google Chat's first version.
// https://developers.google.com/workspace/chat/api/reference/rest/v1/cards-v1
type chatMessage struct {
	Cards []chatCard `json:"cards"`
}

type chatCard struct {
	Header   chatHeader    `json:"header"`
	Sections []chatSection `json:"sections"`
}

type chatHeader struct {
	Title    string `json:"title"`
	Subtitle string `json:"subtitle"`
}

type chatSection struct {
	Widgets []chatWidget `json:"widgets"`
}

type chatWidget struct {
	Text     *chatText  `json:"textParagraph,omitempty"`
	KeyValue *chatValue `json:"keyValue,omitempty"`
}

type chatText struct {
	Text string `json:"text"`
}

type chatValue struct {
	TopLabel         string `json:"topLabel"`
	Content          string `json:"content"`
	ContentMultiline bool   `json:"contentMultiline"`
}

// Google Chat takes 32,000 bytes in all; these are bytes before they are encoded.
const (
	chatMax   = 12_000
	chatFacts = 4000
)

func newGoogleChat(t Target) (Sender, error) { return senderOf(newPoster(t, chatMessageOf)) }

func chatMessageOf(event *eventv1.Event) any {
	color := either(event, "#ff0000", "#00aa00")
	text := `<font color="` + color + `">` + slackCut(slackEscape(event.Message), chatMax) + `</font>`
	sections := []chatSection{{Widgets: []chatWidget{{Text: &chatText{text}}}}}
	var values []chatWidget
	for _, f := range factsWithin(event, chatFacts) {
		values = append(values, chatWidget{KeyValue: &chatValue{TopLabel: f.key, Content: slackEscape(f.value), ContentMultiline: true}})
	}
	if len(values) > 0 {
		sections = append(sections, chatSection{Widgets: values})
	}
	return chatMessage{Cards: []chatCard{{Header: chatHeader{Title: objectName(event), Subtitle: event.ReportingController}, Sections: sections}}}
}
