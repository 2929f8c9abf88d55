package kustomization

import (
	"context"
	"fmt"
	"time"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/artifact"
)

// download is an artifact on its way to the cache, for one object.
type download struct {
	errand
	url, digest string
}

// fetch returns the files of an artifact. The error is an *errWaiting while
// they are not here.
func (r *Reconciler) fetch(ctx context.Context, k *kustomizev1.Kustomization, s *source) (*artifact.Tree, error) {
	m := r.recall(k)
	d := m.download
	if d == nil {
		if tree := r.Fetcher.Cached(s.artifact.Digest); tree != nil {
			return tree, nil
		}
	}
	if d != nil && (d.url != s.artifact.URL || d.digest != s.artifact.Digest) {
		d.cancel() // there is something newer
		d = nil
	}
	if d == nil {
		d = r.startDownload(k, s)
		m.download = d
	}
	patience := time.NewTimer(r.FetchPatience)
	defer patience.Stop()
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, &errWaiting{left: max(k.GetTimeout()-time.Since(d.began), time.Second), message: fmt.Sprintf(
			"Fetching manifests for revision %s with a timeout of %s", s.artifact.Revision, k.GetTimeout())}
	}
	m.download = nil
	if d.err != nil {
		return nil, d.err
	}
	return r.Fetcher.Fetch(ctx, s.artifact.URL, s.artifact.Digest) // from the cache
}

// startDownload fetches an artifact into the cache, on nobody's time. Many that
// want the same share one download.
func (r *Reconciler) startDownload(k *kustomizev1.Kustomization, s *source) *download {
	d := &download{url: s.artifact.URL, digest: s.artifact.Digest}
	r.start(&d.errand, k, r.FetchPatience, func(ctx context.Context) error { return d.fetch(ctx, r.Fetcher) })
	return d
}

func (d *download) fetch(ctx context.Context, f *artifact.Fetcher) error {
	tree, err := f.Fetch(ctx, d.url, d.digest)
	if err == nil {
		tree.Close()
	}
	return err
}
