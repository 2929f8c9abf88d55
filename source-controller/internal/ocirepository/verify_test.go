package ocirepository

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	st "github.com/weirhq/weir/source-controller/internal/signature/signaturetest"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// artifact is where the tests sign: the registry without password.
func (g *rig) artifact(repository, digest string) name.Digest {
	g.T.Helper()
	d, err := name.NewDigest(strings.TrimPrefix(g.back.URL, "http://") + "/" + repository + "@" + digest)
	must(g.T, err)
	return d
}

func secretRef(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }

// condition holds SourceVerified of an object.
func (g *rig) condition(repo *sourcev1.OCIRepository, status metav1.ConditionStatus, text string) {
	g.T.Helper()
	c := apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
	switch {
	case status == "" && c != nil:
		g.T.Errorf("SourceVerified is %+v, want none", c)
	case status != "" && (c == nil || c.Status != status || c.ObservedGeneration != repo.Generation || !strings.Contains(c.Message, text)):
		g.T.Errorf("SourceVerified is %+v, want %s with %q", c, status, text)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	key := st.NewKey(t)
	g.Secret("keys", "cosign.pub", string(st.PEM(t, key)))
	sign := func(digest string) {
		st.PutLayers(t, g.artifact("app", digest), st.KeyLayer(t, key, st.Payload(digest)))
	}
	first := g.files("app", "latest", map[string]string{"a": "first"})
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.Verify = &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("keys")}
	})
	repo := g.Fails("app", sourcev1.VerificationError, "no signature", first)
	g.condition(repo, metav1.ConditionFalse, "no signature")
	if repo.Status.Artifact != nil {
		t.Fatal("an artifact without a signature was published")
	}

	sign(first)
	repo = g.Ready("app")
	g.condition(repo, metav1.ConditionTrue, "verified signature of revision latest@"+first)
	g.requests()
	g.Ready("app")
	if diff := cmp.Diff([]string{"HEAD /v2/app/manifests/latest"}, g.requests()); diff != "" {
		t.Errorf("a verified revision costs more than a look: %s", diff)
	}

	second := g.files("app", "latest", map[string]string{"a": "second"})
	repo = g.Fails("app", sourcev1.VerificationError, second)
	if repo.Status.Artifact == nil || g.Content(repo.Status.Artifact)["a"] != "first" {
		t.Error("the verified artifact was withdrawn or replaced")
	}
	sign(second)
	if repo = g.Ready("app"); g.Content(repo.Status.Artifact)["a"] != "second" {
		t.Error("the signed artifact was not published")
	}
	g.condition(repo, metav1.ConditionTrue, second)

	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Verify = nil })
	g.condition(g.Ready("app"), "", "")
}

// TestVerifyWhatIsThere asserts that a revision which was published before
// verification was asked for is verified too, also when the tag was away from it
// in the meantime.
func TestVerifyWhatIsThere(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	key := st.NewKey(t)
	g.Secret("keys", "cosign.pub", string(st.PEM(t, key)))
	old := image(t, nil, layer(tarball(t, map[string]string{"a": "unsigned"}), contentType))
	g.push("app", "latest", old)
	g.create("app", nil)
	g.Ready("app")
	g.update("app", func(s *sourcev1.OCIRepositorySpec) {
		s.Verify = &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("keys")}
	})
	g.Fails("app", sourcev1.VerificationError, "no signature")

	signed := g.push("app", "latest", image(t, nil, layer([]byte("no archive"), contentType)))
	st.PutBundle(t, g.artifact("app", signed), st.KeyBundle(t, key, st.Statement(signed, st.SignPredicate)))
	g.condition(g.Fails("app", sourcev1.OCILayerOperationFailedReason), metav1.ConditionTrue, signed)

	g.push("app", "latest", old)
	g.condition(g.Fails("app", sourcev1.VerificationError, "no signature"), metav1.ConditionFalse, "")
}

func TestVerifyKeyless(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	sigstore := st.NewSigstore(t)
	g.Secret("root", "trusted_root.json", string(sigstore.TrustedRoot(t, st.Root{})))
	sum := g.files("app", "latest", map[string]string{"a": "a"})
	st.PutBundle(t, g.artifact("app", sum), sigstore.Bundle(t, "ci@example.com", "https://issuer.test", st.Statement(sum, st.SignPredicate)))
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.Verify = &sourcev1.OCIRepositoryVerification{Provider: "cosign", TrustedRootSecretRef: secretRef("root"),
			MatchOIDCIdentity: []sourcev1.OIDCIdentityMatch{{Issuer: "^https://issuer.test$", Subject: "^else@"}}}
	})
	g.Fails("app", sourcev1.VerificationError, "identity")
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Verify.MatchOIDCIdentity[0].Subject = "^ci@example.com$" })
	g.condition(g.Ready("app"), metav1.ConditionTrue, sum)
}

func TestVerifyNotation(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	notary := st.NewNotary()
	g.Secret("policy", "trustpolicy.json", string(st.Policy("strict", "*")), "root.crt", string(notary.Root()))
	g.Secret("skip", "trustpolicy.json", string(st.Policy("skip", "*")), "root.crt", string(notary.Root()))
	sum := g.files("app", "latest", map[string]string{"a": "a"})
	g.create("app", func(s *sourcev1.OCIRepositorySpec) {
		s.Verify = &sourcev1.OCIRepositoryVerification{Provider: "notation", SecretRef: secretRef("policy")}
	})
	g.Fails("app", sourcev1.VerificationError, "no signature")
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Verify.SecretRef = secretRef("skip") })
	g.condition(g.Ready("app"), "", "")
	notary.Sign(t, g.artifact("app", sum), st.JWS, 0)
	g.update("app", func(s *sourcev1.OCIRepositorySpec) { s.Verify.SecretRef = secretRef("policy") })
	g.condition(g.Ready("app"), metav1.ConditionTrue, sum)
}

func TestVerifySpec(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.files("app", "latest", map[string]string{"a": "a"})
	g.Secret("empty")
	g.Secret("keys", "cosign.pub", string(st.PEM(t, st.NewKey(t))))
	identity := []sourcev1.OIDCIdentityMatch{{Issuer: "a", Subject: "b"}}
	for name, c := range map[string]struct {
		verify sourcev1.OCIRepositoryVerification
		text   string
		stalls bool
	}{
		"notation-alone":    {sourcev1.OCIRepositoryVerification{Provider: "notation"}, "spec.verify.secretRef", true},
		"notation-identity": {sourcev1.OCIRepositoryVerification{Provider: "notation", SecretRef: secretRef("keys"), MatchOIDCIdentity: identity}, "spec.verify.matchOIDCIdentity", true},
		"notation-root":     {sourcev1.OCIRepositoryVerification{Provider: "notation", SecretRef: secretRef("keys"), TrustedRootSecretRef: secretRef("keys")}, "spec.verify.trustedRootSecretRef", true},
		"keys-and-identity": {sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("keys"), MatchOIDCIdentity: identity}, "spec.verify.matchOIDCIdentity", true},
		"keys-and-root":     {sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("keys"), TrustedRootSecretRef: secretRef("keys")}, "spec.verify.trustedRootSecretRef", true},
		"no-secret":         {sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("gone")}, `"gone"`, false},
		"no-keys":           {sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: secretRef("empty")}, ".pub", false},
		"no-policy":         {sourcev1.OCIRepositoryVerification{Provider: "notation", SecretRef: secretRef("empty")}, "trustpolicy.json", false},
		"no-root-secret":    {sourcev1.OCIRepositoryVerification{Provider: "cosign", TrustedRootSecretRef: secretRef("gone")}, `"gone"`, false},
		"no-root":           {sourcev1.OCIRepositoryVerification{Provider: "cosign", TrustedRootSecretRef: secretRef("empty")}, "trusted_root.json", false},
		"no-public-root":    {sourcev1.OCIRepositoryVerification{Provider: "cosign", MatchOIDCIdentity: identity}, "spec.verify.trustedRootSecretRef", false},
	} {
		t.Run(name, func(t *testing.T) {
			g.create(name, func(s *sourcev1.OCIRepositorySpec) { s.URL, s.Verify = "oci://"+g.host()+"/app", &c.verify })
			repo := g.Fails(name, sourcev1.VerificationError, c.text)
			if sourcetest.Stalled(repo) != c.stalls || repo.Status.Artifact != nil {
				t.Errorf("stalled is %t, want %t; artifact %v", sourcetest.Stalled(repo), c.stalls, repo.Status.Artifact)
			}
			g.condition(repo, metav1.ConditionFalse, c.text)
			must(t, g.C.Delete(t.Context(), repo, client.GracePeriodSeconds(0)))
		})
	}
}
