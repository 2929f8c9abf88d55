// Package imagepolicy picks the latest tag of a scanned image repository for each
// ImagePolicy, as soon as a scan finds other tags.
package imagepolicy

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/buildtime"
	"github.com/weirhq/weir/image-automation-controller/internal/imagerepository"
	"github.com/weirhq/weir/image-automation-controller/internal/policy"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
)

// Reconciler evaluates policies.
type Reconciler struct {
	Client   client.Reader // ImageRepositories, from the cache
	Live     client.Reader // namespaces
	Access   imagerepository.Access
	Registry *registry.Client
	Tags     *tagdb.Store
	Built    *buildtime.Cache
	// NoCrossNamespaceRefs forbids repositories of other namespaces.
	NoCrossNamespaceRefs bool
	// RequeueDependency is how long to wait for a scan at most.
	RequeueDependency time.Duration

	choices choices
}

// Reconcile chooses the tag.
func (r *Reconciler) Reconcile(ctx context.Context, p *imagev1.ImagePolicy) (loop.Done, error) {
	rules, err := parse(p)
	if err != nil {
		return loop.Done{}, err
	}
	repo, err := r.repository(ctx, p)
	if err != nil {
		return loop.Done{}, err
	}
	telemetry.Enter(ctx, telemetry.Select)
	set, err := r.Tags.Set(repo.Namespace, repo.Name)
	if errors.Is(err, tagdb.ErrAbsent) {
		return r.unscanned(p, repo)
	}
	if err != nil {
		return loop.Done{}, loop.Retry(imagev1.ReadOperationFailedReason, err)
	}
	if image, err := imagerepository.Image(repo); err != nil || image.Name() != set.Image {
		return r.unscanned(p, repo) // the image was edited since the scan
	}
	tag, err := r.choose(ctx, p, repo, set.Image, rules)
	if errors.Is(err, tagdb.ErrAbsent) {
		return r.unscanned(p, repo)
	}
	if err != nil {
		return loop.Done{}, r.classify(fmt.Errorf("the image %q: %w", repo.Spec.Image, err))
	}
	next := imagev1.ImageRef{Name: repo.Spec.Image, Tag: tag}
	if next.Digest, err = r.digest(ctx, p, repo, next); err != nil {
		return loop.Done{}, err
	}
	record(p, next)
	return done(p, next), nil
}

// Follow implements loop.Follower: the trace is that of the chosen image.
func (r *Reconciler) Follow(p *imagev1.ImagePolicy) telemetry.Revision {
	if p.Status.LatestRef == nil {
		return telemetry.Revision{}
	}
	return telemetry.Revision{Name: p.Status.LatestRef.String()}
}

// classify gives an error of a choice its reason.
func (r *Reconciler) classify(err error) error {
	wait := max(r.RequeueDependency, time.Second)
	switch {
	case errors.Is(err, policy.ErrNoTag):
		return loop.Wait(imagev1.DependencyNotReadyReason, wait, err)
	case errors.Is(err, buildtime.ErrTooMany), errors.Is(err, errRank):
		return loop.Wait(imagev1.InvalidPolicyReason, wait, err)
	default:
		return imagerepository.Classify(err)
	}
}

// Finalize forgets what was remembered of the policy.
func (r *Reconciler) Finalize(_ context.Context, p *imagev1.ImagePolicy) error {
	r.Forget(p)
	return nil
}

// repository gets the ImageRepository that the policy names, if it may use it.
func (r *Reconciler) repository(ctx context.Context, p *imagev1.ImagePolicy) (*imagev1.ImageRepository, error) {
	key := repositoryKey(p)
	ask := request{From: p.Namespace, To: key.Namespace, Repository: key.Name, NoCrossNamespace: r.NoCrossNamespaceRefs}
	if ask.NoCrossNamespace {
		if err := allow(ask); err != nil {
			return nil, loop.Stall(imagev1.AccessDeniedReason, err)
		}
	}
	repo := &imagev1.ImageRepository{}
	err := r.Client.Get(ctx, key, repo)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, loop.Retry(imagev1.DependencyNotReadyReason, fmt.Errorf("reading the ImageRepository %q: %w", key, err))
	}
	missing := err != nil
	if key.Namespace != p.Namespace {
		namespace := &corev1.Namespace{}
		if err := r.Live.Get(ctx, client.ObjectKey{Name: p.Namespace}, namespace); err != nil {
			return nil, loop.Retry(imagev1.AccessDeniedReason, fmt.Errorf("reading the labels of the namespace %q: %w", p.Namespace, err))
		}
		ask.FromLabels, ask.AccessFrom = namespace.Labels, repo.Spec.AccessFrom
		if err := allow(ask); err != nil {
			return nil, loop.Wait(imagev1.AccessDeniedReason, max(r.RequeueDependency, time.Second), err)
		}
	}
	if missing {
		return nil, loop.Wait(imagev1.DependencyNotReadyReason, max(r.RequeueDependency, time.Second), fmt.Errorf("there is no ImageRepository %q; create it or correct spec.imageRepositoryRef", key))
	}
	return repo, nil
}

// repositoryKey is the ImageRepository that a policy names.
func repositoryKey(p *imagev1.ImagePolicy) client.ObjectKey {
	ref := p.Spec.ImageRepositoryRef
	if ref.Namespace == "" {
		return client.ObjectKey{Namespace: p.Namespace, Name: ref.Name}
	}
	return client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
}

// unscanned is the outcome while no tags are on file. After a restart on an
// empty volume that lasts until the repository is scanned again; what the policy
// chose before stays true for so long.
func (r *Reconciler) unscanned(p *imagev1.ImagePolicy, repo *imagev1.ImageRepository) (loop.Done, error) {
	after := max(r.RequeueDependency, time.Second)
	if ref := p.Status.LatestRef; ref != nil && ref.Name == repo.Spec.Image && p.Status.ObservedGeneration == p.Generation {
		d := done(p, *ref)
		d.After = after
		return d, nil
	}
	return loop.Done{}, loop.Wait(imagev1.DependencyNotReadyReason, after, fmt.Errorf("the ImageRepository \"%s/%s\" has not been scanned yet", repo.Namespace, repo.Name))
}

// digest is what status.latestRef.digest has to be for the chosen tag.
func (r *Reconciler) digest(ctx context.Context, p *imagev1.ImagePolicy, repo *imagev1.ImageRepository, next imagev1.ImageRef) (string, error) {
	old := p.Status.LatestRef
	switch p.GetDigestReflectionPolicy() {
	case imagev1.ReflectNever:
		return "", nil
	case imagev1.ReflectIfNotPresent:
		if old != nil && old.Name == next.Name && old.Tag == next.Tag && old.Digest != "" {
			return old.Digest, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, imagerepository.Timeout(repo))
	defer cancel()
	access, err := r.Access.Of(ctx, repo)
	if err != nil {
		return "", imagerepository.Classify(err)
	}
	digest, err := r.Registry.Digest(ctx, access, next.Tag)
	if err != nil {
		return "", imagerepository.Classify(fmt.Errorf("reading the digest of %q: %w", next.Name+":"+next.Tag, err))
	}
	return digest, nil
}

// record moves the reference in status, and keeps the one before it.
func record(p *imagev1.ImagePolicy, next imagev1.ImageRef) {
	if old := p.Status.LatestRef; old != nil && *old != next {
		previous := *old
		p.Status.ObservedPreviousRef = &previous
	}
	p.Status.LatestRef = &next
}

// done says what was chosen.
func done(p *imagev1.ImagePolicy, ref imagev1.ImageRef) loop.Done {
	message := fmt.Sprintf("Latest image tag for %s resolved to %s", ref.Name, ref.Tag)
	if ref.Digest != "" {
		message += " with digest " + ref.Digest
	}
	if previous := p.Status.ObservedPreviousRef; previous != nil {
		message += fmt.Sprintf(" (previously %s)", previous)
	}
	return loop.Done{Message: message, Metadata: map[string]string{"revision": ref.String()}}
}
