// Package imageupdate writes the images that policies have chosen into a Git
// repository.
//
// There is no work tree. The files are read from the mirror's object store, the
// marked scalars are changed, and blobs, trees and a commit are written there
// and pushed. When the branch moved meanwhile, the update is made anew on top of
// what is there now, so that nobody's commit is lost.
package imageupdate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/marker"
	"github.com/weirhq/weir/image-automation-controller/internal/pullrequest"
	"github.com/weirhq/weir/image-automation-controller/internal/signing"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// defaultTimeout bounds a run when the GitRepository does not.
const defaultTimeout = time.Minute

// Reconciler runs automations.
type Reconciler struct {
	Client client.Reader // GitRepositories and ImagePolicies, from the cache
	Live   client.Reader // Secrets
	Git    *gitrepo.Pool
	Auth   *gitauth.Reader
	Now    func() time.Time
	// NoCrossNamespaceRefs forbids sources of other namespaces.
	NoCrossNamespaceRefs bool
	// ForcePush starts a separate push branch from the checkout each time.
	ForcePush bool

	index  index
	lines  lines
	pulls  pulls
	missed missed
}

// Reconcile commits and pushes what the policies ask for.
func (r *Reconciler) Reconcile(ctx context.Context, auto *imagev1.ImageUpdateAutomation) (loop.Done, error) {
	source, err := r.source(ctx, auto)
	if err != nil {
		return loop.Done{}, err
	}
	plan, err := makePlan(auto, source)
	if err != nil {
		return loop.Done{}, err
	}
	policies, values, err := r.policies(ctx, auto)
	if err != nil {
		return loop.Done{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeoutOf(source))
	defer cancel()
	repo, auth, err := r.open(ctx, source)
	if err != nil {
		return loop.Done{}, err
	}
	host, err := r.host(ctx, auto, source, plan, auth)
	if err != nil {
		return loop.Done{}, err
	}
	sign, err := r.signer(ctx, auto)
	if err != nil {
		return loop.Done{}, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("spec.git.commit.signingKey: %w", err))
	}
	t := &task{
		plan: plan, repo: repo, host: host, auto: auto, values: values, sign: sign, force: r.ForcePush, index: &r.index, pulls: &r.pulls, now: r.Now,
		known: pushedAlready(auto, policies), setters: reportUnknown(ctx),
	}
	release, err := r.lines.enter(ctx, source.Spec.URL+"\n"+plan.line())
	if err != nil {
		return loop.Done{}, loop.Retry(imagev1.GitOperationFailedReason, fmt.Errorf("waiting for other automations of the same branch: %w", err))
	}
	defer release()
	result, err := t.run(ctx)
	if err != nil && result.Commit == "" {
		return loop.Done{}, classify(err)
	}
	r.missed.fill(client.ObjectKeyFromObject(auto), auto.Status.LastPushCommit, &result)
	done := r.finish(auto, plan, policies, result)
	if err != nil { // the commit is pushed and told, its pull request is not there
		return done, classify(err)
	}
	return done, nil
}

// Finalize forgets what was remembered; mirrors are shared and bounded.
func (r *Reconciler) Finalize(_ context.Context, auto *imagev1.ImageUpdateAutomation) error {
	r.pulls.forget(client.ObjectKeyFromObject(auto))
	r.missed.forget(client.ObjectKeyFromObject(auto))
	return nil
}

// timeoutOf is how long a run may take: as long as the source's own reconciliations.
func timeoutOf(source *sourcev1.GitRepository) time.Duration {
	if t := source.Spec.Timeout; t != nil && t.Duration > 0 {
		return t.Duration
	}
	return defaultTimeout
}

// finish records the run in status.
func (r *Reconciler) finish(auto *imagev1.ImageUpdateAutomation, p plan, policies imagev1.ObservedPolicies, result result) loop.Done {
	now := metav1.NewTime(r.Now())
	auto.Status.LastAutomationRunTime = &now
	auto.Status.ObservedPolicies = policies
	auto.Status.ObservedSourceRevision = result.Source.String()
	done := loop.Done{Message: "repository up-to-date", Metadata: map[string]string{"revision": result.Source.String()}}
	if pull := result.Pull; pull.Number != 0 {
		done.Message = fmt.Sprintf("branch '%s' up-to-date: pull request %s is %s", result.Branch, pull.URL, map[bool]string{true: "open", false: "closed"}[pull.Open])
		done.Metadata["change_request"] = strconv.FormatInt(pull.Number, 10)
		done.Changed, done.Event = pull.Created, fmt.Sprintf("opened pull request %s", pull.URL)
	}
	if result.Commit == "" {
		if !done.Changed {
			done.Event = ""
		}
		return done
	}
	pushed := gitrepo.Revision{Ref: result.Branch, Hash: result.Commit}
	if p.Branch != "" && !p.Separate {
		pushed.Name = result.Source.Name
		pushed.Ref = result.Source.Ref
		auto.Status.ObservedSourceRevision = pushed.String()
	}
	auto.Status.LastPushCommit, auto.Status.LastPushTime = result.Commit, &now
	done.Changed, done.Event = true, describe(p, result)
	done.Metadata["revision"] = pushed.String()
	return done
}

// describe is the event of a push.
func describe(p plan, result result) string {
	text := fmt.Sprintf("pushed commit '%s' to ", result.Commit[:min(7, len(result.Commit))])
	if result.Branch != "" {
		text += fmt.Sprintf("branch '%s'", result.Branch)
	}
	if p.Refspec != "" {
		if result.Branch != "" {
			text += " and "
		}
		text += fmt.Sprintf("refspecs '%s'", p.Refspec)
	}
	if result.Pull.URL != "" {
		text += " for pull request " + result.Pull.URL
	}
	return text + "\n" + result.Message
}

// sourceKey is the GitRepository that an automation writes to.
func sourceKey(auto *imagev1.ImageUpdateAutomation) client.ObjectKey {
	ref := auto.Spec.SourceRef
	return client.ObjectKey{Namespace: cmp.Or(ref.Namespace, auto.Namespace), Name: ref.Name}
}

// source gets the GitRepository.
func (r *Reconciler) source(ctx context.Context, auto *imagev1.ImageUpdateAutomation) (*sourcev1.GitRepository, error) {
	key := sourceKey(auto)
	if key.Namespace != auto.Namespace && r.NoCrossNamespaceRefs {
		return nil, loop.Stall(imagev1.AccessDeniedReason, fmt.Errorf("access to the GitRepository %q is denied: references to other namespaces are turned off (--no-cross-namespace-refs)", key))
	}
	source := &sourcev1.GitRepository{}
	err := r.Client.Get(ctx, key, source)
	if apierrors.IsNotFound(err) {
		return nil, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("there is no GitRepository %q; create it or correct spec.sourceRef", key))
	}
	if err != nil {
		return nil, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("reading the GitRepository %q: %w", key, err))
	}
	return source, nil
}

// policies lists the ImagePolicies of the namespace that the selector lets
// through and that have chosen an image.
func (r *Reconciler) policies(ctx context.Context, auto *imagev1.ImageUpdateAutomation) (imagev1.ObservedPolicies, marker.Values, error) {
	selector := labels.Everything()
	if auto.Spec.PolicySelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(auto.Spec.PolicySelector); err != nil {
			return nil, nil, loop.Stall(imagev1.InvalidPolicySelectorReason, fmt.Errorf("spec.policySelector: %w", err))
		}
	}
	list := &imagev1.ImagePolicyList{}
	if err := r.Client.List(ctx, list, client.InNamespace(auto.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, nil, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("listing the image policies: %w", err))
	}
	observed, values := imagev1.ObservedPolicies{}, marker.Values{}
	for _, policy := range list.Items {
		ref := policy.Status.LatestRef
		if ref == nil || !policy.DeletionTimestamp.IsZero() {
			continue
		}
		observed[policy.Name] = *ref
		values.Add(policy.Namespace, policy.Name, marker.Ref{Name: ref.Name, Tag: ref.Tag, Digest: ref.Digest})
	}
	return observed, values, nil
}

// open finds the mirror of the source for the credentials it names.
func (r *Reconciler) open(ctx context.Context, source *sourcev1.GitRepository) (*gitrepo.Repo, gitrepo.Auth, error) {
	about := func(err error) error {
		return fmt.Errorf("the GitRepository \"%s/%s\": %w", source.Namespace, source.Name, err)
	}
	auth, err := r.Auth.Auth(ctx, source)
	switch {
	case errors.Is(err, gitauth.ErrGate):
		return nil, auth, loop.Stall(meta.FeatureGateDisabledReason, about(err))
	case errors.Is(err, gitauth.ErrSpec), errors.Is(err, gitrepo.ErrURL):
		return nil, auth, loop.Stall(imagev1.InvalidSourceConfigReason, about(err)) // its edit brings us back
	case err != nil && gitrepo.RetryAfter(err) > 0:
		return nil, auth, loop.RetryAfter(imagev1.SourceManagerFailedReason, gitrepo.RetryAfter(err), about(err))
	case err != nil:
		return nil, auth, loop.Retry(imagev1.SourceManagerFailedReason, about(err))
	}
	repo, err := r.Git.Open(source.Spec.URL, auth)
	if err != nil {
		return nil, auth, loop.Retry(imagev1.SourceManagerFailedReason, about(err))
	}
	return repo, auth, nil
}

// signer reads the key that commits are signed with; it is nil when the spec
// names none. The Secret is in the namespace of the automation.
func (r *Reconciler) signer(ctx context.Context, auto *imagev1.ImageUpdateAutomation) (signing.Signer, error) {
	key := auto.Spec.GitSpec.Commit.SigningKey
	if key == nil {
		return nil, nil
	}
	secret, err := secrets.Get(ctx, r.Live, auto.Namespace, key.SecretRef.Name)
	if err != nil {
		return nil, err
	}
	return signing.New(key.Type, secret.Data)
}

// classify gives the errors of a run their reasons.
func classify(err error) error {
	switch {
	case errors.Is(err, commitmessage.ErrRemovedField):
		return loop.Stall(imagev1.RemovedTemplateFieldReason, err)
	case errors.Is(err, commitmessage.ErrTemplate), errors.Is(err, errAnnotation):
		return loop.Stall(imagev1.UpdateFailedReason, err)
	case errors.Is(err, errUpdate):
		return loop.Retry(imagev1.UpdateFailedReason, err)
	case errors.Is(err, gitrepo.ErrProtected):
		return loop.Stall(imagev1.GitOperationFailedReason, fmt.Errorf("%w: let the automation push there, or set spec.git.push.branch to another branch", err))
	}
	if after := gitrepo.RetryAfter(err); after > 0 {
		return loop.RetryAfter(imagev1.GitOperationFailedReason, after, err)
	}
	if busy, ok := errors.AsType[*pullrequest.Busy](err); ok {
		return loop.RetryAfter(imagev1.GitOperationFailedReason, max(busy.After, time.Second), err)
	}
	return loop.Retry(imagev1.GitOperationFailedReason, err)
}

// pushedAlready is the source revision from which the very same policies were
// pushed before. Refspecs often lead where no branch shows them, such as to a
// review, and one review is enough.
func pushedAlready(auto *imagev1.ImageUpdateAutomation, policies imagev1.ObservedPolicies) string {
	last := auto.Status.ObservedPolicies
	if auto.Status.LastPushCommit == "" || auto.Status.ObservedGeneration != auto.Generation || len(last) != len(policies) {
		return ""
	}
	for name, ref := range policies {
		if last[name] != ref {
			return ""
		}
	}
	if at, asked := meta.ReconcileAnnotationValue(auto.GetAnnotations()); asked && at != auto.Status.LastHandledReconcileAt {
		return ""
	}
	return auto.Status.ObservedSourceRevision
}

// reportUnknown logs the markers that no policy of this automation stands
// behind. That is no error: another automation may look after them.
func reportUnknown(ctx context.Context) func([]string) {
	return func(setters []string) {
		slices.Sort(setters)
		ctrl.LoggerFrom(ctx).V(1).Info("markers without a policy were left alone", "markers", slices.Compact(setters))
	}
}
