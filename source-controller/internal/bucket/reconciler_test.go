package bucket

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/proxytest"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestPublish(t *testing.T) {
	g := newRig(t)
	g.s3.put("deploy/a.yaml", "a: 1\n", "deploy/", "", "logo.png", "picture", "b c+d.yaml", "b: 2\n")
	g.create("app", nil)
	phases := map[string]float64{}
	for _, phase := range []string{"poll", "fetch", "pack"} {
		phases[phase] = testenv.Metric(t, "weir_phase_duration_seconds", "kind", "Bucket", "phase", phase)
	}
	b := g.Ready("app")

	a := b.Status.Artifact
	sum := sha256.Sum256(fmt.Appendf(nil, "b c+d.yaml %s\ndeploy/a.yaml %s\n", etagOf("b: 2\n"), etagOf("a: 1\n")))
	folder := "bucket/" + g.NS + "/app/"
	if a.Revision != fmt.Sprintf("sha256:%x", sum) || a.Path != fmt.Sprintf("%s%x.tar.gz", folder, sum) || a.URL != "http://source-controller.test/"+a.Path {
		t.Errorf("got the artifact %+v", a)
	}
	if want := "http://source-controller.test/" + folder + "latest.tar.gz"; b.Status.URL != want {
		t.Errorf("status.url is %q, want %q", b.Status.URL, want)
	}
	if diff := cmp.Diff(map[string]string{"deploy/a.yaml": "a: 1\n", "b c+d.yaml": "b: 2\n"}, g.Content(a)); diff != "" {
		t.Error(diff)
	}
	for _, kind := range []string{meta.ReadyCondition, sourcev1.ArtifactInStorageCondition} {
		if c := apimeta.FindStatusCondition(b.Status.Conditions, kind); c == nil || c.Reason != "Succeeded" || c.Message != "stored artifact: revision '"+a.Revision+"'" {
			t.Errorf("%s is %+v", kind, c)
		}
	}
	if told := g.Told(); len(told) != 1 || !strings.HasPrefix(told[0], "Normal NewArtifact stored artifact with 2 fetched files from 'app' bucket") ||
		!strings.Contains(told[0], "source.toolkit.fluxcd.io/revision:"+a.Revision) {
		t.Errorf("got the events %q", told)
	}
	if seen, _ := g.s3.requests(); cmp.Diff([]string{"get b c+d.yaml", "get deploy/a.yaml", "list"}, seen) != "" {
		t.Errorf("what is ignored was downloaded: %q", seen)
	}
	for _, phase := range []string{"poll", "fetch", "pack"} {
		if n := testenv.Metric(t, "weir_phase_duration_seconds", "kind", "Bucket", "phase", phase) - phases[phase]; n != 1 {
			t.Errorf("the phase %s was measured %v times", phase, n)
		}
	}
}

// TestIncrement asserts what a change costs, and no change, also after a restart: of
// 10,000 objects, the one that changed is transferred. All but each hundredth are empty,
// which costs nothing to fetch, unless WEIR_FIGURES is set.
func TestIncrement(t *testing.T) {
	g := newRig(t)
	const count, cached = 10_000, "weir_cache_requests_total"
	full, each := count/100, 100
	if os.Getenv("WEIR_FIGURES") != "" {
		full, each = count, 1
	}
	for i := range count {
		content := ""
		if i%each == 0 {
			content = fmt.Sprintf("kind: ConfigMap # %d\n", i)
		}
		g.s3.put(fmt.Sprintf("team-%d/app-%d.yaml", i%7, i), content)
	}
	g.create("app", nil)
	before := g.Ready("app")
	if seen, _ := g.s3.requests(); len(seen) != full+count/page {
		t.Errorf("%d objects cost %d requests", count, len(seen))
	}
	g.Told()
	for _, when := range []string{"at once", "after a restart"} {
		after := g.Ready("app")
		if seen, n := g.s3.requests(); len(seen) != count/page || n != 0 {
			t.Errorf("nothing new %s cost %d requests and %d bytes", when, len(seen), n)
		}
		if before.ResourceVersion != after.ResourceVersion || len(g.Told()) > 0 {
			t.Errorf("nothing new %s was told", when)
		}
		g.restart()
	}
	hits, misses := testenv.Metric(t, cached, "cache", "bucket_objects", "result", "hit"), testenv.Metric(t, cached, "cache", "bucket_objects", "result", "miss")
	const changed, another = "team-6/app-300.yaml", "team-3/app-500.yaml"
	g.s3.put(changed, "changed\n")
	after := g.Ready("app")
	seen, n := g.s3.requests()
	if len(seen) != 1+count/page || seen[0] != "get "+changed || n != len("changed\n") {
		t.Errorf("one change cost %d bytes in the requests %q", n, seen)
	}
	if files := g.Content(after.Status.Artifact); len(files) != count || files[changed] != "changed\n" || files[another] != "kind: ConfigMap # 500\n" {
		t.Errorf("the artifact has %d files, the changed one with %q", len(files), files[changed])
	}
	hits, misses = testenv.Metric(t, cached, "cache", "bucket_objects", "result", "hit")-hits, testenv.Metric(t, cached, "cache", "bucket_objects", "result", "miss")-misses
	if hits != count-1 || misses != 1 {
		t.Errorf("one change was measured as %v hits and %v misses", hits, misses)
	}
	g.s3.remove(changed)
	if files := g.Content(g.Ready("app").Status.Artifact); len(files) != count-1 {
		t.Errorf("the artifact has %d files, want %d", len(files), count-1)
	}
	if seen, n := g.s3.requests(); len(seen) != count/page || n != 0 {
		t.Errorf("a removal cost %d requests and %d bytes", len(seen), n)
	}
	kept, err := filepath.Glob(g.Storage + "/.weir/buckets/*/*/*")
	if must(t, err); len(kept) != full-1 {
		t.Errorf("%d objects are kept, want %d", len(kept), full-1)
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("apps/a.yaml", "a", "apps/b.txt", "b", "infra/c.yaml", "c", "apps/logo.png", "p", ".sourceignore", "*.txt\n", "apps/nested/.sourceignore", "d.*\n", "apps/nested/d.yaml", "d")
	bring := "!*.png"
	for name, c := range map[string]struct {
		prefix string
		ignore *string
		want   []string
	}{
		"all":    {"", nil, []string{".sourceignore", "apps/a.yaml", "apps/nested/.sourceignore", "infra/c.yaml"}},
		"prefix": {"apps/", nil, []string{"apps/a.yaml", "apps/b.txt", "apps/nested/.sourceignore"}},
		"ignore": {"", &bring, []string{".sourceignore", "apps/a.yaml", "apps/logo.png", "apps/nested/.sourceignore", "infra/c.yaml"}},
		"none":   {"gone/", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.BucketSpec) { s.Prefix, s.Ignore = c.prefix, c.ignore })
			got := map[string]bool{}
			for file := range g.Content(g.Ready(name).Status.Artifact) {
				got[file] = true
			}
			want := map[string]bool{}
			for _, file := range c.want {
				want[file] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	g.requests()
	g.update("all", func(s *sourcev1.BucketSpec) { s.Ignore = &bring })
	before := g.Get("all").Status.Artifact.Revision
	if b := g.Ready("all"); b.Status.Artifact.Revision == before || *b.Status.ObservedIgnore != bring {
		t.Errorf("the new rules were not used: %+v", b.Status)
	}
	if seen, _ := g.s3.requests(); cmp.Diff([]string{"get apps/logo.png", "list"}, seen) != "" {
		t.Errorf("got the requests %q", seen)
	}
}

func (g *rig) requests() { g.s3.requests() }

func TestHostileKeys(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for name, c := range map[string]struct {
		keys []string
		text string
	}{
		"up":       {[]string{"a/../../../etc/passwd"}, `".."`},
		"here":     {[]string{"a/./b"}, `"."`},
		"absolute": {[]string{"/etc/passwd"}, "starts with a slash"},
		"nul":      {[]string{"a\x01b"}, "control characters"},
		"newline":  {[]string{"a 0\nb"}, "control characters"},
		"long":     {[]string{strings.Repeat("a/", 600) + "a"}, "longer than 1024"},
		"name":     {[]string{strings.Repeat("a", 256)}, "longer than 255"},
		"empty":    {[]string{"a//b"}, "is empty"},
		"both":     {[]string{"a/b", "a/b/c/d"}, `"a/b"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newS3Server(t, false)
			s.anonymous = true
			for _, key := range c.keys {
				s.put(key, "x")
			}
			g.create(name, func(spec *sourcev1.BucketSpec) {
				spec.Endpoint, spec.Insecure, spec.SecretRef, spec.CertSecretRef = s.host(), true, nil, nil
			})
			reason, text := sourcev1.BucketOperationFailedReason, c.text
			if name == "nul" { // XML cannot carry it; the answer does not parse
				text = ""
			}
			b := g.Fails(name, reason, text)
			if b.Status.Artifact != nil {
				t.Errorf("published %+v", b.Status.Artifact)
			}
		})
	}
}

// TestUsable asserts on keys that no XML can carry.
func TestUsable(t *testing.T) {
	for _, key := range []string{"", "a\x00b", "a/\xff", "/", "a/..", "..", "a//", "a\x7f"} {
		if err := usable(key); err == nil {
			t.Errorf("the key %q is usable", key)
		}
	}
	for _, key := range []string{"a", "a/b", "..a/b..", "a b", `a\b`, "日本/語"} {
		if err := usable(key); err != nil {
			t.Error(err)
		}
	}
}

// FuzzUsable asserts that what is usable as a key is a path inside of a folder.
func FuzzUsable(f *testing.F) {
	for _, key := range []string{"a/b", "../a", "/a", "a//b", "a\x00", "a/."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := usable(key); err == nil && (!fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\x00\n")) {
			t.Errorf("the key %q is usable", key)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a.yaml", "a")
	g.Secret("other", "accesskey", "AKIAOTHER", "secretkey", "something-else")
	g.Secret("half", "accesskey", accessKey)
	g.Secret("no-proxy", "address", "://")
	g.Secret("bad-ca", "ca.crt", "nothing")
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	for name, c := range map[string]struct {
		change       func(*sourcev1.BucketSpec)
		reason, text string
		stalls       bool
	}{
		"no-bucket":   {func(s *sourcev1.BucketSpec) { s.BucketName = "gone" }, sourcev1.BucketOperationFailedReason, "404", false},
		"no-secret":   {func(s *sourcev1.BucketSpec) { s.SecretRef = ref("gone") }, sourcev1.AuthenticationFailedReason, "spec.secretRef", false},
		"half-secret": {func(s *sourcev1.BucketSpec) { s.SecretRef = ref("half") }, sourcev1.AuthenticationFailedReason, `"secretkey"`, false},
		"wrong-keys":  {func(s *sourcev1.BucketSpec) { s.SecretRef = ref("other") }, sourcev1.AuthenticationFailedReason, "403", false},
		"anonymous":   {func(s *sourcev1.BucketSpec) { s.SecretRef = nil }, sourcev1.AuthenticationFailedReason, "403", false},
		"no-ca":       {func(s *sourcev1.BucketSpec) { s.CertSecretRef = nil }, sourcev1.BucketOperationFailedReason, "certificate", false},
		"bad-ca":      {func(s *sourcev1.BucketSpec) { s.CertSecretRef = ref("bad-ca") }, sourcev1.AuthenticationFailedReason, "spec.certSecretRef", false},
		"bad-proxy":   {func(s *sourcev1.BucketSpec) { s.ProxySecretRef = ref("no-proxy") }, sourcev1.AuthenticationFailedReason, "spec.proxySecretRef", false},
		"scheme":      {func(s *sourcev1.BucketSpec) { s.Endpoint = "https://" + s.Endpoint }, sourcev1.URLInvalidReason, "spec.endpoint", true},
		"not-there":   {func(s *sourcev1.BucketSpec) { s.Endpoint = "127.0.0.1:1" }, sourcev1.BucketOperationFailedReason, "refused", false},
		"sts-and-keys": {func(s *sourcev1.BucketSpec) {
			s.STS = &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: "https://sts.test"}
		}, sourcev1.InvalidSTSConfigurationReason, "spec.secretRef", true},
		"sts-nobody": {func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: "https://sts.test"}
		}, sourcev1.InvalidSTSConfigurationReason, "username", true},
		"sts-elsewhere": {func(s *sourcev1.BucketSpec) {
			s.Provider, s.SecretRef, s.STS = "aws", nil, &sourcev1.BucketSTSSpec{Provider: "aws", Endpoint: "https://sts.evil.test"}
		}, sourcev1.InvalidSTSConfigurationReason, "spec.sts.endpoint", true},
		"aws-elsewhere": {func(s *sourcev1.BucketSpec) { s.Provider, s.SecretRef = "aws", nil }, sourcev1.URLInvalidReason, "spec.endpoint", true},
		"aws-plain":     {func(s *sourcev1.BucketSpec) { s.Provider, s.SecretRef, s.Insecure = "aws", nil, true }, sourcev1.BucketOperationFailedReason, "spec.insecure", true},
		"aws-robot": {func(s *sourcev1.BucketSpec) {
			s.Provider, s.SecretRef, s.Endpoint, s.ServiceAccountName = "aws", nil, "s3.amazonaws.com", "robot"
		}, meta.FeatureGateDisabledReason, "spec.serviceAccountName", true},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, c.change)
			if b := g.Fails(name, c.reason, c.text); sourcetest.Stalled(b) != c.stalls || b.Status.Artifact != nil {
				t.Errorf("stalled is %t, the artifact %+v", sourcetest.Stalled(b), b.Status.Artifact)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "12345", "b", "12345", "c.zip", strings.Repeat("x", 100))
	for name, c := range map[string]struct {
		limits limits
		text   string
	}{
		"objects": {limits{2, 10, 100}, "spec.prefix"},
		"object":  {limits{10, 4, 100}, `"a"`},
		"total":   {limits{10, 10, 9}, "9 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			g.worker.limits = c.limits
			g.create(name, nil)
			g.requests()
			g.Fails(name, sourcev1.BucketOperationFailedReason, "allowed", c.text)
			if _, n := g.s3.requests(); n > 0 {
				t.Errorf("%d bytes were downloaded", n)
			}
		})
	}
	g.worker.limits = limits{3, 5, 10}
	g.create("enough", nil)
	g.Ready("enough")
}

// TestResume asserts that what was downloaded is not asked for again: not when a
// connection breaks, nor when the process ends in the middle.
func TestResume(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	g.s3.put("large", large, "small", "small")
	half := make(chan struct{}, 16) // a token for each answer that breaks
	g.s3.through(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-half:
			default:
				next.ServeHTTP(w, r)
				return
			}
			if !strings.HasSuffix(r.URL.Path, "/large") {
				half <- struct{}{}
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(&broken{ResponseWriter: w, left: len(large) / 4}, r)
		})
	})
	half <- struct{}{}
	g.create("app", nil)
	if got := g.Content(g.Ready("app").Status.Artifact); got["large"] != large {
		t.Error("the content differs after a broken connection")
	}
	seen, _ := g.s3.requests()
	if !strings.Contains(strings.Join(seen, ","), "get large bytes=") {
		t.Errorf("nothing was resumed: %q", seen)
	}

	changed := strings.Repeat("fedcba9876543210", 1<<16)
	g.s3.put("large", changed)
	g.s3.through(func(next http.Handler) http.Handler {
		sent := false
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case !strings.HasSuffix(r.URL.Path, "/large"):
				next.ServeHTTP(w, r)
			case sent || r.Header.Get("Range") != "":
				s3Fails(w, http.StatusForbidden, "AccessDenied")
			default:
				next.ServeHTTP(&broken{ResponseWriter: w, left: len(changed) / 2}, r)
			}
		})
	})
	g.Fails("app", sourcev1.AuthenticationFailedReason, `"large"`)
	g.s3.through(nil)
	g.restart()
	g.requests()
	if got := g.Content(g.Ready("app").Status.Artifact); got["large"] != changed {
		t.Error("the content differs after a restart")
	}
	if seen, n := g.s3.requests(); len(seen) != 2 || !strings.HasPrefix(seen[0], "get large bytes=") || n >= len(changed) {
		t.Errorf("%d bytes were sent for %q", n, seen)
	}
}

// broken is a connection that ends early.
type broken struct {
	http.ResponseWriter
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	if len(p) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

// TestHeals asserts that lost and damaged files come back.
func TestHeals(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "content of a", "b", "content of b")
	g.create("app", nil)
	want := g.Ready("app").Status.Artifact.Digest
	g.Told()

	entries, err := os.ReadDir(g.Storage)
	must(t, err)
	for _, e := range entries {
		must(t, os.RemoveAll(filepath.Join(g.Storage, e.Name())))
	}
	g.restart()
	b := g.Ready("app")
	if b.Status.Artifact.Digest != want || len(g.Content(b.Status.Artifact)) != 2 {
		t.Errorf("a wiped folder gave %+v", b.Status.Artifact)
	}
	if told := g.Told(); len(told) > 0 {
		t.Errorf("what was put back is told: %q", told)
	}

	kept, err := filepath.Glob(g.Storage + "/.weir/buckets/*/*/*")
	must(t, err)
	for _, name := range kept {
		data, err := os.ReadFile(name)
		must(t, err)
		data[0] ^= 1
		must(t, os.WriteFile(name, data, 0o600))
	}
	g.s3.put("c", "content of c")
	g.Fails("app", sourcev1.ArchiveOperationFailedReason, "damaged")
	for range kept { // one is found out at a time
		if b = g.Reconcile("app"); apimeta.IsStatusConditionTrue(b.Status.Conditions, meta.ReadyCondition) {
			break
		}
	}
	if got := g.Content(b.Status.Artifact); got["a"] != "content of a" || got["c"] != "content of c" {
		t.Errorf("got %q", got)
	}
}

// TestChanged asserts that an object which is replaced after it was listed is not
// taken for the listed one.
func TestChanged(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "old")
	g.s3.through(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			if r.URL.Query().Has("list-type") {
				g.s3.put("a", "new")
			}
		})
	})
	g.create("app", nil)
	g.Fails("app", sourcev1.BucketOperationFailedReason, "changed while it was read")
	if got := g.Content(g.Ready("app").Status.Artifact); got["a"] != "new" {
		t.Errorf("got %q", got)
	}
}

// TestLies asserts on a server whose answers do not fit together.
func TestLies(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	answer := func(body string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/a") {
					w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
					fmt.Fprint(w, body)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	list := func(xml string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("list-type") {
					fmt.Fprintf(w, "<ListBucketResult>%s</ListBucketResult>", xml)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	g.s3.put("a", "content")
	const entry = `<Contents><Key>a</Key><ETag>"1"</ETag><Size>1</Size></Contents>`
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		text string
	}{
		"more":    {answer("content and more"), "8 bytes"},
		"twice":   {list(entry + entry), "listed twice"},
		"no-etag": {list(strings.ReplaceAll(entry, `"1"`, "")), "entity tag"},
		"garbage": {list("<"), "listing"},
		"endless": {list(strings.Repeat(" ", maxAnswer+1)), "allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			g.s3.through(c.wrap)
			g.create(name, nil)
			g.Fails(name, sourcev1.BucketOperationFailedReason, c.text)
		})
	}
}

// TestBusy asserts that a storage which asks for time gets it.
func TestBusy(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	asked := 0
	g.s3.through(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	})
	g.create("app", nil)
	g.Fails("app", sourcev1.BucketOperationFailedReason, "left alone")
	g.Fails("app", sourcev1.BucketOperationFailedReason, "left alone")
	if asked != 1 {
		t.Errorf("it was asked %d times, want 1", asked)
	}
}

// TestProxyPassword asserts that a bucket is reached through a proxy that asks for a
// password, and that a corrected one counts from the next reconciliation on.
func TestProxyPassword(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "a")
	proxy := proxytest.Start(t, proxytest.Options{Username: "me", Password: "right-password"})
	g.Secret("proxy", "address", proxy.URL, "username", "me", "password", "wrong-password")
	g.create("app", func(s *sourcev1.BucketSpec) { s.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"} })
	g.Fails("app", sourcev1.BucketOperationFailedReason, "Proxy Authentication Required")
	g.Secret("proxy", "address", proxy.URL, "username", "me", "password", "right-password")
	g.Ready("app")
	if hosts := proxy.Hosts(); len(hosts) == 0 || hosts[0] != g.s3.host() {
		t.Errorf("the proxy led to %q", hosts)
	}
}

// TestTimeout asserts that a hanging server costs spec.timeout.
func TestTimeout(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	done := make(chan struct{})
	defer close(done)
	g.s3.through(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done })
	})
	limit := duration.New(100 * time.Millisecond)
	g.create("app", func(s *sourcev1.BucketSpec) { s.Timeout = &limit })
	g.Fails("app", sourcev1.BucketOperationFailedReason, "spec.timeout of 100ms")
}

// TestFinalize asserts that nothing stays behind.
func TestFinalize(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.s3.put("a", "a")
	g.create("app", nil)
	b := g.Ready("app")
	must(t, g.worker.Finalize(t.Context(), b))
	left, err := filepath.Glob(g.Storage + "/.weir/buckets/*")
	must(t, err)
	if _, err := os.Stat(filepath.Join(g.Storage, "bucket", g.NS, "app")); err == nil || len(left) > 0 {
		t.Errorf("%q and %v stay", left, err)
	}
}

// TestShrink asserts that what was not used for a while goes first.
func TestShrink(t *testing.T) {
	c := &cache{dir: t.TempDir(), limit: 100}
	var shelves []*shelf
	for i := range 3 {
		s, err := c.shelf("ns", fmt.Sprint(i), "bucket")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(s.dir, "x"), make([]byte, 60), 0o600))
		then := time.Now().Add(-time.Duration(3-i) * time.Hour)
		must(t, os.Chtimes(s.dir, then, then))
		shelves = append(shelves, s)
	}
	must(t, c.shrink())
	for i, s := range shelves {
		if _, err := os.Stat(s.dir); (err == nil) != (i == 2) {
			t.Errorf("the shelf %d: %v", i, err)
		}
	}
}
