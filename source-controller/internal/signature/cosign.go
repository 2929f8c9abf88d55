package signature

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/weirhq/weir/internal/registry"
)

// What cosign puts into a registry: bundles that refer to the artifact, since its
// version 3, and an image beside the artifact before that. The formats are
// described in the documents BUNDLE_SPEC and SIGNATURE_SPEC of cosign.
const (
	bundleType     = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signPredicate  = "https://sigstore.dev/cosign/sign/v1" // other statements about an artifact are no signatures of it
	simpleSigning  = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureNote  = "dev.cosignproject.cosign/signature"
	simpleClaim    = "cosign container image signature"
	statementClaim = signPredicate
)

// authority decides over signatures that were found.
type authority interface {
	// statement verifies a bundle over the artifact of the given SHA-256 sum.
	statement(b *bundle.Bundle, sum []byte) (*verify.VerificationResult, error)
	// payload verifies the signature of a simple signing payload.
	payload(l layer) error
}

// Cosign verifies signatures made with cosign.
type Cosign struct{ authority authority }

// keyring trusts public keys.
type keyring []signature.Verifier

// NewKeys returns a Verifier that trusts the public keys, in PEM, of the entries
// of a Secret whose names end in ".pub". One of them must have signed; a
// transparency log is not asked for. The error wraps ErrTrust.
func NewKeys(data map[string][]byte) (*Cosign, error) {
	var names []string
	for name := range data {
		if strings.HasSuffix(name, ".pub") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: the secret has no public key: its name must end in \".pub\"", ErrTrust)
	}
	slices.Sort(names)
	var keys keyring
	for _, name := range names {
		key, err := cryptoutils.UnmarshalPEMToPublicKey(data[name])
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no public key in PEM", ErrTrust, name)
		}
		verifier, err := signature.LoadVerifier(key, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrTrust, name, err)
		}
		keys = append(keys, verifier)
	}
	return &Cosign{authority: keys}, nil
}

// Verify implements Verifier.
func (c *Cosign) Verify(ctx context.Context, a Artifact) (bool, error) {
	sum, err := hex.DecodeString(strings.TrimPrefix(a.Digest, "sha256:"))
	if err != nil {
		return false, fmt.Errorf("%w: %q is no SHA-256 digest", ErrUntrusted, a.Digest)
	}
	var f findings
	if ok, err := c.bundles(ctx, a, sum, &f); ok || err != nil {
		return ok, err
	}
	if ok, err := c.layers(ctx, a, &f); ok || err != nil {
		return ok, err
	}
	return false, f.err(a.Digest)
}

// bundles looks at the bundles that refer to the artifact.
func (c *Cosign) bundles(ctx context.Context, a Artifact, sum []byte, f *findings) (bool, error) {
	found, err := a.Registry.Referrers(ctx, a.Access, a.Digest, bundleType)
	if err != nil {
		return false, fmt.Errorf("looking for signatures: %w", err)
	}
	for _, d := range found[:min(len(found), maxSignatures)] {
		data, err := only(ctx, a, d.Digest.String(), bundleType)
		if err != nil {
			return false, err
		}
		if err := c.accept(data, sum); err != nil {
			f.reject(err)
			continue
		}
		return true, nil
	}
	return false, nil
}

// only reads the blob of the given media type that a referring manifest is about.
func only(ctx context.Context, a Artifact, digest string, mediaType string) ([]byte, error) {
	m, err := a.Registry.Manifest(ctx, a.Access, digest)
	if err != nil {
		return nil, fmt.Errorf("reading a signature: %w", err)
	}
	image, err := v1.ParseManifest(bytes.NewReader(m.Bytes))
	if err != nil || len(image.Layers) == 0 || mediaType != "" && string(image.Layers[0].MediaType) != mediaType {
		return nil, nil // no signature, which is found out when it is parsed
	}
	data, err := a.Registry.Read(ctx, a.Access, image.Layers[0].Digest.String(), maxSignature)
	if err != nil {
		return nil, fmt.Errorf("reading a signature: %w", err)
	}
	return data, nil
}

// accept verifies a bundle and that it says what cosign says when it signs.
func (c *Cosign) accept(data, sum []byte) error {
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("it is no bundle: %w", err)
	}
	result, err := c.authority.statement(b, sum)
	if err != nil {
		return err
	}
	if result.Statement == nil || result.Statement.GetPredicateType() != signPredicate {
		return fmt.Errorf("it is an attestation, not a signature: its predicate type is not %q", signPredicate)
	}
	return nil
}

// layer is a signature in the layout with a tag.
type layer struct {
	payload     []byte
	signature   []byte
	annotations map[string]string
}

// layers looks at the image under the tag "sha256-<sum>.sig", each layer of which
// is a signature.
func (c *Cosign) layers(ctx context.Context, a Artifact, f *findings) (bool, error) {
	tag := strings.Replace(a.Digest, ":", "-", 1) + ".sig"
	digest, err := a.Registry.Digest(ctx, a.Access, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for signatures: %w", err)
	}
	image, err := a.Registry.Image(ctx, a.Access, digest)
	if err != nil {
		return false, fmt.Errorf("reading the signatures: %w", err)
	}
	for _, d := range image.Layers[:min(len(image.Layers), maxSignatures)] {
		if string(d.MediaType) != simpleSigning {
			continue
		}
		payload, err := a.Registry.Read(ctx, a.Access, d.Digest.String(), maxSignature)
		if err != nil {
			return false, fmt.Errorf("reading a signature: %w", err)
		}
		if err := c.acceptLayer(payload, d.Annotations, a.Digest); err != nil {
			f.reject(err)
			continue
		}
		return true, nil
	}
	return false, nil
}

func (c *Cosign) acceptLayer(payload []byte, annotations map[string]string, digest string) error {
	sig, err := base64.StdEncoding.DecodeString(annotations[signatureNote])
	if err != nil || len(sig) == 0 {
		return fmt.Errorf("the annotation %q is no signature", signatureNote)
	}
	if err := c.authority.payload(layer{payload: payload, signature: sig, annotations: annotations}); err != nil {
		return err
	}
	return claims(payload, digest)
}

// claims tells whether a verified payload is about the artifact.
func claims(payload []byte, digest string) error {
	var claim struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &claim); err != nil {
		return fmt.Errorf("its payload is no JSON: %w", err)
	}
	if t := claim.Critical.Type; t != simpleClaim && t != statementClaim {
		return fmt.Errorf("its payload is of the type %q", t)
	}
	if claim.Critical.Image.Digest != digest {
		return fmt.Errorf("it is of another artifact, %q", claim.Critical.Image.Digest)
	}
	return nil
}

func (keys keyring) payload(l layer) error {
	for _, key := range keys {
		if key.VerifySignature(bytes.NewReader(l.signature), bytes.NewReader(l.payload)) == nil {
			return nil
		}
	}
	return errors.New("it is by none of the trusted keys")
}
