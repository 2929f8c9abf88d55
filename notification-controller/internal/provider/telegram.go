package provider

import (
	"fmt"
	"strconv"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// telegramText is the longest part of a message that is taken from the event,
// in bytes. Telegram takes 4096 characters, and escaping may double them.
const telegramText = 1900

type telegramMessage struct {
	Chat   string `json:"chat_id"`
	Thread int64  `json:"message_thread_id,omitempty"`
	Text   string `json:"text"`
	Mode   string `json:"parse_mode"`
}

// newTelegram writes as a bot to a chat, or a thread of it (<chat>:<thread>).
// https://core.telegram.org/bots/api#sendmessage
func newTelegram(t Target) (Sender, error) {
	if err := t.needToken(); err != nil {
		return nil, err
	}
	if err := t.needChannel("the chat, as <id> or @<name>, or a thread of it as <chat>:<thread>"); err != nil {
		return nil, err
	}
	if strings.ContainsAny(t.Token, "/?#%") {
		return nil, fmt.Errorf("%w: the key \"token\" of the secret is no token of a Telegram bot", ErrInvalid)
	}
	chat, thread, threaded := strings.Cut(t.Channel, ":")
	number := int64(0)
	if threaded {
		n, err := strconv.ParseInt(thread, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: spec.channel %q: what follows the colon is no number of a thread", ErrInvalid, t.Channel)
		}
		number = n
	}
	t.Address = "https://api.telegram.org/bot" + t.Token + "/sendMessage"
	return senderOf(newPoster(t, func(event *eventv1.Event) any {
		return telegramMessage{Chat: chat, Thread: number, Text: telegramTextOf(event), Mode: "MarkdownV2"}
	}))
}

func telegramTextOf(event *eventv1.Event) string {
	var b strings.Builder
	b.WriteString(either(event, "\U0001f4a3", "✅") + " *" + telegramEscape(objectName(event)) + "*\n" + telegramEscape(cut(event.Message, telegramText)))
	room := 4096 - 100
	for _, f := range factsOf(event) {
		line := "\n\\- *" + telegramEscape(f.key) + "*: " + telegramEscape(f.value)
		if b.Len()+len(line) > room {
			break // half a line could end within an escape
		}
		b.WriteString(line)
	}
	return b.String()
}

// telegramEscape escapes what MarkdownV2 reads as markup.
// https://core.telegram.org/bots/api#markdownv2-style
func telegramEscape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\_*[]()~`>#+-=|{}.!", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
