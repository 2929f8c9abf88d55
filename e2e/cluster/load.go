package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/weirhq/weir/e2e/image"
	"github.com/weirhq/weir/e2e/manifests"
)

// LoadControllers brings the images that make images has built to the nodes.
func (c *Cluster) LoadControllers(ctx context.Context) error {
	for _, name := range manifests.Controllers {
		reference, err := os.ReadFile(filepath.Join(c.dist, name+".digest"))
		if err != nil {
			return fmt.Errorf("no image of %s in %q, run make images: %w", name, c.dist, err)
		}
		image, _, _ := strings.Cut(strings.TrimSpace(string(reference)), "@")
		if err := c.loadArchive(ctx, image, filepath.Join(c.dist, name+".tar")); err != nil {
			return err
		}
	}
	return nil
}

// Version returns the version of the images that make images has built.
func (c *Cluster) Version() (string, error) {
	reference, err := os.ReadFile(filepath.Join(c.dist, manifests.Controllers[0]+".digest"))
	if err != nil {
		return "", fmt.Errorf("no images in %q, run make images: %w", c.dist, err)
	}
	image, _, _ := strings.Cut(strings.TrimSpace(string(reference)), "@")
	return image[strings.LastIndex(image, ":")+1:], nil
}

// Load brings an image to the nodes under a name.
func (c *Cluster) Load(ctx context.Context, reference string, img v1.Image) error {
	// Below dist, as a node that shares this machine's files has other temporary ones.
	file, err := os.CreateTemp(c.dist, "e2e-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	index := image.Index([]image.Platform{{Platform: Platform(), Image: img}})
	if err := image.WriteArchive(file, index, reference); err != nil {
		return err
	}
	return c.loadArchive(ctx, reference, file.Name())
}

func (c *Cluster) loadArchive(ctx context.Context, reference, archive string) error {
	if c.load == "" {
		return errors.New("E2E_LOAD_IMAGE is not set: it is the command that brings an image to the nodes, such as e2e/cluster/load/kind.sh")
	}
	path, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", c.load+` "$1" "$2"`, "load", reference, path)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("loading the image %s: %w\n%s", reference, err, bytes.TrimSpace(out))
	}
	return nil
}

// Platform is the one of the nodes, which is taken to be this machine's.
func Platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// Sleeper builds the image of a program that waits until it is told to end, as
// something for pods to run. Another version is another image.
func Sleeper(ctx context.Context, version string) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "weir-sleeper-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sleeper")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/weirhq/weir/e2e/cluster/sleeper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the sleeper: %w\n%s", err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	img, _, err := image.Build(image.Program{Name: "sleeper", Version: version, Created: time.Unix(0, 0), Binary: binary}, Platform())
	return img, err
}
