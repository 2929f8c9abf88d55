package provider

import (
	"encoding/json"
	"fmt"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// larkMessage is an interactive card for a custom bot of Lark or Feishu.
// https://open.larksuite.com/document/client-docs/bot-v3/add-custom-bot
type larkMessage struct {
	Type string   `json:"msg_type"`
	Card larkCard `json:"card"`
}

type larkCard struct {
	Config   map[string]bool `json:"config"`
	Header   larkHeader      `json:"header"`
	Elements []larkElement   `json:"elements"`
}

type larkHeader struct {
	Title    larkText `json:"title"`
	Template string   `json:"template"`
}

type larkElement struct {
	Tag  string   `json:"tag"`
	Text larkText `json:"text"`
}

type larkText struct {
	Tag     string `json:"tag"`
	Content string `json:"content"`
}

// A bot of Lark takes 20 KB in all; these are bytes before they are encoded.
const (
	larkMax   = 8000
	larkFacts = 3000
)

func newLark(t Target) (Sender, error) {
	p, err := newPoster(t, larkMessageOf)
	if err != nil {
		return nil, err
	}
	p.check = func(answer []byte) error { return larkCheck(host(p.to), answer) }
	return p, nil
}

func larkMessageOf(event *eventv1.Event) any {
	var b strings.Builder
	b.WriteString("**" + objectName(event) + "**\n\n" + cut(event.Message, larkMax))
	for _, f := range factsWithin(event, larkFacts) {
		b.WriteString("\n- **" + f.key + "**: " + f.value)
	}
	return larkMessage{Type: "interactive", Card: larkCard{
		Config:   map[string]bool{"wide_screen_mode": true},
		Header:   larkHeader{Title: larkText{"plain_text", either(event, "\U0001f4a3 ", "✅ ") + event.Reason}, Template: either(event, "red", "turquoise")},
		Elements: []larkElement{{Tag: "div", Text: larkText{"lark_md", b.String()}}},
	}}
}

// larkCheck reads the answer, which reports refusals with status 200.
func larkCheck(host string, answer []byte) error {
	var said struct {
		Code    int    `json:"code"`
		Message string `json:"msg"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Code == 0 {
		return nil
	}
	err := fmt.Errorf("POST %s: Lark refused the message with code %d%s", host, said.Code, quote([]byte(said.Message)))
	const tooMany, tooOften = 9499, 11232
	if said.Code == tooMany || said.Code == tooOften {
		return &Failure{Err: err}
	}
	return Final(err)
}
