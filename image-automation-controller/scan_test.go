package main

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/testenv"
)

func TestScan(t *testing.T) {
	l := newLab(t, labOptions{})
	repo := l.repository("web", "1.0.0", "1.1.0", "sha256-0000.sig")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	l.ready(repo, metav1.ConditionTrue, meta.SucceededReason, "successful scan: found 2 tags with checksum sha256:")
	if repo.Status.CanonicalImageName != l.registry.image("web") {
		t.Errorf("canonical name %q", repo.Status.CanonicalImageName)
	}
	if diff := cmp.Diff([]string{"1.1.0", "1.0.0"}, repo.Status.LastScanResult.LatestTags); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`^.*\.sig$`}, repo.Status.ObservedExclusionList); diff != "" {
		t.Error(diff)
	}
	if told := l.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Normal Succeeded successful scan") {
		t.Errorf("events: %q", told)
	}

	first := repo.Status.LastScanResult.DeepCopy()
	seen, pulls := len(testenv.Audit(t)), l.registry.requests.Load()
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	// The reconciler reads the object and its Secret and writes its status; the
	// test itself reads once more.
	var requests []string
	for _, e := range testenv.Audit(t)[seen:] {
		if e.Verb != "watch" {
			requests = append(requests, e.String())
		}
	}
	if diff := cmp.Diff([]string{"get imagerepositories", "get secrets", "patch imagerepositories/status", "get imagerepositories"}, requests); diff != "" {
		t.Errorf("an unchanged scan cost other API requests: %s", diff)
	}
	if n := l.registry.requests.Load() - pulls; n != 1 {
		t.Errorf("an unchanged scan cost %d requests to the registry", n)
	}
	if told := l.told(); len(told) != 0 {
		t.Errorf("an unchanged scan told %q", told)
	}
	if repo.Status.LastScanResult.Revision != first.Revision {
		t.Error("an unchanged scan changed the revision")
	}

	l.registry.push("web", "2.0.0")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	l.ready(repo, metav1.ConditionTrue, meta.SucceededReason, "found 3 tags")
	if told := l.told(); len(told) != 1 || repo.Status.LastScanResult.Revision == first.Revision {
		t.Errorf("a new tag told %q, revision %s", told, repo.Status.LastScanResult.Revision)
	}
}

func TestScanRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	l.registry.push("web", "1.0.0")
	l.create(&corev1.Secret{ObjectMeta: l.meta("wrong"), Type: corev1.SecretTypeDockerConfigJson, Data: dockerConfig(l.registry.host, "wrong-password")})
	l.create(&corev1.Secret{ObjectMeta: l.meta("elsewhere"), Type: corev1.SecretTypeDockerConfigJson, Data: dockerConfig("ghcr.io", password)})
	l.create(&corev1.ServiceAccount{ObjectMeta: l.meta("puller"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}})
	secret := func(name string) func(*imagev1.ImageRepositorySpec) {
		return func(s *imagev1.ImageRepositorySpec) { s.SecretRef = &meta.LocalObjectReference{Name: name} }
	}
	l.create(&corev1.ServiceAccount{ObjectMeta: l.meta("puller-of-nothing")})
	for name, c := range map[string]struct {
		change func(*imagev1.ImageRepositorySpec)
		reason string
		text   string
		stall  bool
	}{
		"wrong-password":    {secret("wrong"), imagev1.AuthenticationFailedReason, "refused", false},
		"other-registry":    {secret("elsewhere"), imagev1.AuthenticationFailedReason, l.registry.host, false},
		"no-secret":         {secret("absent"), imagev1.AuthenticationFailedReason, `"absent"`, false},
		"not-docker":        {secret("git"), imagev1.AuthenticationFailedReason, ".dockerconfigjson", false},
		"anonymous":         {func(s *imagev1.ImageRepositorySpec) { s.SecretRef = nil }, imagev1.AuthenticationFailedReason, "refused", false},
		"no-repository":     {func(s *imagev1.ImageRepositorySpec) { s.Image = l.registry.image("nothing") }, imagev1.ReadOperationFailedReason, "not found", false},
		"tag-in-image":      {func(s *imagev1.ImageRepositorySpec) { s.Image += ":1.0.0" }, imagev1.ImageURLInvalidReason, `":1.0.0"`, true},
		"url-as-image":      {func(s *imagev1.ImageRepositorySpec) { s.Image = "https://" + s.Image }, imagev1.ImageURLInvalidReason, "https://", true},
		"provider":          {func(s *imagev1.ImageRepositorySpec) { s.Provider, s.SecretRef = "aws", nil }, imagev1.AuthenticationFailedReason, `is not one of the provider "aws"`, true},
		"provider-in-plain": {func(s *imagev1.ImageRepositorySpec) { s.Provider, s.SecretRef, s.Insecure = "gcp", nil, true }, imagev1.AuthenticationFailedReason, "spec.insecure", true},
		"provider-as-account": {func(s *imagev1.ImageRepositorySpec) {
			s.Provider, s.SecretRef, s.ServiceAccountName, s.Image = "gcp", nil, "puller-of-nothing", "gcr.io/project/app"
		}, meta.FeatureGateDisabledReason, "ObjectLevelWorkloadIdentity", true},
		"provider-and-secret": {func(s *imagev1.ImageRepositorySpec) { s.Provider = "azure" }, meta.SucceededReason, "found 1 tags", false},
		"bad-exclusion":       {func(s *imagev1.ImageRepositorySpec) { s.ExclusionList = []string{"a", "("} }, imagev1.ReadOperationFailedReason, "spec.exclusionList[1]", true},
		"service-account":     {func(s *imagev1.ImageRepositorySpec) { s.SecretRef, s.ServiceAccountName = nil, "puller" }, meta.SucceededReason, "found 1 tags", false},
		"no-account":          {func(s *imagev1.ImageRepositorySpec) { s.SecretRef, s.ServiceAccountName = nil, "nobody" }, imagev1.AuthenticationFailedReason, `"nobody"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			repo := &imagev1.ImageRepository{ObjectMeta: l.meta(name), Spec: imagev1.ImageRepositorySpec{
				Image: l.registry.image("web"), Interval: duration.New(time.Hour), Timeout: ptr(duration.New(20 * time.Second)),
				SecretRef: &meta.LocalObjectReference{Name: "registry"},
			}}
			c.change(&repo.Spec)
			l.create(repo)
			err := l.scan(repo)
			status := metav1.ConditionFalse
			if c.reason == meta.SucceededReason {
				status = metav1.ConditionTrue
			}
			l.ready(repo, status, c.reason, c.text)
			if stalled(repo) != c.stall || (err == nil) != (status == metav1.ConditionTrue) {
				t.Errorf("stalled %v, want %v; error %v", stalled(repo), c.stall, err)
			}
			for _, e := range l.told() {
				if strings.Contains(e, "wrong-password") || strings.Contains(e, password) {
					t.Errorf("an event tells a password: %q", e)
				}
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	storage := t.TempDir()
	l := newLab(t, labOptions{storage: storage})
	repo := l.repository("web", "1.0.0", "1.1.0", "main-7", "main-12")
	p := l.policy("web", "web", "1.x")
	if err := l.choose(p); err != nil {
		t.Fatal(err)
	}
	l.ready(p, metav1.ConditionFalse, imagev1.DependencyNotReadyReason, "has not been scanned")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	if err := l.choose(p); err != nil {
		t.Fatal(err)
	}
	image := l.registry.image("web")
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "Latest image tag for "+image+" resolved to 1.1.0")
	if p.Status.ObservedPreviousRef != nil {
		t.Errorf("previous %v, want none", p.Status.ObservedPreviousRef)
	}
	l.registry.push("web", "1.2.0")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	if err := l.choose(p); err != nil {
		t.Fatal(err)
	}
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to 1.2.0 (previously "+image+":1.1.0)")
	if diff := cmp.Diff(&imagev1.ImageRef{Name: image, Tag: "1.2.0"}, p.Status.LatestRef); diff != "" {
		t.Error(diff)
	}

	numbered := &imagev1.ImagePolicy{ObjectMeta: l.meta("numbered"), Spec: imagev1.ImagePolicySpec{
		ImageRepositoryRef: meta.NamespacedObjectReference{Name: "web"},
		Policy:             imagev1.ImagePolicyChoice{Numerical: &imagev1.NumericalPolicy{Order: "asc"}},
		FilterTags:         &imagev1.TagFilter{Pattern: `^main-(?P<n>\d+)$`, Extract: "$n"},
	}}
	l.create(numbered)
	if err := l.choose(numbered); err != nil {
		t.Fatal(err)
	}
	l.ready(numbered, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-12")

	for name, c := range map[string]struct {
		change func(*imagev1.ImagePolicySpec)
		reason string
		stall  bool
	}{
		"bad-range":  {func(s *imagev1.ImagePolicySpec) { s.Policy.SemVer.Range = "one" }, imagev1.InvalidPolicyReason, true},
		"no-policy":  {func(s *imagev1.ImagePolicySpec) { s.Policy.SemVer = nil }, imagev1.InvalidPolicyReason, true},
		"bad-filter": {func(s *imagev1.ImagePolicySpec) { s.FilterTags = &imagev1.TagFilter{Pattern: "("} }, imagev1.InvalidPolicyReason, true},
		"no-match":   {func(s *imagev1.ImagePolicySpec) { s.Policy.SemVer.Range = "9.x" }, imagev1.DependencyNotReadyReason, false},
		"no-repo":    {func(s *imagev1.ImagePolicySpec) { s.ImageRepositoryRef.Name = "absent" }, imagev1.DependencyNotReadyReason, false},
	} {
		bad := l.policyWith(name, c.change)
		_ = l.choose(bad)
		l.ready(bad, metav1.ConditionFalse, c.reason)
		if stalled(bad) != c.stall {
			t.Errorf("%s: stalled %v, want %v", name, stalled(bad), c.stall)
		}
	}

	// Another process, with an empty volume: what was chosen stays.
	again := newLab(t, labOptions{})
	again.ns, again.c = l.ns, l.c
	if err := again.choose(p); err != nil {
		t.Fatal(err)
	}
	again.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to 1.2.0 (previously "+image+":1.1.0)")
	if told := again.told(); len(told) != 0 {
		t.Errorf("a restart told %q", told)
	}
}

func (l *lab) policyWith(name string, change func(*imagev1.ImagePolicySpec)) *imagev1.ImagePolicy {
	l.t.Helper()
	p := &imagev1.ImagePolicy{ObjectMeta: l.meta(name), Spec: imagev1.ImagePolicySpec{
		ImageRepositoryRef: meta.NamespacedObjectReference{Name: "web"},
		Policy:             imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: "1.x"}},
	}}
	change(&p.Spec)
	l.create(p)
	return p
}

func TestDigestReflection(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	repo := l.repository("web")
	first := l.registry.push("web", "1.0.0")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	never := l.policyWith("never", func(*imagev1.ImagePolicySpec) {})
	once := l.policyWith("once", func(s *imagev1.ImagePolicySpec) { s.DigestReflectionPolicy = imagev1.ReflectIfNotPresent })
	always := l.policyWith("always", func(s *imagev1.ImagePolicySpec) {
		s.DigestReflectionPolicy, s.Interval = imagev1.ReflectAlways, ptr(duration.New(time.Minute))
	})
	check := func(p *imagev1.ImagePolicy, want string) {
		t.Helper()
		if err := l.choose(p); err != nil {
			t.Fatal(err)
		}
		if p.Status.LatestRef.Digest != want {
			t.Errorf("%s: digest %q, want %q", p.Name, p.Status.LatestRef.Digest, want)
		}
	}
	check(never, "")
	check(once, first)
	check(always, first)
	l.ready(always, metav1.ConditionTrue, meta.SucceededReason, "with digest "+first)
	second := l.registry.push("web", "1.0.0") // the tag moves
	check(never, "")
	check(once, first)
	check(always, second)
	third := l.registry.push("web", "1.1.0")
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	check(once, third)
}

func TestPolicyAcrossNamespaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		closed bool
		labels map[string]string
		want   string
	}{
		"turned off":      {closed: true, labels: map[string]string{}, want: imagev1.AccessDeniedReason},
		"not listed":      {labels: map[string]string{"no": "such"}, want: imagev1.AccessDeniedReason},
		"open to all":     {labels: map[string]string{}, want: meta.SucceededReason},
		"listed by label": {labels: nil, want: meta.SucceededReason},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, labOptions{noCrossNamespace: c.closed})
			repo := l.repository("web", "1.0.0")
			other := testenv.Namespace(t)
			if c.labels == nil {
				c.labels = map[string]string{"kubernetes.io/metadata.name": other}
			}
			l.update(repo, func() {
				repo.Spec.AccessFrom = &acl.AccessFrom{NamespaceSelectors: []acl.NamespaceSelector{{MatchLabels: c.labels}}}
			})
			if err := l.scan(repo); err != nil {
				t.Fatal(err)
			}
			p := &imagev1.ImagePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "web"}, Spec: imagev1.ImagePolicySpec{
				ImageRepositoryRef: meta.NamespacedObjectReference{Namespace: l.ns, Name: "web"},
				Policy:             imagev1.ImagePolicyChoice{Alphabetical: &imagev1.AlphabeticalPolicy{}},
			}}
			l.create(p)
			_ = l.choose(p)
			status := metav1.ConditionFalse
			if c.want == meta.SucceededReason {
				status = metav1.ConditionTrue
			}
			l.ready(p, status, c.want)
		})
	}
}
