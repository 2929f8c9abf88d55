package provider

import (
	"testing"
)

func TestZulipSends(t *testing.T) {
	expectBoth(t, "zulip", words{"%F0%9F%92%A3", "%E2%9C%85", "no+%3Cway%3E", "fine+again"},
		request{method: "POST", uri: "/owner/planted-secret-value/api/v1/messages", header: map[string]string{"Authorization": `Basic bWU6cGxhbnRlZC1zZWNyZXQtdmFsdWU=`, "Content-Type": `application/x-www-form-urlencoded`}, body: `content=%F0%9F%92%A3+%2A%2Akustomization%2Fapps.ns%2A%2A%0A%0Ano+%3Cway%3E%0A%0A-+%2A%2Achange_request%2A%2A%3A+7%0A-+%2A%2Arevision%2A%2A%3A+main%40sha1%3A0123456789012345678901234567890123456789%0A-+%2A%2Asummary%2A%2A%3A+staging&to=ops&topic=flux&type=stream`},
	)
}

func TestZulipRefuses(t *testing.T) {
	refuses(t, "zulip", map[string]func(*Target){"no channel": noChannel})
}
