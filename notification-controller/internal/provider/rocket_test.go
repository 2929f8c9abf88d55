package provider

import (
	"testing"
)

func TestRocketSends(t *testing.T) {
	expect(t, "rocket", sample(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "channel": "ops",
 "username": "kustomize-controller",
 "attachments": [
  {
   "color": "#B22222",
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
	expect(t, "rocket", recovery(),
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "channel": "ops",
 "username": "kustomize-controller",
 "attachments": [
  {
   "color": "#0076D7",
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
