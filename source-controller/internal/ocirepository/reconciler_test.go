package ocirepository

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/proxytest"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestPublish(t *testing.T) {
	g := newRig(t)
	sum := g.push("org/app", "latest", image(t, map[string]string{
		"org.opencontainers.image.source": "https://git.test/app", "org.opencontainers.image.revision": "main@sha1:1234",
	}, layer(tarball(t, map[string]string{"deploy/a.yaml": "a: 1\n", "logo.png": "picture"}), contentType)))
	g.create("app", func(s *sourcev1.OCIRepositorySpec) { s.URL = "oci://" + g.host() + "/org/app" })
	phases := map[string]float64{}
	for _, phase := range []string{"poll", "fetch", "pack"} {
		phases[phase] = testenv.Metric(t, "weir_phase_duration_seconds", "kind", "OCIRepository", "phase", phase)
	}
	repo := g.Ready("app")

	a := repo.Status.Artifact
	folder := "ocirepository/" + g.NS + "/app/"
	if a.Revision != "latest@"+sum || a.Path != folder+sum+".tar.gz" || a.URL != "http://source-controller.test/"+a.Path {
		t.Errorf("got the artifact %+v", a)
	}
	if want := "http://source-controller.test/" + folder + "latest.tar.gz"; repo.Status.URL != want {
		t.Errorf("status.url is %q, want %q", repo.Status.URL, want)
	}
	if a.Metadata["org.opencontainers.image.revision"] != "main@sha1:1234" || len(a.Metadata) != 2 {
		t.Errorf("got the metadata %v", a.Metadata)
	}
	if diff := cmp.Diff(map[string]string{"deploy/a.yaml": "a: 1\n"}, g.Content(a)); diff != "" {
		t.Error(diff)
	}
	data := g.Served(a.Path)
	if digest.FromBytes(data).String() != a.Digest || *a.Size != int64(len(data)) {
		t.Errorf("status says %s and %d bytes of other bytes", a.Digest, *a.Size)
	}
	if !bytes.Equal(data, g.Served(folder+"latest.tar.gz")) {
		t.Error("latest.tar.gz is something else")
	}
	message := "stored artifact for digest 'latest@" + sum + "'"
	for _, kind := range []string{meta.ReadyCondition, sourcev1.ArtifactInStorageCondition} {
		if c := apimeta.FindStatusCondition(repo.Status.Conditions, kind); c == nil || c.Reason != "Succeeded" || c.Message != message {
			t.Errorf("%s is %+v", kind, c)
		}
	}
	want := fmt.Sprintf("Normal NewArtifact stored artifact with revision 'latest@%s' from 'oci://%s/org/app', origin source 'https://git.test/app', origin revision 'main@sha1:1234'", sum, g.host())
	if told := g.Told(); len(told) != 1 || !strings.HasPrefix(told[0], want) ||
		!strings.Contains(told[0], "source.toolkit.fluxcd.io/originRevision:main@sha1:1234") || !strings.Contains(told[0], "source.toolkit.fluxcd.io/digest:"+a.Digest) {
		t.Errorf("got the events %q", told)
	}
	for _, phase := range []string{"poll", "fetch", "pack"} {
		if n := testenv.Metric(t, "weir_phase_duration_seconds", "kind", "OCIRepository", "phase", phase) - phases[phase]; n != 1 {
			t.Errorf("the phase %s was measured %v times", phase, n)
		}
	}
}

// TestNothingNew asserts what a look at an unchanged artifact costs.
func TestNothingNew(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	sum := g.files("app", "v1.0.0", map[string]string{"a.yaml": "a"})
	for name, c := range map[string]struct {
		ref  sourcev1.OCIRepositoryRef
		want []string
	}{
		"tag":    {sourcev1.OCIRepositoryRef{Tag: "v1.0.0"}, []string{"HEAD /v2/app/manifests/v1.0.0"}},
		"semver": {sourcev1.OCIRepositoryRef{SemVer: "1.x"}, []string{"GET /v2/app/tags/list", "HEAD /v2/app/manifests/v1.0.0"}},
		"digest": {sourcev1.OCIRepositoryRef{Digest: sum}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) {
				s.URL, s.Reference = "oci://"+g.host()+"/app", &c.ref
			})
			before := g.Ready(name)
			g.Told()
			g.requests()
			after := g.Ready(name)
			if diff := cmp.Diff(c.want, g.requests()); diff != "" {
				t.Error(diff)
			}
			if before.ResourceVersion != after.ResourceVersion {
				t.Error("status was written")
			}
			if told := g.Told(); len(told) > 0 {
				t.Errorf("got the events %q", told)
			}
		})
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	sums := map[string]string{}
	for _, tag := range []string{"latest", "1.0.0", "1.1.0", "1.2.0-rc.1", "1.1.5-linux", "2.0.0", "main"} {
		sums[tag] = g.files("app", tag, map[string]string{"tag": tag})
	}
	for name, c := range map[string]struct {
		ref  *sourcev1.OCIRepositoryRef
		want string
	}{
		"nothing":                {nil, "latest@" + sums["latest"]},
		"empty":                  {&sourcev1.OCIRepositoryRef{}, "latest@" + sums["latest"]},
		"tag":                    {&sourcev1.OCIRepositoryRef{Tag: "main"}, "main@" + sums["main"]},
		"semver-before-tag":      {&sourcev1.OCIRepositoryRef{SemVer: "1.x", Tag: "main"}, "1.1.0@" + sums["1.1.0"]},
		"semver-filter":          {&sourcev1.OCIRepositoryRef{SemVer: ">=1.0.0-0 <2.0.0-0", SemverFilter: `-rc\.\d+$`}, "1.2.0-rc.1@" + sums["1.2.0-rc.1"]},
		"digest-before-the-rest": {&sourcev1.OCIRepositoryRef{Digest: sums["1.0.0"], SemVer: "1.x", Tag: "main"}, sums["1.0.0"]},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) { s.URL, s.Reference = "oci://"+g.host()+"/app", c.ref })
			repo := g.Ready(name)
			if repo.Status.Artifact.Revision != c.want {
				t.Errorf("got %q, want %q", repo.Status.Artifact.Revision, c.want)
			}
			tag := g.Content(repo.Status.Artifact)["tag"]
			if !strings.HasSuffix(c.want, sums[tag]) {
				t.Errorf("the content is that of %q", tag)
			}
		})
	}
}

func TestReferenceFailures(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "1.0.0", map[string]string{"a": "a"})
	for name, c := range map[string]struct {
		url, digest, semver, filter, tag string
		reason, text                     string
		stalls                           bool
	}{
		"no-tag":      {tag: "gone", reason: sourcev1.OCIPullFailedReason, text: `"gone"`},
		"bad-tag":     {tag: "a b", reason: sourcev1.URLInvalidReason, text: `"a b"`, stalls: true},
		"no-version":  {semver: ">2", reason: sourcev1.ReadOperationFailedReason, text: `">2"`},
		"bad-range":   {semver: "newest", reason: sourcev1.ReadOperationFailedReason, text: "spec.ref.semver", stalls: true},
		"bad-filter":  {semver: "1.x", filter: "(", reason: sourcev1.ReadOperationFailedReason, text: "spec.ref.semverFilter", stalls: true},
		"bad-digest":  {digest: "sha256:12", reason: sourcev1.ReadOperationFailedReason, text: "spec.ref.digest", stalls: true},
		"no-digest":   {digest: "sha256:" + strings.Repeat("0", 64), reason: sourcev1.OCIPullFailedReason, text: "not found"},
		"url-tag":     {url: "oci://host/app:v1", reason: sourcev1.URLInvalidReason, text: `":v1"`, stalls: true},
		"url-digest":  {url: "oci://host/app@sha256:12", reason: sourcev1.URLInvalidReason, text: "remove", stalls: true},
		"url-path":    {url: "oci://host/../app", reason: sourcev1.URLInvalidReason, text: "spec.url", stalls: true},
		"url-nothing": {url: "oci://", reason: sourcev1.URLInvalidReason, text: "spec.url", stalls: true},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) {
				s.URL = "oci://" + g.host() + "/app"
				if c.url != "" {
					s.URL = c.url
				}
				s.Reference = &sourcev1.OCIRepositoryRef{Digest: c.digest, SemVer: c.semver, SemverFilter: c.filter, Tag: c.tag}
			})
			if repo := g.Fails(name, c.reason, c.text); sourcetest.Stalled(repo) != c.stalls {
				t.Errorf("stalled is %t, want %t", sourcetest.Stalled(repo), c.stalls)
			}
		})
	}
}

// TestWhatWasResolvedIsPulled asserts that a tag which moves between two requests
// changes nothing.
func TestWhatWasResolvedIsPulled(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	first := g.files("app", "latest", map[string]string{"a": "first"})
	var moved atomic.Bool
	g.through(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			if r.Method == http.MethodHead && !moved.Swap(true) {
				g.files("app", "latest", map[string]string{"a": "second"})
			}
		})
	})
	g.create("app", nil)
	repo := g.Ready("app")
	if !moved.Load() {
		t.Fatal("the tag did not move")
	}
	if repo.Status.Artifact.Revision != "latest@"+first || g.Content(repo.Status.Artifact)["a"] != "first" {
		t.Errorf("got %s with %v", repo.Status.Artifact.Revision, g.Content(repo.Status.Artifact))
	}
	for _, asked := range g.requests() {
		if strings.HasPrefix(asked, "GET /v2/app/manifests/") && !strings.HasSuffix(asked, first) {
			t.Errorf("a manifest was read by something else than the digest: %s", asked)
		}
	}
	repo = g.Ready("app")
	if g.Content(repo.Status.Artifact)["a"] != "second" {
		t.Error("the move was not seen afterwards")
	}
}

func TestLayerSelector(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	first, second := tarball(t, map[string]string{"a.yaml": "first", "b.png": "x"}), tarball(t, map[string]string{"a.yaml": "second"})
	g.push("app", "latest", image(t, nil, layer(first, contentType), layer(second, otherType)))
	g.create("app", nil)
	if got := g.Content(g.Ready("app").Status.Artifact); got["a.yaml"] != "first" {
		t.Errorf("got %v", got)
	}
	for name, c := range map[string]struct {
		selector *sourcev1.OCILayerSelector
		bytes    []byte // of the artifact, when they are known
		text     string
	}{
		"another":         {&sourcev1.OCILayerSelector{MediaType: otherType}, nil, "second"},
		"extract":         {&sourcev1.OCILayerSelector{MediaType: contentType, Operation: "extract"}, nil, "first"},
		"copy":            {&sourcev1.OCILayerSelector{Operation: "copy"}, first, ""},
		"copy of another": {&sourcev1.OCILayerSelector{MediaType: otherType, Operation: "copy"}, second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.LayerSelector = c.selector })
			repo := g.Ready("app")
			if diff := cmp.Diff(c.selector, repo.Status.ObservedLayerSelector); diff != "" {
				t.Error(diff)
			}
			if !strings.HasSuffix(repo.Status.Artifact.Path, ".tar.gz") {
				t.Errorf("the path is %q", repo.Status.Artifact.Path)
			}
			if c.bytes != nil && !bytes.Equal(c.bytes, g.Served(repo.Status.Artifact.Path)) {
				t.Error("the copy has other bytes")
			}
			if c.text != "" && g.Content(repo.Status.Artifact)["a.yaml"] != c.text {
				t.Errorf("got %v", g.Content(repo.Status.Artifact))
			}
		})
	}
	g.update("app", func(s *sourcev1.OCIRepositorySpec) {
		s.LayerSelector = &sourcev1.OCILayerSelector{MediaType: "missing"}
	})
	if repo := g.Fails("app", sourcev1.OCILayerOperationFailedReason, `"missing"`); repo.Status.Artifact == nil {
		t.Error("the old artifact is gone")
	}
	g.push("nothing", "latest", image(t, nil))
	g.create("nothing", nil)
	g.Fails("nothing", sourcev1.OCILayerOperationFailedReason, "none")
}

func TestIgnore(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	all := map[string]string{"a.yaml": "a", "b.txt": "b", "c.png": "c", "sub/.sourceignore": "*.txt\n", "sub/d.txt": "d", "sub/e.yaml": "e"}
	g.files("app", "latest", all)
	g.create("app", nil)
	keys := func(repo *sourcev1.OCIRepository) map[string]bool {
		out := map[string]bool{}
		for name := range g.Content(repo.Status.Artifact) {
			out[name] = true
		}
		return out
	}
	if diff := cmp.Diff(map[string]bool{"a.yaml": true, "b.txt": true, "sub/.sourceignore": true, "sub/e.yaml": true}, keys(g.Ready("app"))); diff != "" {
		t.Error(diff)
	}
	patterns := "/*\n!/b.txt\n!*.png\n"
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Ignore = &patterns })
	repo := g.Ready("app")
	if diff := cmp.Diff(map[string]bool{"b.txt": true, "c.png": true}, keys(repo)); diff != "" {
		t.Error(diff)
	}
	if *repo.Status.ObservedIgnore != patterns {
		t.Errorf("observedIgnore is %q", *repo.Status.ObservedIgnore)
	}
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.LayerSelector = &sourcev1.OCILayerSelector{Operation: "copy"} })
	if got := keys(g.Ready("app")); len(got) != len(all) {
		t.Errorf("a copy has %v", got)
	}
}

// TestEqualFilesEqualDigests asserts that only the files count, not how the layer
// was packed.
func TestEqualFilesEqualDigests(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	write := func(order []string, mode int64) []byte {
		return archive(t, func(tw *tar.Writer) {
			for i, name := range order {
				must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: 1, Uid: i, ModTime: time.Unix(int64(i), mode)}))
				_, err := tw.Write([]byte("x"))
				must(t, err)
			}
		})
	}
	one := g.push("one", "latest", image(t, nil, layer(write([]string{"a", "b/c", "d"}, 0o644), contentType)))
	two := g.push("two", "latest", image(t, nil, layer(write([]string{"./d", "./a", "./b/c"}, 0o600), contentType)))
	g.create("one", nil)
	g.create("two", nil)
	a, b := g.Ready("one").Status.Artifact, g.Ready("two").Status.Artifact
	if one == two || a.Digest != b.Digest {
		t.Errorf("%s and %s gave %s and %s", one, two, a.Digest, b.Digest)
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	g.Secret("wrong", corev1.DockerConfigJsonKey, g.login("hunter2-hunter2"))
	g.Secret("elsewhere", corev1.DockerConfigJsonKey, `{"auths":{"ghcr.io":{"username":"robot","password":"`+password+`"}}}`)
	g.Secret("no-key", "password", password)
	g.Secret("broken", corev1.DockerConfigJsonKey, password)
	g.Secret("no-pem", "ca.crt", "certificate")
	must(t, g.C.Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: g.Meta("puller"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "elsewhere"}, {Name: "login"}},
	}))
	ref := func(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }
	for name, c := range map[string]struct {
		change func(*sourcev1.OCIRepositorySpec)
		reason string // "" for success
		texts  []string
	}{
		"secret":             {func(s *sourcev1.OCIRepositorySpec) {}, "", nil},
		"service-account":    {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef, s.ServiceAccountName = nil, "puller" }, "", nil},
		"anonymous":          {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = nil }, sourcev1.AuthenticationFailedReason, nil},
		"wrong-password":     {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = ref("wrong") }, sourcev1.AuthenticationFailedReason, []string{"refused"}},
		"missing":            {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = ref("gone") }, sourcev1.AuthenticationFailedReason, []string{"spec.secretRef", `"gone"`}},
		"another-registry":   {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = ref("elsewhere") }, sourcev1.AuthenticationFailedReason, []string{g.host()}},
		"without-the-key":    {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = ref("no-key") }, sourcev1.AuthenticationFailedReason, []string{".dockerconfigjson"}},
		"broken":             {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = ref("broken") }, sourcev1.AuthenticationFailedReason, []string{`"broken"`}},
		"no-account":         {func(s *sourcev1.OCIRepositorySpec) { s.SecretRef, s.ServiceAccountName = nil, "gone" }, sourcev1.AuthenticationFailedReason, []string{"spec.serviceAccountName"}},
		"unknown-authority":  {func(s *sourcev1.OCIRepositorySpec) { s.CertSecretRef = nil }, sourcev1.OCIPullFailedReason, []string{"certificate"}},
		"broken-certificate": {func(s *sourcev1.OCIRepositorySpec) { s.CertSecretRef = ref("no-pem") }, sourcev1.AuthenticationFailedReason, []string{"PEM"}},
		"no-proxy-secret":    {func(s *sourcev1.OCIRepositorySpec) { s.ProxySecretRef = ref("gone") }, sourcev1.AuthenticationFailedReason, []string{"spec.proxySecretRef"}},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) {
				s.URL = "oci://" + g.host() + "/app"
				c.change(s)
			})
			if c.reason == "" {
				g.Ready(name)
				return
			}
			if repo := g.Fails(name, c.reason, c.texts...); sourcetest.Stalled(repo) {
				t.Error("it waits for an edit, and a new Secret would do")
			}
		})
	}
	for _, e := range g.Told() {
		if strings.Contains(e, password) || strings.Contains(e, "hunter2") {
			t.Errorf("an event tells a password: %s", e)
		}
	}
}

// TestProxyAndInsecure asks a registry that exists only behind a proxy and speaks
// no TLS.
func TestProxyAndInsecure(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	back, err := url.Parse(g.back.URL)
	must(t, err)
	proxy := proxytest.Start(t, proxytest.Options{Username: "me", Password: "proxy-password", Forward: httputil.NewSingleHostReverseProxy(back)})
	g.Secret("proxy", "address", proxy.URL, "username", "me", "password", "proxy-password")
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.URL, s.SecretRef, s.CertSecretRef = "oci://registry.test/app", nil, nil
		s.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"}
	})
	g.Fails("app", sourcev1.OCIPullFailedReason)
	if hosts := proxy.Hosts(); len(hosts) > 0 {
		t.Errorf("%q were asked in plain text", hosts)
	}
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Insecure = true })
	g.Ready("app")
	if !slices.Contains(proxy.Hosts(), "registry.test") {
		t.Errorf("the proxy led to %q", proxy.Hosts())
	}
}

func TestHostileLayers(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.limits = artifact.FetcherOptions{MaxBytes: 1 << 20, MaxFiles: 50}
	g.restart()
	entry := func(h tar.Header) []byte {
		return archive(t, func(tw *tar.Writer) {
			must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "ok", Size: 0}))
			must(t, tw.WriteHeader(&h))
		})
	}
	for name, c := range map[string]struct {
		layer []byte
		text  string
	}{
		"parent":       {entry(tar.Header{Typeflag: tar.TypeReg, Name: "a/../../x"}), "x"},
		"absolute":     {entry(tar.Header{Typeflag: tar.TypeReg, Name: "/etc/x"}), "/etc/x"},
		"device":       {entry(tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}), "null"},
		"pipe":         {entry(tar.Header{Typeflag: tar.TypeFifo, Name: "pipe"}), "pipe"},
		"hard-link":    {entry(tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: "/etc/passwd"}), "link"},
		"bomb":         {tarball(t, map[string]string{"zeros": strings.Repeat("\x00", 2<<20)}), "1048576 bytes"},
		"files":        {archive(t, func(tw *tar.Writer) { many(t, tw, 60) }), "50 entries"},
		"no-archive":   {[]byte("PK\x03\x04"), "tar.gz"},
		"no-tar":       {append(tarball(t, nil)[:20], "rest"...), "tar.gz"},
		"empty":        {nil, "tar.gz"},
		"large-packed": {bytes.Repeat([]byte("x"), 2<<20), "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			g.push(name, "latest", image(t, nil, layer(c.layer, contentType)))
			g.create(name, nil)
			if repo := g.Fails(name, sourcev1.OCILayerOperationFailedReason, c.text); repo.Status.Artifact != nil {
				t.Errorf("something was published: %+v", repo.Status.Artifact)
			}
		})
	}
	g.push("links", "latest", image(t, nil, layer(archive(t, func(tw *tar.Writer) {
		must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a/ok"}))
		must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "/etc"}))
		must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "a/in", Linkname: "ok"}))
	}), contentType)))
	g.create("links", nil)
	if diff := cmp.Diff(map[string]string{"a/ok": ""}, g.Content(g.Ready("links").Status.Artifact)); diff != "" {
		t.Error(diff)
	}
	if left, err := os.ReadDir(g.Storage + "/.weir/unpacked"); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

func many(t *testing.T, tw *tar.Writer, n int) {
	for i := range n {
		must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i)}))
	}
}

// TestHostileRegistry answers with other things than asked for.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	other := tarball(t, map[string]string{"a": "evil"})
	for name, c := range map[string]struct{ part, body string }{
		"manifest": {"/manifests/sha256:", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`},
		"layer":    {"/blobs/", string(other)},
		"no-json":  {"/manifests/sha256:", "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			g.through(func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !strings.Contains(r.URL.Path, c.part) {
						h.ServeHTTP(w, r)
						return
					}
					w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
					_, _ = w.Write([]byte(c.body))
				})
			})
			g.create(name, func(s *sourcev1.OCIRepositorySpec) { s.URL = "oci://" + g.host() + "/app" })
			if repo := g.Fails(name, sourcev1.OCIPullFailedReason); repo.Status.Artifact != nil {
				t.Errorf("something was published: %+v", repo.Status.Artifact)
			}
			g.through(nil)
			g.Ready(name)
		})
	}
}

// TestLayerOfAnother asserts that naming the layer of somebody else's artifact in
// a manifest of one's own does not give its content.
func TestLayerOfAnother(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	secret := layer(tarball(t, map[string]string{"a": "secret"}), contentType)
	g.push("theirs", "latest", image(t, nil, secret))
	g.create("theirs", nil)
	g.Ready("theirs")
	g.push("mine", "latest", image(t, nil, secret))
	g.through(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/mine/blobs/") {
				http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	g.create("mine", nil)
	if repo := g.Fails("mine", sourcev1.OCIPullFailedReason, "not found"); repo.Status.Artifact != nil {
		t.Error("a layer that cannot be read was published")
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	g.create("app", nil)
	g.through(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "90")
			w.WriteHeader(http.StatusTooManyRequests)
		})
	})
	result, err := g.Loop.Reconcile(t.Context(), g.request("app"))
	if err != nil || result.RequeueAfter < 80*time.Second || result.RequeueAfter > 90*time.Second {
		t.Errorf("comes back after %s, %v; the registry asked for 90 s", result.RequeueAfter, err)
	}
	g.requests()
	g.Fails("app", sourcev1.OCIPullFailedReason, "too many requests")
	if asked := g.requests(); len(asked) > 0 {
		t.Errorf("a busy registry was asked %q", asked)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	release := make(chan struct{})
	defer close(release)
	g.through(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	})
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		d := duration.New(200 * time.Millisecond)
		s.Timeout = &d
	})
	g.Fails("app", sourcev1.OCIPullFailedReason, "spec.timeout of 200ms")
	g.through(nil)
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Timeout = nil }) // the rest may take as long as it takes
	g.Ready("app")
}

// TestShutdown asserts that a process which ends writes no failure.
func TestShutdown(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.create("app", nil)
	g.Reconcile("app") // claims the finalizer
	before := g.Get("app")
	ctx, cancel := context.WithCancel(t.Context())
	g.through(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
	})
	if _, err := g.Loop.Reconcile(ctx, g.request("app")); err == nil {
		t.Error("a cancelled reconciliation succeeded")
	}
	if g.Get("app").ResourceVersion != before.ResourceVersion {
		t.Error("status was written on the way out")
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "1"})
	g.create("app", nil)
	a := g.Ready("app").Status.Artifact
	g.files("app", "latest", map[string]string{"a": "2"})
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Suspend = true })
	g.requests()
	if repo := g.Reconcile("app"); repo.Status.Artifact.Digest != a.Digest || len(g.requests()) > 0 {
		t.Error("a suspended object was worked on")
	}
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Suspend = false })
	if repo := g.Ready("app"); repo.Status.Artifact.Digest == a.Digest {
		t.Error("resuming did nothing")
	}
}

// TestWipedStorage asserts that what is gone or damaged comes back with the same
// bytes, and is no news.
func TestWipedStorage(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, g *rig, a *meta.Artifact){
		"wiped and restarted": func(t *testing.T, g *rig, _ *meta.Artifact) {
			entries, err := os.ReadDir(g.Storage)
			must(t, err)
			for _, e := range entries {
				must(t, os.RemoveAll(g.Storage+"/"+e.Name()))
			}
			g.restart()
		},
		"wiped while running": func(t *testing.T, g *rig, _ *meta.Artifact) {
			must(t, os.RemoveAll(g.Storage+"/ocirepository"))
			must(t, os.RemoveAll(g.Storage+"/.weir"))
		},
		"damaged": func(t *testing.T, g *rig, a *meta.Artifact) {
			must(t, os.WriteFile(g.Storage+"/"+a.Path, []byte("damage"), 0o600))
		},
		"alias removed": func(t *testing.T, g *rig, a *meta.Artifact) {
			must(t, os.Remove(g.Storage+"/ocirepository/"+g.NS+"/app/latest.tar.gz"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.files("app", "latest", map[string]string{"a": "a"})
			g.create("app", nil)
			before := g.Ready("app").Status.Artifact
			g.Told()
			harm(t, g, before)
			repo := g.Ready("app")
			if repo.Status.Artifact.Digest != before.Digest || g.Content(repo.Status.Artifact)["a"] != "a" {
				t.Errorf("got %+v", repo.Status.Artifact)
			}
			g.Served("ocirepository/" + g.NS + "/app/latest.tar.gz")
			told := slices.DeleteFunc(g.Told(), func(e string) bool {
				return name == "damaged" && strings.HasPrefix(e, "Warning "+sourcev1.ArtifactVerificationFailedReason+" ")
			})
			if len(told) > 0 {
				t.Errorf("putting it back told %q", told)
			}
		})
	}
}

// TestWipedAndUnreachable asserts that status does not name what is not there.
func TestWipedAndUnreachable(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	g.create("app", nil)
	g.Ready("app")
	must(t, os.RemoveAll(g.Storage+"/ocirepository"))
	must(t, os.RemoveAll(g.Storage+"/.weir"))
	g.through(func(http.Handler) http.Handler { return http.NotFoundHandler() })
	repo := g.Fails("app", sourcev1.OCIPullFailedReason)
	if repo.Status.Artifact != nil || repo.Status.URL != "" || apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.ArtifactInStorageCondition) != nil {
		t.Errorf("status names what is gone: %+v", repo.Status)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	g.create("app", nil)
	repo := g.Ready("app")
	must(t, g.C.Delete(t.Context(), repo))
	if _, err := g.Loop.Reconcile(t.Context(), g.request("app")); err != nil {
		t.Fatal(err)
	}
	if err := g.C.Get(t.Context(), g.request("app").NamespacedName, repo); !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
	if _, err := os.Stat(g.Storage + "/ocirepository/" + g.NS + "/app"); !os.IsNotExist(err) {
		t.Errorf("the artifacts are still there: %v", err)
	}
}

// TestOldArtifacts asserts that what is named stays while it is named.
func TestOldArtifacts(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.create("app", nil)
	var last string
	for i := range 4 {
		g.files("app", "latest", map[string]string{"a": fmt.Sprint(i)})
		a := g.Ready("app").Status.Artifact
		g.Served(a.Path)
		if last != "" {
			g.Served(last) // a consumer may still be reading it
		}
		last = a.Path
	}
	entries, err := os.ReadDir(g.Storage + "/ocirepository/" + g.NS + "/app")
	must(t, err)
	if len(entries) != 3 { // two artifacts and their alias
		t.Errorf("got %d files, want 3", len(entries))
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	sum := g.pushIndex("app", "latest", image(t, nil, layer(tarball(t, map[string]string{"a": "arm"}), contentType)), image(t, nil, layer(tarball(t, map[string]string{"a": "amd"}), contentType)))
	g.create("app", nil)
	a := g.Ready("app").Status.Artifact
	if a.Revision != "latest@"+sum || g.Content(a)["a"] != "amd" {
		t.Errorf("got %s with %v", a.Revision, g.Content(a))
	}
}
