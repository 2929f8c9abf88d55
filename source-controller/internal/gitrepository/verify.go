package gitrepository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/source-controller/internal/cause"
	"github.com/weirhq/weir/source-controller/internal/gitrepository/gitsignature"
)

var (
	errTrust           = errors.New("spec.verify.secretRef")
	errCommitSignature = errors.New("verifying the commit")
	errTagSignature    = errors.New("verifying the tag")
	errNoTag           = errors.New("there is no tag to verify")
)

// maxTags bounds tags that point at tags.
const maxTags = 5

// trust is what spec.verify asks for.
type trust struct {
	spec *sourcev1.GitRepositoryVerification
	keys *gitsignature.Keys
	id   [sha256.Size]byte // of the mode and of the Secret's content
}

// trust reads spec.verify and its Secret; nil when nothing is to be verified.
func (r *Reconciler) trust(ctx context.Context, repo *sourcev1.GitRepository) (*trust, error) {
	spec := repo.Spec.Verification
	if spec == nil {
		return nil, nil
	}
	if m := spec.Mode; !m.Valid() && m != "" && m != "head" { // the schema allows no other
		return nil, loop.Stall(sourcev1.InvalidVerificationModeReason, fmt.Errorf("spec.verify.mode %q is not known: use \"HEAD\", \"Tag\" or \"TagAndHEAD\"", spec.Mode))
	}
	secret, err := secrets.Get(ctx, r.o.Client, repo.Namespace, spec.SecretRef.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTrust, err)
	}
	t := &trust{spec: spec}
	if t.keys, err = gitsignature.NewKeys(secret.Data); err != nil {
		return nil, fmt.Errorf("%w: secret %q: %w", errTrust, spec.SecretRef.Name, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", spec.GetMode())
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		fmt.Fprintf(h, "%q %q\n", name, secret.Data[name])
	}
	h.Sum(t.id[:0])
	return t, nil
}

// proof names a revision that was found to be signed as t asks for.
func (t *trust) proof(revision gitrepo.Revision) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %x", revision, revision.Tag, t.id)
}

// fetch brings the commit, and the tag where that is to be verified.
func (t *trust) fetch(ctx context.Context, remote *gitrepo.Repo, revision gitrepo.Revision) (gitrepo.Commit, error) {
	if t == nil || !t.spec.VerifyTag() {
		return remote.Fetch(ctx, revision)
	}
	if revision.Tag == "" {
		return gitrepo.Commit{}, fmt.Errorf("%w: spec.verify.mode is %q, and %q is no annotated tag", errNoTag, t.spec.GetMode(), revision)
	}
	return remote.FetchTag(ctx, revision)
}

// verify returns what to say of the signatures of the commit that v shows.
func (t *trust) verify(v *gitrepo.View, revision gitrepo.Revision) (string, error) {
	var said strings.Builder
	said.WriteString("verified signature of")
	if t.spec.VerifyTag() {
		key, err := t.tag(v, revision)
		if err != nil {
			return "", fmt.Errorf("%w %q: %w", errTagSignature, revision.Ref, err)
		}
		fmt.Fprintf(&said, "\n\t- tag '%s' with key '%s'", revision, key)
	}
	if t.spec.VerifyHEAD() {
		raw, err := v.RawCommit()
		if err != nil {
			return "", err
		}
		key, err := t.keys.Commit(raw)
		if err != nil {
			return "", fmt.Errorf("%w %q: %w", errCommitSignature, revision.Hash, err)
		}
		fmt.Fprintf(&said, "\n\t- commit '%s' with key '%s'", revision.Hash, key)
	}
	return said.String(), nil
}

// tag verifies the annotated tag, that it bears the name it was asked for by, and
// that it leads to the commit that is packed.
func (t *trust) tag(v *gitrepo.View, revision gitrepo.Revision) (string, error) {
	raw, err := v.RawTag(revision.Tag)
	if err != nil {
		return "", err
	}
	key, err := t.keys.Tag(raw)
	if err != nil {
		return "", err
	}
	object, kind, name := target(raw)
	if short, ok := strings.CutPrefix(revision.Name, "refs/tags/"); ok && name != short {
		return "", fmt.Errorf("%w: it was made for the tag %q: another name was put on it", gitsignature.ErrSignature, name)
	}
	for range maxTags {
		if kind == "commit" && object == revision.Hash {
			return key, nil
		}
		if kind != "tag" {
			break
		}
		if raw, err = v.RawTag(object); err != nil {
			return "", err
		}
		object, kind, _ = target(raw)
	}
	return "", fmt.Errorf("%w: the tag does not lead to the commit %q", gitsignature.ErrSignature, revision.Hash)
}

// target reads the first three headers of a raw tag, which git writes in this
// order. One of another form leads nowhere.
func target(raw []byte) (object, kind, name string) {
	lines := strings.SplitN(string(raw), "\n", 4)
	if len(lines) < 4 {
		return "", "", ""
	}
	object, ok1 := strings.CutPrefix(lines[0], "object ")
	kind, ok2 := strings.CutPrefix(lines[1], "type ")
	name, ok3 := strings.CutPrefix(lines[2], "tag ")
	if !ok1 || !ok2 || !ok3 {
		return "", "", ""
	}
	return object, kind, name
}

// verified tells whether status says of the revision what is to be verified, and
// this process has verified it with the keys of now.
func (r *Reconciler) verified(repo *sourcev1.GitRepository, t *trust, revision gitrepo.Revision) bool {
	mode, c := repo.Status.SourceVerificationMode, apimeta.FindStatusCondition(repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
	if t == nil {
		return mode == nil && c == nil
	}
	known, _ := r.proofs.Load(repo.UID)
	return known == t.proof(revision) && mode != nil && *mode == t.spec.GetMode() && c != nil && c.Status == metav1.ConditionTrue
}

// trusted says in status that the revision was verified, or that nothing was.
func (r *Reconciler) trusted(repo *sourcev1.GitRepository, t *trust, revision gitrepo.Revision, said string) {
	if t == nil {
		r.proofs.Delete(repo.UID)
		repo.Status.SourceVerificationMode = nil
		apimeta.RemoveStatusCondition(&repo.Status.Conditions, sourcev1.SourceVerifiedCondition)
		return
	}
	r.proofs.Store(repo.UID, t.proof(revision))
	mode := t.spec.GetMode()
	repo.Status.SourceVerificationMode = &mode
	apimeta.SetStatusCondition(&repo.Status.Conditions, metav1.Condition{
		Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionTrue, ObservedGeneration: repo.Generation,
		Reason: meta.SucceededReason, Message: said,
	})
}

// distrusted says in status that err kept the revision from being verified, if it
// is of that kind.
func distrusted(repo *sourcev1.GitRepository, err error) {
	c := cause.Find(distrust, err)
	if c == nil {
		return
	}
	apimeta.SetStatusCondition(&repo.Status.Conditions, metav1.Condition{
		Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionFalse, ObservedGeneration: repo.Generation,
		Reason: c.Reason, Message: secrets.Redact(err.Error()),
	})
}
