// Package imagerepository scans the tags of an image repository at an interval,
// or when asked, and keeps them for the policies.
package imagerepository

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
)

// latestTags is how many tags status shows.
const latestTags = 10

const maxDefaultTimeout = 2 * time.Minute

// Reconciler scans image repositories.
type Reconciler struct {
	Access   Access
	Registry *registry.Client
	Tags     *tagdb.Store
	Now      func() time.Time
}

// Setup registers the kind with env's manager.
func Setup(env *process.Env, access Access, client *registry.Client, tags *tagdb.Store) error {
	r := &Reconciler{Access: access, Registry: client, Tags: tags, Now: time.Now}
	return ctrl.NewControllerManagedBy(env.Manager).
		For(&imagev1.ImageRepository{}, builder.WithPredicates(loop.Triggers())).
		WithOptions(env.Controller()).
		Complete(loop.New(env, r))
}

// Reconcile scans the repository and records which tags it has.
func (r *Reconciler) Reconcile(ctx context.Context, repo *imagev1.ImageRepository) (loop.Done, error) {
	exclusions, err := compile(repo.GetExclusionList())
	if err != nil {
		return loop.Done{}, loop.Stall(imagev1.ReadOperationFailedReason, err)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout(repo))
	defer cancel()
	access, err := r.Access.Of(ctx, repo)
	if err != nil {
		return loop.Done{}, Classify(err)
	}
	telemetry.Enter(ctx, telemetry.Scan)
	loop.Progress(ctx, fmt.Sprintf("scanning %q", repo.Spec.Image))
	found, err := r.Registry.Tags(ctx, access)
	if err != nil {
		return loop.Done{}, Classify(fmt.Errorf("scanning %q: %w", repo.Spec.Image, err))
	}
	tags := slices.DeleteFunc(found, func(tag string) bool {
		return slices.ContainsFunc(exclusions, func(e *regexp.Regexp) bool { return e.MatchString(tag) })
	})
	set, _, err := r.Tags.Put(repo.Namespace, repo.Name, access.Repository.Name(), tags)
	if err != nil {
		return loop.Done{}, loop.Retry(imagev1.ReadOperationFailedReason, err)
	}

	repo.Status.CanonicalImageName = set.Image
	repo.Status.ObservedExclusionList = repo.GetExclusionList()
	repo.Status.LastScanResult = &imagev1.ScanResult{
		Revision:   set.Digest,
		TagCount:   set.Count,
		ScanTime:   metav1.NewTime(r.Now()),
		LatestTags: latest(tags),
	}
	return loop.Done{Message: fmt.Sprintf("successful scan: found %d tags with checksum %s", set.Count, set.Digest)}, nil
}

// Follow implements loop.Follower: a set of tags is the revision of an image.
func (r *Reconciler) Follow(repo *imagev1.ImageRepository) telemetry.Revision {
	if repo.Status.LastScanResult == nil {
		return telemetry.Revision{}
	}
	return telemetry.Revision{Name: repo.Status.CanonicalImageName, Digest: repo.Status.LastScanResult.Revision}
}

// Finalize forgets the tags.
func (r *Reconciler) Finalize(_ context.Context, repo *imagev1.ImageRepository) error {
	return r.Tags.Remove(repo.Namespace, repo.Name)
}

// Timeout bounds what a registry may take. Without spec.timeout it is the
// interval, but no longer than two minutes: a registry that hangs must not hold
// a worker for hours.
func Timeout(repo *imagev1.ImageRepository) time.Duration {
	if repo.Spec.Timeout == nil {
		return min(repo.GetTimeout(), maxDefaultTimeout)
	}
	return repo.GetTimeout()
}

// compile parses the exclusion list.
func compile(list []string) ([]*regexp.Regexp, error) {
	out := make([]*regexp.Regexp, 0, len(list))
	for i, text := range list {
		e, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("spec.exclusionList[%d] %q: %w", i, text, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// latest returns the first tags in descending order of the alphabet.
func latest(tags []string) []string {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	slices.Reverse(tags)
	return tags[:min(len(tags), latestTags)]
}

// Classify gives an error of package registry its reason.
func Classify(err error) error {
	busy, isBusy := errors.AsType[*registry.Busy](err)
	switch {
	case errors.Is(err, registry.ErrName):
		return loop.Stall(imagev1.ImageURLInvalidReason, err)
	case errors.Is(err, cloudlogin.ErrGate):
		return loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf("spec.serviceAccountName with %w: remove the field to use the identity of the controller", err))
	case errors.Is(err, cloudlogin.ErrRegistry), errors.Is(err, errInsecureLogin):
		return loop.Stall(imagev1.AuthenticationFailedReason, err)
	case errors.Is(err, registry.ErrCredentials), errors.Is(err, cloudlogin.ErrLogin):
		return loop.Retry(imagev1.AuthenticationFailedReason, err)
	case isBusy:
		return loop.RetryAfter(imagev1.ReadOperationFailedReason, max(busy.After, time.Second), err)
	default:
		return loop.Retry(imagev1.ReadOperationFailedReason, err)
	}
}
