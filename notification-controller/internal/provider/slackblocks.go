package provider

import (
	"fmt"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// Bounds of Slack on blocks. An attachment with blocks may have twenty of
// them, and none of the older fields.
// https://docs.slack.dev/reference/block-kit/blocks/section-block
const (
	slackText      = 3000 // characters of a section
	slackTexts     = 6    // sections that a message may fill
	slackFieldText = 2000 // characters of a field
	slackFieldsPer = 10   // fields of a section
	slackFieldsMax = 50
	slackFallback  = 1000
)

// slackBlock is a section or a context.
type slackBlock struct {
	Type     string            `json:"type"`
	Text     *slackTextObject  `json:"text,omitempty"`
	Fields   []slackTextObject `json:"fields,omitempty"`
	Elements []slackTextObject `json:"elements,omitempty"`
}

type slackTextObject struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func mrkdwn(text string) slackTextObject { return slackTextObject{"mrkdwn", text} }

func section(text string) slackBlock {
	t := mrkdwn(text)
	return slackBlock{Type: "section", Text: &t}
}

// slackBlocksOf lays an event out: what it is about, the message, what
// changed since before, the metadata, and who says it.
func slackBlocksOf(event *eventv1.Event, before string) slackAttachment {
	name := slackEscape(objectName(event))
	blocks := []slackBlock{section(slackCut("*"+name+"*  "+slackEscape(event.Reason), slackText))}
	message := slackEscape(event.Message)
	for n := 0; message != "" && n < slackTexts; n++ {
		part := message
		if len(message) > slackText {
			part = slackCut(message, slackText-len(ellipsis))
			message = message[len(part):]
			if n == slackTexts-1 {
				part += ellipsis
			}
		} else {
			message = ""
		}
		blocks = append(blocks, section(part))
	}
	if change := slackChange(event, before); change != "" {
		blocks = append(blocks, section(change))
	}
	blocks = append(blocks, slackFieldsOf(event)...)
	if event.ReportingController != "" {
		blocks = append(blocks, slackBlock{Type: "context", Elements: []slackTextObject{mrkdwn(slackCut(slackEscape(event.ReportingController), slackText))}})
	}
	return slackAttachment{
		Color: either(event, "danger", "good"), Blocks: blocks,
		Fallback: cut(objectName(event)+": "+event.Message, slackFallback),
	}
}

// slackFieldsOf are the metadata, ten to a section.
func slackFieldsOf(event *eventv1.Event) []slackBlock {
	var blocks []slackBlock
	facts := factsOf(event)
	for n, f := range facts[:min(len(facts), slackFieldsMax)] {
		if n%slackFieldsPer == 0 {
			blocks = append(blocks, slackBlock{Type: "section"})
		}
		last := &blocks[len(blocks)-1]
		last.Fields = append(last.Fields, mrkdwn(slackCut("*"+slackEscape(f.key)+"*\n"+slackValue(f), slackFieldText)))
	}
	return blocks
}

// slackChange tells the revision, and the one before if it was another, with
// links to their commits where those are known.
func slackChange(event *eventv1.Event, before string) string {
	now, ok := event.GetRevision()
	if !ok || now == "" {
		return ""
	}
	link := func(revision string) string {
		text := "`" + slackEscape(cut(shortRevision(revision), 200)) + "`"
		if page := commitLink(event, revision); page != "" && len(page) < 1000 {
			return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", "&", "&amp;").Replace(page) + "|" + text + ">"
		}
		return text
	}
	if before == "" || before == now {
		return "Revision " + link(now)
	}
	return fmt.Sprintf("Revision %s → %s", link(before), link(now))
}

const ellipsis = "..."

// slackCut shortens escaped text to at most max bytes, which is never less
// than Slack's count of characters, without leaving half a character or half
// an entity.
func slackCut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	text = strings.ToValidUTF8(text[:max], "")
	if i := strings.LastIndexByte(text, '&'); i >= 0 && len(text)-i < len("&amp;") && !strings.Contains(text[i:], ";") {
		text = text[:i]
	}
	return text
}
