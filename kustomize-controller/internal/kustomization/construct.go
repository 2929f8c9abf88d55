package kustomization

import (
	"context"
	"fmt"
	"time"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/build"
)

// site is where a build goes on, for one object.
type site struct {
	errand
	digest string // of the artifact
	spec   build.Spec
	built  *build.Result // to be read after done
}

// keepBuilt is how long what a build came to is kept for an object that does not
// come back for it, because it was suspended, say. A remote base may have moved.
const keepBuilt = time.Minute

func (b *site) old() bool {
	select {
	case <-b.done:
		return time.Since(b.ended) > keepBuilt
	default:
		return false
	}
}

// construct builds a tree, which it closes. The error is an *errWaiting while the
// build goes on without a worker: it is large, waits for its turn or fetches
// remote bases, and that is to cost only those who wait for it.
func (r *Reconciler) construct(ctx context.Context, k *kustomizev1.Kustomization, s *source, tree *artifact.Tree, spec build.Spec) (*build.Result, error) {
	m := r.recall(k)
	b := m.site
	if b != nil && (b.digest != s.artifact.Digest || !b.spec.Same(&spec) || b.old()) {
		m.abandon() // there is something newer
	}
	if b = m.site; b == nil {
		b = r.startBuild(k, s, tree, spec)
		m.site = b
	} else {
		tree.Close()
	}
	var over <-chan time.Time
	if r.ring != nil { // else there is nobody to bring the object back
		patience := time.NewTimer(min(r.BuildPatience, k.GetTimeout()) - time.Since(b.began))
		defer patience.Stop()
		over = patience.C
	}
	select {
	case <-b.done:
		return m.finished()
	case <-ctx.Done():
	case <-over:
	}
	left := k.GetTimeout() - time.Since(b.began)
	select {
	case <-b.done: // it is, and something else as well
		return m.finished()
	default:
	}
	if left <= 0 || ctx.Err() != nil {
		m.abandon()
		return nil, context.DeadlineExceeded
	}
	return nil, &errWaiting{left: left, message: fmt.Sprintf(
		"Building manifests for revision %s with a timeout of %s", s.artifact.Revision, k.GetTimeout())}
}

// abandon gives a build up. One that kustomize is at goes on nevertheless; others
// of its size wait for it.
func (m *memory) abandon() {
	if m.site != nil {
		m.site.cancel()
		m.site = nil
	}
}

// finished takes what a build came to. A panic of it is one of the caller.
func (m *memory) finished() (*build.Result, error) {
	b := m.site
	m.site = nil
	if b.panicked != nil {
		panic(b.panicked)
	}
	return b.built, b.err
}

// startBuild builds on nobody's time.
func (r *Reconciler) startBuild(k *kustomizev1.Kustomization, s *source, tree *artifact.Tree, spec build.Spec) *site {
	b := &site{digest: s.artifact.Digest, spec: spec}
	r.start(&b.errand, k, r.BuildPatience, func(ctx context.Context) (err error) {
		defer tree.Close()
		b.built, err = r.Builder.Build(ctx, tree, b.spec)
		return err
	})
	return b
}
