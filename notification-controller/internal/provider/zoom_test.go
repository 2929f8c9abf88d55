package provider

import (
	"testing"
)

func TestZoomSends(t *testing.T) {
	expectBoth(t, "zoom", words{`"text": "error"`, `"text": "info"`},
		request{method: "POST", uri: "/owner/planted-secret-value?format=full", header: map[string]string{"Authorization": `planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "content": {
  "head": {
   "text": "kustomization/apps.ns",
   "sub_head": {
    "text": "error"
   }
  },
  "body": [
   {
    "type": "message",
    "text": "no <way>"
   },
   {
    "type": "fields",
    "items": [
     {
      "key": "change_request",
      "value": "7"
     },
     {
      "key": "revision",
      "value": "main@sha1:0123456789012345678901234567890123456789"
     },
     {
      "key": "summary",
      "value": "staging"
     }
    ]
   }
  ]
 }
}`},
	)
}

func TestZoomRefuses(t *testing.T) {
	refuses(t, "zoom", map[string]func(*Target){"no token": noToken})
}
