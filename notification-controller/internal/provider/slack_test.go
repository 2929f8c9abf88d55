package provider

import (
	"context"
	"io"
	"net/http"
	"testing"
)

func TestSlackSends(t *testing.T) {
	expect(t, "slack", sample(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "channel": "ops",
 "username": "kustomize-controller",
 "attachments": [
  {
   "color": "danger",
   "author_name": "kustomization/apps.ns",
   "text": "no &lt;way&gt;",
   "mrkdwn_in": [
    "text"
   ],
   "fields": [
    {
     "title": "change_request",
     "value": "7",
     "short": false
    },
    {
     "title": "revision",
     "value": "main@sha1:0123456789012345678901234567890123456789",
     "short": false
    },
    {
     "title": "summary",
     "value": "staging",
     "short": false
    }
   ]
  }
 ]
}`},
	)
	expect(t, "slack", recovery(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "channel": "ops",
 "username": "kustomize-controller",
 "attachments": [
  {
   "color": "good",
   "author_name": "kustomization/apps.ns",
   "text": "fine again",
   "mrkdwn_in": [
    "text"
   ],
   "fields": [
    {
     "title": "change_request",
     "value": "7",
     "short": false
    },
    {
     "title": "revision",
     "value": "main@sha1:0123456789012345678901234567890123456789",
     "short": false
    },
    {
     "title": "summary",
     "value": "staging",
     "short": false
    }
   ]
  }
 ]
}`},
	)
}

func TestSlackAPIRefusal(t *testing.T) {
	for said, final := range map[string]bool{"channel_not_found": true, "ratelimited": false} {
		to := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"ok":false,"error":"`+said+`"}`)
		})
		err := senderTo(t, "slack", to.URL).Send(context.Background(), sample())
		if err == nil || IsFinal(err) != final || to.seen[0].Header.Get("Authorization") != "Bearer "+planted {
			t.Errorf("%s: %v (final %t)", said, err, IsFinal(err))
		}
	}
}
