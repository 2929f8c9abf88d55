// Package registry runs a real OCI registry inside the process and puts small images into it.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// imageBytes is the size of the one layer of an image made by Push.
const imageBytes = 256

// Registry is a registry on 127.0.0.1 without credentials. Its content is lost when it ends.
type Registry struct {
	// Host is where it listens, as it stands in image names: 127.0.0.1:<port>.
	Host string

	server *http.Server
}

// Start starts a registry on a free port.
func Start() (*Registry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("port of the registry: %w", err)
	}
	r := &Registry{Host: listener.Addr().String(), server: &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: 10 * time.Second,
	}}
	go func() { _ = r.server.Serve(listener) }() // ends with Close
	return r, nil
}

// Push makes a new image and puts it into repository (a path such as "shop/web") under each tag.
func (r *Registry) Push(ctx context.Context, repository string, tags ...string) error {
	for _, tag := range tags {
		ref, err := name.NewTag(r.Host+"/"+repository+":"+tag, name.StrictValidation, name.Insecure)
		if err != nil {
			return fmt.Errorf("image %q: %w", repository+":"+tag, err)
		}
		image, err := random.Image(imageBytes, 1)
		if err != nil {
			return fmt.Errorf("image %q: %w", ref, err)
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("pushing image %q: %w", ref, err)
		}
	}
	return nil
}

// Close ends the registry and cuts its connections.
func (r *Registry) Close() error {
	if err := r.server.Close(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
