package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/weirhq/weir/e2e/image"
)

// images writes an OCI archive of each controller for all platforms, and a bill
// of materials per platform.
func (o *options) images(ctx context.Context) error {
	certificates, err := os.ReadFile(o.certificates)
	if err != nil {
		return fmt.Errorf("-certificates: %w", err)
	}
	var platforms []v1.Platform
	for _, text := range strings.Split(o.platforms, ",") {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.OS == "" || p.Architecture == "" {
			return fmt.Errorf("-platforms: %q is none such as linux/amd64", text)
		}
		platforms = append(platforms, *p)
	}
	for _, name := range strings.Split(o.only, ",") {
		if err := o.image(ctx, name, platforms, certificates); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (o *options) image(ctx context.Context, name string, platforms []v1.Platform, certificates []byte) error {
	var built []image.Platform
	for _, p := range platforms {
		binary, err := compile(ctx, name, p)
		if err != nil {
			return err
		}
		img, sbom, err := image.Build(image.Program{
			Name: name, Version: o.version, Revision: o.revision, Source: o.source,
			Created: time.Unix(o.created, 0).UTC(), Binary: binary, Certificates: certificates,
		}, p)
		if err != nil {
			return err
		}
		if err := o.write(fmt.Sprintf("%s-%s-%s.spdx.json", name, p.OS, p.Architecture), sbom); err != nil {
			return err
		}
		built = append(built, image.Platform{Platform: p, Image: img})
	}
	index := image.Index(built)
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	reference := strings.TrimSuffix(o.registry, "/") + "/" + name + ":" + o.version
	var archive bytes.Buffer
	if err := image.WriteArchive(&archive, index, reference); err != nil {
		return err
	}
	if err := o.write(name+".tar", archive.Bytes()); err != nil {
		return err
	}
	return o.write(name+".digest", []byte(reference+"@"+digest.String()+"\n"))
}

// compile builds a controller of this workspace, without paths and dates of this
// machine in it.
func compile(ctx context.Context, name string, p v1.Platform) ([]byte, error) {
	dir, err := os.MkdirTemp("", "weir-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+p.OS, "GOARCH="+p.Architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling for %s: %w\n%s", p.String(), err, out)
	}
	return os.ReadFile(path)
}
