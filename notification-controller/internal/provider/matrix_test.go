package provider

import (
	"testing"
)

func TestMatrixSends(t *testing.T) {
	expectBoth(t, "matrix", words{"cad96528697a65f81f785c178ed42cf8a335ba6d", "86630729878bb2975dce4c0ff2ef044ad4817dca", "🚨", "💫"},
		request{method: "PUT", uri: "/owner/planted-secret-value/_matrix/client/r0/rooms/ops/send/m.room.message/cad96528697a65f81f785c178ed42cf8a335ba6d", header: map[string]string{"Authorization": `Bearer planted-secret-value`, "Content-Type": `application/json`}, body: `{
 "body": "🚨 kustomization/apps.ns\nno <way>\n- change_request: 7\n- revision: main@sha1:0123456789012345678901234567890123456789\n- summary: staging",
 "msgtype": "m.text"
}`},
	)
}

func TestMatrixRefuses(t *testing.T) {
	refuses(t, "matrix", map[string]func(*Target){"no token": noToken, "no channel": noChannel})
}
