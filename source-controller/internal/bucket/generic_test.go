package bucket

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestLDAP asserts that a login is exchanged for temporary keys, once.
func TestLDAP(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.token = "session-token"
	g.s3.put("a", "a")
	logins := 0
	sts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithLDAPIdentity" || r.FormValue("LDAPUsername") != "robot" || r.FormValue("LDAPPassword") != "pass-of-robot" {
			s3Fails(w, http.StatusForbidden, "AccessDenied")
			return
		}
		logins++
		fmt.Fprintf(w, `<AssumeRoleWithLDAPIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithLDAPIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
			`<SecretAccessKey>%s</SecretAccessKey><Expiration>2999-01-01T00:00:00Z</Expiration><SessionToken>session-token</SessionToken></Credentials>`+
			`</AssumeRoleWithLDAPIdentityResult></AssumeRoleWithLDAPIdentityResponse>`, accessKey, secretKey)
	}))
	defer sts.Close()
	g.Secret("ldap", "username", "robot", "password", "pass-of-robot")
	g.Secret("ldap-wrong", "username", "robot", "password", "something-else")
	g.Secret("ldap-ca", "ca.crt", sourcetest.Authority(sts))
	for _, name := range []string{"ldap", "ldap-wrong"} {
		g.create(name, func(s *sourcev1.BucketSpec) {
			s.SecretRef = nil
			s.STS = &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL,
				SecretRef: &meta.LocalObjectReference{Name: name}, CertSecretRef: &meta.LocalObjectReference{Name: "ldap-ca"}}
		})
	}
	g.Ready("ldap")
	g.s3.put("b", "b")
	g.Ready("ldap")
	if logins != 1 {
		t.Errorf("it took %d logins, want 1", logins)
	}
	g.Fails("ldap-wrong", sourcev1.AuthenticationFailedReason, "spec.sts")
}
