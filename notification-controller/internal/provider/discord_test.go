package provider

import (
	"testing"
)

func TestDiscordSends(t *testing.T) {
	expect(t, "discord", sample(),
		request{method: "POST", uri: "/owner/planted-secret-value/slack", header: map[string]string{"Content-Type": `application/json`}, body: `{
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
	expect(t, "discord", recovery(),
		request{method: "POST", uri: "/owner/planted-secret-value/slack", header: map[string]string{"Content-Type": `application/json`}, body: `{
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

func TestDiscordAddressMayHaveThePath(t *testing.T) {
	target := targetAt("discord", "https://discord.example.com")
	target.Address += "/slack"
	s, err := newDiscord(target)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.(*poster).to.Path; got != "/owner/"+planted+"/slack" {
		t.Errorf("posts to %q", got)
	}
}
