package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Platform is an image for one platform.
type Platform struct {
	v1.Platform
	Image v1.Image
}

// Index joins the images of a program for several platforms.
func Index(images []Platform) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range images {
		platform := p.Platform
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: p.Image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return index
}

// WriteArchive writes an index as an OCI archive: a tar of an OCI image layout.
// Container engines load it under the reference, such as "example.org/a:v1".
func WriteArchive(w io.Writer, index v1.ImageIndex, reference string) error {
	dir, err := os.MkdirTemp("", "weir-image-")
	if err != nil {
		return fmt.Errorf("folder for the layout: %w", err)
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// The first is what the specification has, the second what containerd reads.
	names := map[string]string{"org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference}
	if err := l.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return fmt.Errorf("layout of %q: %w", reference, err)
	}
	archive := tar.NewWriter(w)
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error { // in the order of the names
		if err != nil || d.IsDir() {
			return err
		}
		return add(archive, dir, name)
	})
	if err != nil {
		return fmt.Errorf("archive of %q: %w", reference, err)
	}
	return archive.Close()
}

func add(archive *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}
