package provider

import (
	"context"
	"io"
	"net/http"
	"testing"
)

func TestLarkSends(t *testing.T) {
	expectBoth(t, "lark", words{"💣", "✅", "red", "turquoise"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "msg_type": "interactive",
 "card": {
  "config": {
   "wide_screen_mode": true
  },
  "header": {
   "title": {
    "tag": "plain_text",
    "content": "💣 HealthCheckFailed"
   },
   "template": "red"
  },
  "elements": [
   {
    "tag": "div",
    "text": {
     "tag": "lark_md",
     "content": "**kustomization/apps.ns**\n\nno <way>\n- **change_request**: 7\n- **revision**: main@sha1:0123456789012345678901234567890123456789\n- **summary**: staging"
    }
   }
  ]
 }
}`},
	)
}

func TestLarkRefusal(t *testing.T) {
	for answer, final := range map[string]bool{`{"code":19001,"msg":"bad"}`: true, `{"code":11232}`: false} {
		to := newSink(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		if err := senderTo(t, "lark", to.URL).Send(context.Background(), sample()); err == nil || IsFinal(err) != final {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
