// Package signature verifies that an artifact in a registry is signed by somebody
// who is trusted.
//
// A Verifier is asked about a digest, never about a tag, and says nothing about
// anything but that digest. What a registry answers is bounded, and nothing is
// executed: signatures that ask for a plugin are refused.
package signature

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirhq/weir/internal/registry"
)

var (
	// ErrTrust is wrapped when what a Verifier is to trust cannot be used.
	ErrTrust = errors.New("nothing to trust")
	// ErrUntrusted is wrapped when no signature of the artifact is a trusted one.
	ErrUntrusted = errors.New("no trusted signature")
)

// Bounds of what is looked at for one artifact.
const (
	maxSignatures = 50
	maxSignature  = 1 << 20 // bytes of one
)

// Artifact is what is to be verified.
type Artifact struct {
	Registry *registry.Client
	Access   registry.Access
	Digest   string // of the manifest, "sha256:…"
}

// Verifier knows whom to trust.
type Verifier interface {
	// Verify returns true when the artifact carries a trusted signature, and false
	// without an error when the policy says that it needs none. Errors wrap
	// ErrUntrusted or are those of the registry.
	Verify(ctx context.Context, a Artifact) (bool, error)
}

// findings collects why signatures are not accepted.
type findings struct {
	seen  int
	first error
}

func (f *findings) reject(err error) {
	if f.seen++; f.first == nil {
		f.first = err
	}
}

// err says that nothing was accepted.
func (f *findings) err(digest string) error {
	switch {
	case f.seen == 0:
		return fmt.Errorf("%w: %s has no signature", ErrUntrusted, digest)
	case f.seen == 1:
		return fmt.Errorf("%w: the signature of %s: %w", ErrUntrusted, digest, f.first)
	default:
		return fmt.Errorf("%w among the %d of %s; the first: %w", ErrUntrusted, f.seen, digest, f.first)
	}
}
