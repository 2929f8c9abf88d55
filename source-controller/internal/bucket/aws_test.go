package bucket

import (
	"net/http"
	"strings"
	"testing"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

func TestAmazonKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "a")
	g.create("app", func(s *sourcev1.BucketSpec) { s.Provider, s.Region = "aws", "eu-west-1" })
	g.Ready("app")
}

// TestAmazonIdentity asserts that the identity of the controller signs requests to
// Amazon's hosts.
func TestAmazonIdentity(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_SESSION_TOKEN", "session-token")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CA_BUNDLE", "")
	g := newRig(t)
	g.s3.token = "session-token"
	g.s3.put("a", "content")
	host := "app.s3.dualstack.eu-west-1.amazonaws.com"
	through, n := g.internet(map[string]http.HandlerFunc{host: func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/app" + r.URL.Path
		g.s3.serve(w, r)
	}})
	g.create("app", func(s *sourcev1.BucketSpec) {
		s.Provider, s.Endpoint, s.Region, s.SecretRef = "aws", "s3.amazonaws.com", "eu-west-1", nil
		through(s)
	})
	b := g.Reconcile("app")
	if b.Status.Artifact == nil {
		t.Fatalf("asked %q: %+v", n.Asked(), b.Status.Conditions)
	}
	if got := g.Content(b.Status.Artifact); got["a"] != "content" {
		t.Errorf("got %q", got)
	}
}

func TestTrustedHosts(t *testing.T) {
	for name, c := range map[string]struct {
		hosts   interface{ MatchString(string) bool }
		yes, no []string
	}{
		"aws":   {amazon, []string{"s3.amazonaws.com", "s3.eu-west-1.amazonaws.com", "bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", "s3.cn-north-1.amazonaws.com.cn"}, []string{"amazonaws.com.evil.test", "evilamazonaws.com", "evil.test/amazonaws.com", "s3.amazonaws.com:8443"}},
		"gcp":   {googleHosts, []string{"storage.googleapis.com", "storage.europe-west3.rep.googleapis.com"}, []string{"storage.googleapis.com.evil.test", "evilgoogleapis.com", "evil.test#.googleapis.com"}},
		"azure": {azureHosts, []string{"https://account.blob.core.windows.net", "https://account.z1.blob.storage.azure.net/"}, []string{"http://account.blob.core.windows.net", "https://evil.test/.blob.core.windows.net", "https://account.blob.core.windows.net.evil.test", "https://me@account.blob.core.windows.net"}},
	} {
		for _, host := range c.yes {
			if !c.hosts.MatchString(host) {
				t.Errorf("%s: %q is not trusted", name, host)
			}
		}
		for _, host := range c.no {
			if c.hosts.MatchString(host) {
				t.Errorf("%s: %q is trusted", name, strings.ToUpper(host))
			}
		}
	}
}
