package gitrepository

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

// signer is an SSH key that git on the server signs with.
type signer struct{ file, public string }

func newSigner(t *testing.T) signer {
	t.Helper()
	private, public, err := gitserver.NewIdentity("")
	must(t, err)
	s := signer{filepath.Join(t.TempDir(), "key"), string(public)}
	must(t, os.WriteFile(s.file, private, 0o600))
	must(t, os.WriteFile(s.file+".pub", public, 0o600))
	return s
}

// sign replaces the tip of the branch by a signed commit of the same tree.
func (g *rig) sign(name string, s signer, message string) string {
	g.T.Helper()
	run := func(args ...string) string {
		out, err := g.git.Git(name, args...)
		if err != nil {
			g.T.Fatal(err)
		}
		return out
	}
	hash := run("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.file, "commit-tree", "-S", "-m", message, "-p", "refs/heads/main", "refs/heads/main^{tree}")
	run("update-ref", "refs/heads/main", hash)
	return hash
}

func (g *rig) signTag(name string, s signer, tag string) {
	g.T.Helper()
	if _, err := g.git.Git(name, "-c", "gpg.format=ssh", "-c", "user.signingkey="+s.file, "tag", "-f", "-s", "-m", "a release", tag, "refs/heads/main"); err != nil {
		g.T.Fatal(err)
	}
}

func (g *rig) keys(s signer) {
	g.T.Helper()
	g.Secret("keys", "anna.sshpub", s.public)
}

func verifying(mode sourcev1.GitVerificationMode) func(*sourcev1.GitRepository) {
	return func(r *sourcev1.GitRepository) {
		r.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: mode, SecretRef: meta.LocalObjectReference{Name: "keys"}}
	}
}

func TestVerifyCommit(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	anna, other := newSigner(t), newSigner(t)
	g.keys(anna)
	g.init("app", map[string]string{"a.yaml": "1"})
	g.create("app", verifying(sourcev1.ModeGitHEAD))
	verified := func(repo *sourcev1.GitRepository) *metav1.Condition {
		return apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
	}

	repo := g.Fails("app", sourcev1.InvalidCommitSignatureReason, "not signed")
	if c := verified(repo); repo.Status.Artifact != nil || c == nil || c.Status != metav1.ConditionFalse || c.Reason != sourcev1.InvalidCommitSignatureReason {
		t.Fatalf("an unsigned commit: %+v", repo.Status)
	}
	hash := g.sign("app", anna, "signed")
	repo = g.Ready("app")
	if c := verified(repo); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, hash) || !strings.Contains(c.Message, "SHA256:") {
		t.Fatalf("a signed commit: %+v", repo.Status)
	}
	if m := repo.Status.SourceVerificationMode; m == nil || *m != sourcev1.ModeGitHEAD || !strings.HasSuffix(repo.Status.Artifact.Revision, hash) {
		t.Errorf("status is %+v", repo.Status)
	}
	if now := g.Ready("app"); now.ResourceVersion != repo.ResourceVersion {
		t.Error("the object was written at rest")
	}

	g.sign("app", other, "signed by another")
	if now := g.Fails("app", sourcev1.InvalidCommitSignatureReason, "not trusted"); now.Status.Artifact.Revision != repo.Status.Artifact.Revision {
		t.Errorf("published is %+v", now.Status.Artifact)
	}
	g.keys(other) // another key in the Secret, and no new commit
	second := g.Ready("app")
	g.keys(anna)
	if now := g.Fails("app", sourcev1.InvalidCommitSignatureReason, "not trusted"); now.Status.Artifact.Digest != second.Status.Artifact.Digest {
		t.Errorf("published is %+v", now.Status.Artifact)
	}
	g.Update("app", func(r *sourcev1.GitRepository) { r.Spec.Verification = nil })
	if now := g.Ready("app"); verified(now) != nil || now.Status.SourceVerificationMode != nil {
		t.Errorf("without spec.verify: %+v", now.Status)
	}
	g.Update("app", verifying(sourcev1.ModeGitHEAD))
	g.Fails("app", sourcev1.InvalidCommitSignatureReason, "not trusted")
}

func TestVerifyTag(t *testing.T) {
	t.Parallel()
	g := newRig(t, gitserver.Options{})
	anna, other := newSigner(t), newSigner(t)
	g.keys(anna)
	g.init("app", map[string]string{"a.yaml": "1"})
	g.create("app", nil) // the mirror has the commit before anybody asks for a tag
	g.Ready("app")
	g.signTag("app", anna, "v1.0.0")
	follow := func(name, tag string, mode sourcev1.GitVerificationMode) {
		g.create(name, func(r *sourcev1.GitRepository) {
			verifying(mode)(r)
			r.Spec.URL, r.Spec.Reference = g.git.URL("app"), &sourcev1.GitRepositoryRef{Tag: tag}
		})
	}
	follow("tag", "v1.0.0", sourcev1.ModeGitTag)
	repo := g.Ready("tag")
	if m := repo.Status.SourceVerificationMode; m == nil || *m != sourcev1.ModeGitTag || !strings.HasPrefix(repo.Status.Artifact.Revision, "v1.0.0@sha1:") {
		t.Errorf("status is %+v", repo.Status)
	}
	follow("both", "v1.0.0", sourcev1.ModeGitTagAndHEAD)
	g.Fails("both", sourcev1.InvalidCommitSignatureReason, "not signed")
	g.sign("app", anna, "signed")
	g.signTag("app", anna, "v2.0.0")
	follow("both2", "v2.0.0", sourcev1.ModeGitTagAndHEAD)
	if c := apimeta.FindStatusCondition(g.Ready("both2").Status.Conditions, sourcev1.SourceVerifiedCondition); strings.Count(c.Message, "SHA256:") != 2 {
		t.Errorf("the condition says %q", c.Message)
	}

	g.signTag("app", other, "v3.0.0")
	follow("stranger", "v3.0.0", sourcev1.ModeGitTag)
	g.Fails("stranger", sourcev1.InvalidTagSignatureReason, "not trusted")
	if _, err := g.git.Git("app", "update-ref", "refs/tags/v4.0.0", "refs/tags/v1.0.0"); err != nil {
		t.Fatal(err)
	}
	follow("renamed", "v4.0.0", sourcev1.ModeGitTag)
	g.Fails("renamed", sourcev1.InvalidTagSignatureReason, "v1.0.0")
	if err := g.git.Tag("app", "light", "refs/heads/main", ""); err != nil {
		t.Fatal(err)
	}
	follow("light", "light", sourcev1.ModeGitTag)
	g.Fails("light", sourcev1.InvalidGitObjectReason, "annotated")
}

// Both signatures have to be good: of a tag and its commit, each bad one is refused.
func TestVerifyTagAndHEAD(t *testing.T) {
	g := newRig(t, gitserver.Options{})
	anna, other := newSigner(t), newSigner(t)
	g.keys(anna)
	unsigned := signer{}
	for name, c := range map[string]struct {
		head, tag    signer
		reason, text string
	}{
		"good":              {anna, anna, meta.SucceededReason, ""},
		"strange-head":      {other, anna, sourcev1.InvalidCommitSignatureReason, "not trusted"},
		"unsigned-head":     {unsigned, anna, sourcev1.InvalidCommitSignatureReason, "not signed"},
		"strange-tag":       {anna, other, sourcev1.InvalidTagSignatureReason, "not trusted"},
		"unsigned-tag":      {anna, unsigned, sourcev1.InvalidTagSignatureReason, "not signed"},
		"both-strange":      {other, other, sourcev1.InvalidTagSignatureReason, "not trusted"},
		"neither-is-signed": {unsigned, unsigned, sourcev1.InvalidTagSignatureReason, "not signed"},
	} {
		g.init(name, map[string]string{"a.yaml": name})
		if c.head != unsigned {
			g.sign(name, c.head, "a commit")
		}
		if c.tag != unsigned {
			g.signTag(name, c.tag, "v1.0.0")
		} else if err := g.git.Tag(name, "v1.0.0", "refs/heads/main", "a release"); err != nil {
			t.Fatal(err)
		}
		g.create(name, func(r *sourcev1.GitRepository) {
			verifying(sourcev1.ModeGitTagAndHEAD)(r)
			r.Spec.Reference = &sourcev1.GitRepositoryRef{Tag: "v1.0.0"}
		})
		if c.reason == meta.SucceededReason {
			if m := g.Ready(name).Status.SourceVerificationMode; m == nil || *m != sourcev1.ModeGitTagAndHEAD {
				t.Errorf("%s: the mode is %v", name, m)
			}
			continue
		}
		if repo := g.Fails(name, c.reason, c.text); repo.Status.Artifact != nil {
			t.Errorf("%s: published is %+v", name, repo.Status.Artifact)
		}
	}
}
