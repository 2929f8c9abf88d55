package provider

import (
	"testing"
)

func TestGoogleChatSends(t *testing.T) {
	expectBoth(t, "googlechat", words{"ff0000", "00aa00"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Content-Type": `application/json`}, body: `{
 "cards": [
  {
   "header": {
    "title": "kustomization/apps.ns",
    "subtitle": "kustomize-controller"
   },
   "sections": [
    {
     "widgets": [
      {
       "textParagraph": {
        "text": "<font color=\"#ff0000\">no &lt;way&gt;</font>"
       }
      }
     ]
    },
    {
     "widgets": [
      {
       "keyValue": {
        "topLabel": "change_request",
        "content": "7",
        "contentMultiline": true
       }
      },
      {
       "keyValue": {
        "topLabel": "revision",
        "content": "main@sha1:0123456789012345678901234567890123456789",
        "contentMultiline": true
       }
      },
      {
       "keyValue": {
        "topLabel": "summary",
        "content": "staging",
        "contentMultiline": true
       }
      }
     ]
    }
   ]
  }
 ]
}`},
	)
}
