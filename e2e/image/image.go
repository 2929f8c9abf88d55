// Package image builds container images of Go programs without a container
// engine: the same files and options give the same bytes on every machine.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the number of the user and the group that programs run as.
const user = 65532

// Where the files are in an image.
const (
	certificates = "/etc/ssl/certs/ca-certificates.crt" // the first place Go looks
	sbomFolder   = "/usr/share/sbom"
)

// Program is what becomes an image.
type Program struct {
	Name         string // of the program; the image has it as /<Name>
	Version      string // such as "v1.2.3"
	Revision     string // hash of the commit it was built from
	Source       string // URL of the source
	Created      time.Time
	Binary       []byte // static, with Go's build information
	Certificates []byte // PEM, the authorities that are trusted
}

// Build returns the image of a program for a platform, and its bill of
// materials (see [SBOM]), which is also in the image.
func Build(p Program, platform v1.Platform) (v1.Image, []byte, error) {
	sbom, err := SBOM(p)
	if err != nil {
		return nil, nil, err
	}
	surroundings, err := layer(p.Created, []file{
		{name: "/tmp", mode: 0o1777},
		{name: "/data", mode: 0o755, owner: user},
		{name: "/etc/passwd", mode: 0o644, data: fmt.Appendf(nil, "nonroot:x:%d:%d:nonroot:/tmp:/sbin/nologin\n", user, user)},
		{name: "/etc/group", mode: 0o644, data: fmt.Appendf(nil, "nonroot:x:%d:\n", user)},
		{name: certificates, mode: 0o644, data: p.Certificates},
	})
	if err != nil {
		return nil, nil, err
	}
	program, err := layer(p.Created, []file{
		{name: "/" + p.Name, mode: 0o755, data: p.Binary},
		{name: path.Join(sbomFolder, p.Name+".spdx.json"), mode: 0o644, data: sbom},
	})
	if err != nil {
		return nil, nil, err
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: surroundings, History: v1.History{Created: v1.Time{Time: p.Created}, CreatedBy: "certificates and the user"}},
		mutate.Addendum{Layer: program, History: v1.History{Created: v1.Time{Time: p.Created}, CreatedBy: p.Name + " " + p.Version}},
	)
	if err != nil {
		return nil, nil, fmt.Errorf("image of %q: %w", p.Name, err)
	}
	image, err = configure(image, p, platform)
	return image, sbom, err
}

func configure(image v1.Image, p Program, platform v1.Platform) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: p.Created}
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Config = v1.Config{
		Entrypoint: []string{"/" + p.Name},
		User:       fmt.Sprintf("%d:%d", user, user),
		WorkingDir: "/tmp",
		Env:        []string{"SSL_CERT_FILE=" + certificates},
		Labels:     labels(p),
	}
	return mutate.ConfigFile(image, config)
}

// labels are those of the OCI image specification.
func labels(p Program) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    p.Name,
		"org.opencontainers.image.version":  p.Version,
		"org.opencontainers.image.revision": p.Revision,
		"org.opencontainers.image.source":   p.Source,
		"org.opencontainers.image.created":  p.Created.UTC().Format(time.RFC3339),
		"org.opencontainers.image.licenses": license,
	}
}

// file is an entry of a layer: a folder if it has no data.
type file struct {
	name  string
	mode  int64
	owner int
	data  []byte
}

// layer packs files in their order. Folders above them belong to root.
func layer(created time.Time, files []file) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	seen := map[string]bool{"/": true}
	for _, f := range files {
		if err := parents(w, created, path.Dir(f.name), seen); err != nil {
			return nil, err
		}
		h := &tar.Header{Name: f.name[1:], Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: created, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: int64(len(f.data))}
		if f.data == nil {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

func parents(w *tar.Writer, created time.Time, dir string, seen map[string]bool) error {
	if seen[dir] {
		return nil
	}
	seen[dir] = true
	if err := parents(w, created, path.Dir(dir), seen); err != nil {
		return err
	}
	return w.WriteHeader(&tar.Header{Name: dir[1:] + "/", Mode: 0o755, ModTime: created, Format: tar.FormatPAX, Typeflag: tar.TypeDir})
}
