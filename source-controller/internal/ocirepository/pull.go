package ocirepository

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
)

const (
	maxLayer    = 1 << 30   // bytes of a layer as it lies in the registry
	maxMetadata = 256 << 10 // bytes of annotations, as the API server has it for objects
)

var errLayer = errors.New("layer")

// pull reads the selected layer of the artifact with the given digest into the
// store, and returns it with the annotations of the manifest.
func (r *Reconciler) pull(ctx context.Context, repo *sourcev1.OCIRepository, access registry.Access, digest string) (artifact.Blob, map[string]string, error) {
	var blob artifact.Blob
	manifest, err := r.o.Registry.Image(ctx, access, digest)
	if err != nil {
		return blob, nil, fmt.Errorf("pulling the manifest: %w", err)
	}
	if n := size(manifest.Annotations); n > maxMetadata {
		return blob, nil, fmt.Errorf("pulling the manifest: its annotations have %d bytes, %d are allowed", n, maxMetadata)
	}
	want := selector(repo.Spec.LayerSelector)
	layer, err := pick(manifest.Layers, want.MediaType)
	if err != nil {
		return blob, nil, err
	}
	read := func() (io.ReadCloser, error) { // a registry that sends more than it has announced is not listened to
		return r.o.Registry.Blob(ctx, access, layer.Digest.String(), min(layer.Size, maxLayer))
	}
	if want.Operation == sourcev1.OCILayerCopy {
		blob, err = r.copy(ctx, read)
	} else {
		blob, err = r.extract(ctx, repo, layer.Digest.String(), read)
	}
	if err != nil {
		return blob, nil, fmt.Errorf("the layer %q: %w", layer.Digest, err)
	}
	return blob, manifest.Annotations, nil
}

func size(annotations map[string]string) (n int) {
	for key, value := range annotations {
		n += len(key) + len(value)
	}
	return n
}

// pick returns the first layer of the media type; of all for "".
func pick(layers []v1.Descriptor, mediaType string) (v1.Descriptor, error) {
	for _, l := range layers {
		if mediaType == "" || string(l.MediaType) == mediaType {
			return l, nil
		}
	}
	if len(layers) == 0 {
		return v1.Descriptor{}, fmt.Errorf("%w: the artifact has none", errLayer)
	}
	return v1.Descriptor{}, fmt.Errorf("%w: none of the artifact's %d has the media type %q: correct spec.layerSelector", errLayer, len(layers), mediaType)
}

// copy stores the layer byte for byte.
func (r *Reconciler) copy(ctx context.Context, read func() (io.ReadCloser, error)) (artifact.Blob, error) {
	layer, err := read()
	if err != nil {
		return artifact.Blob{}, err
	}
	defer layer.Close()
	return r.o.Store.Put(ctx, layer)
}

// extract stores the files of the layer that are not ignored, packed anew, so that
// equal files give equal archives. The layer is read for this object alone: that
// somebody else can read a layer of the same digest says nothing about us.
func (r *Reconciler) extract(ctx context.Context, repo *sourcev1.OCIRepository, digest string, read func() (io.ReadCloser, error)) (artifact.Blob, error) {
	tree, err := r.o.Fetcher.Unpack(ctx, digest, read)
	if err != nil {
		return artifact.Blob{}, err
	}
	defer tree.Close()
	telemetry.Enter(ctx, telemetry.Pack)
	src, err := tree.Source("/")
	if err != nil {
		return artifact.Blob{}, err
	}
	var o artifact.PackOptions
	if repo.Spec.Ignore != nil {
		o.Ignore.Patterns = *repo.Spec.Ignore
	}
	if repo.Status.Artifact != nil {
		o.Previous = repo.Status.Artifact.Digest
	}
	return r.o.Store.Pack(ctx, src, o)
}
