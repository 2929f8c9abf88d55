package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/weirhq/weir/internal/upstream"
)

// ErrManifest is wrapped when a manifest cannot be used.
var ErrManifest = errors.New("manifest")

// maxManifest is the bytes of a manifest that every registry must allow; OCI
// distribution specification, section 4.4.
const maxManifest = 4 << 20

// Manifest is a manifest as it lies in the registry.
type Manifest struct {
	Digest    string // of Bytes
	MediaType string // as the registry has it
	Bytes     []byte
}

// puller returns what reads from the repository, and the link that it belongs to.
func (c *Client) puller(a Access) (*link, *remote.Puller, error) {
	l, err := c.link(a)
	if err != nil {
		return nil, nil, err
	}
	p, err := l.use()
	return l, p, err
}

// Digest resolves a tag, with one HEAD request where the registry answers it as
// it should. A text that is no tag is refused with ErrName.
func (c *Client) Digest(ctx context.Context, a Access, tag string) (string, error) {
	if !tagName.MatchString(tag) {
		return "", fmt.Errorf("%w: %q is no tag", ErrName, tag)
	}
	l, puller, err := c.puller(a)
	if err != nil {
		return "", err
	}
	ref := a.Repository.Tag(tag)
	descriptor, err := puller.Head(ctx, ref)
	if err == nil {
		return descriptor.Digest.String(), nil
	}
	if e, ok := errors.AsType[*transport.Error](err); ctx.Err() != nil || ok && e.StatusCode != http.StatusMethodNotAllowed {
		return "", l.explain(err)
	}
	whole, getErr := puller.Get(upstream.Limited(ctx, maxManifest), ref) // some answer HEAD without the header
	if getErr != nil {
		return "", l.explain(err)
	}
	return whole.Digest.String(), nil
}

// Manifest reads the manifest of the given digest, and checks that it is that.
func (c *Client) Manifest(ctx context.Context, a Access, digest string) (Manifest, error) {
	ref, err := a.digest(digest)
	if err != nil {
		return Manifest{}, err
	}
	l, puller, err := c.puller(a)
	if err != nil {
		return Manifest{}, err
	}
	d, err := puller.Get(upstream.Limited(ctx, maxManifest), ref)
	if err != nil {
		return Manifest{}, l.explain(err)
	}
	return Manifest{Digest: d.Digest.String(), MediaType: string(d.MediaType), Bytes: d.Manifest}, nil
}

// Image reads the image manifest of the given digest. Of an index, it is the
// image for linux/amd64; the index' digest stands for what is in it.
func (c *Client) Image(ctx context.Context, a Access, digest string) (*v1.Manifest, error) {
	for range 3 { // an index may hold an index
		m, err := c.Manifest(ctx, a, digest)
		if err != nil {
			return nil, err
		}
		if types.MediaType(m.MediaType).IsIndex() {
			if digest, err = m.platform(); err != nil {
				return nil, err
			}
			continue
		}
		image, err := v1.ParseManifest(bytes.NewReader(m.Bytes))
		if err != nil {
			return nil, fmt.Errorf("%w %q of %q: %w", ErrManifest, digest, a.Repository, err)
		}
		return image, nil
	}
	return nil, fmt.Errorf("%w %q of %q: its indexes never end", ErrManifest, digest, a.Repository)
}

// platform returns the digest of the image for linux/amd64, or of the first one
// that is for any platform.
func (m Manifest) platform() (string, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(m.Bytes))
	if err != nil {
		return "", fmt.Errorf("%w %q: %w", ErrManifest, m.Digest, err)
	}
	general := ""
	for _, d := range index.Manifests {
		switch {
		case d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64":
			return d.Digest.String(), nil
		case d.Platform == nil && general == "":
			general = d.Digest.String()
		}
	}
	if general == "" {
		return "", fmt.Errorf("%w %q: the index has no image for linux/amd64", ErrManifest, m.Digest)
	}
	return general, nil
}

// Blob returns the blob of the given digest. Reading it ends with an error when
// its bytes have another digest or when there are more than maxBytes of them.
func (c *Client) Blob(ctx context.Context, a Access, digest string, maxBytes int64) (io.ReadCloser, error) {
	ref, err := a.digest(digest)
	if err != nil {
		return nil, err
	}
	l, puller, err := c.puller(a)
	if err != nil {
		return nil, err
	}
	layer, err := puller.Layer(upstream.Limited(ctx, maxBytes), ref)
	if err != nil {
		return nil, l.explain(err)
	}
	r, err := layer.Compressed() // as it lies there, whatever its format
	return r, l.explain(err)
}

// Read is Blob for small ones: it returns all bytes.
func (c *Client) Read(ctx context.Context, a Access, digest string, maxBytes int64) ([]byte, error) {
	r, err := c.Blob(ctx, a, digest, maxBytes)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Referrers lists the manifests of the given artifact type that refer to digest,
// by the API for that or by the tag that stands in for it (OCI distribution
// specification, section 3.4.3).
func (c *Client) Referrers(ctx context.Context, a Access, digest, artifactType string) ([]v1.Descriptor, error) {
	ref, err := a.digest(digest)
	if err != nil {
		return nil, err
	}
	l, puller, err := c.puller(a)
	if err != nil {
		return nil, err
	}
	index, err := remote.Referrers(ref, remote.Reuse(puller), remote.WithContext(upstream.Limited(ctx, maxManifest)))
	if err != nil {
		return nil, l.explain(err)
	}
	all, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%w: the referrers of %q: %w", ErrManifest, digest, err)
	}
	var out []v1.Descriptor
	for _, d := range all.Manifests {
		if d.ArtifactType == artifactType {
			out = append(out, d)
		}
	}
	return out, nil
}

func (a Access) digest(digest string) (name.Digest, error) {
	hash, err := v1.NewHash(digest)
	if err != nil || hash.Algorithm != "sha256" {
		return name.Digest{}, fmt.Errorf("%w: %q is no SHA-256 digest", ErrManifest, digest)
	}
	return a.Repository.Digest(digest), nil
}
