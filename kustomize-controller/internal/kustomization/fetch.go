package kustomization

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/artifact"
)

// fetchPatience is how long a worker waits for a download. One that takes
// longer goes on without a worker, so that a server that hangs costs only those
// who wait for it.
const fetchPatience = 3 * time.Second

// download is an artifact on its way to the cache, for one object.
type download struct {
	url, digest string
	began       time.Time
	done        chan struct{}
	err         error // to be read after done
	cancel      context.CancelFunc
}

// errWaiting says that a download or a build goes on without a worker; the
// object is brought back at its end.
type errWaiting struct {
	message string
	left    time.Duration // of the object's timeout
}

func (e *errWaiting) Error() string { return e.message }

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
	patience := time.NewTimer(fetchPatience)
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
	d := &download{url: s.artifact.URL, digest: s.artifact.Digest, began: time.Now(), done: make(chan struct{})}
	var ctx context.Context
	ctx, d.cancel = context.WithTimeout(r.running, k.GetTimeout())
	key := client.ObjectKeyFromObject(k)
	go func() {
		defer d.cancel()
		d.fetch(ctx, r.Fetcher)
		if r.ring != nil && time.Since(d.began) >= fetchPatience {
			r.ring(key)
		}
	}()
	return d
}

// fetch ends the download. A panic is no reason for the process to end.
func (d *download) fetch(ctx context.Context, f *artifact.Fetcher) {
	defer close(d.done)
	defer func() {
		if p := recover(); p != nil {
			d.err = fmt.Errorf("internal error (please report it): %v", p)
		}
	}()
	tree, err := f.Fetch(ctx, d.url, d.digest)
	if d.err = err; err == nil {
		tree.Close()
	}
}
