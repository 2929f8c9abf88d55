package provider

import (
	"testing"
)

func TestWebexSends(t *testing.T) {
	expectBoth(t, "webex", words{"💣", "✅"},
		request{method: "POST", uri: "/owner/planted-secret-value", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "markdown": "💣 **kustomization/apps.ns**\n\nno <way>\n\n- **change_request**: 7\n- **revision**: main@sha1:0123456789012345678901234567890123456789\n- **summary**: staging",
 "roomId": "ops"
}`},
	)
}

func TestWebexRefuses(t *testing.T) {
	refuses(t, "webex", map[string]func(*Target){"no token": noToken, "no channel": noChannel})
}
