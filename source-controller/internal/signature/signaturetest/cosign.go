// Package signaturetest signs artifacts in a registry for tests, with keys and
// authorities that it makes for the occasion.
package signaturetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// SignPredicate is the predicate type of a statement that is a signature.
const SignPredicate = "https://sigstore.dev/cosign/sign/v1"

const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statementType = "application/vnd.in-toto+json"
)

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NewKey makes a key pair, as cosign does.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Must(t, err)
	return key
}

// PEM is the public half of a key.
func PEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	data, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	Must(t, err)
	return data
}

// Layer is a signature in the layout with a tag.
type Layer struct {
	Payload     []byte
	Annotations map[string]string
}

// Payload is what is signed of an artifact in that layout.
func Payload(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.test/app"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

// KeyLayer signs a payload with a key.
func KeyLayer(t testing.TB, key crypto.Signer, payload []byte) Layer {
	t.Helper()
	return Layer{Payload: payload, Annotations: map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sign(t, key, payload)),
	}}
}

func sign(t testing.TB, key crypto.Signer, data []byte) []byte {
	t.Helper()
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	Must(t, err)
	sig, err := signer.SignMessage(bytes.NewReader(data))
	Must(t, err)
	return sig
}

// PutLayers writes the signatures of an artifact, in the layout with a tag.
func PutLayers(t testing.TB, artifact name.Digest, layers ...Layer) {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, l := range layers {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer(l.Payload, "application/vnd.dev.cosign.simplesigning.v1+json"), Annotations: l.Annotations,
		})
		Must(t, err)
	}
	Must(t, remote.Write(artifact.Context().Tag(strings.Replace(artifact.DigestStr(), ":", "-", 1)+".sig"), img))
}

// Statement is an in-toto statement about an artifact.
func Statement(digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

// KeyBundle signs a statement with a key.
func KeyBundle(t testing.TB, key crypto.Signer, statement []byte) []byte {
	t.Helper()
	return marshal(t, &protobundle.Bundle{
		MediaType: bundleType,
		VerificationMaterial: &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
			PublicKey: &protocommon.PublicKeyIdentifier{Hint: "test"},
		}},
		Content: envelope(statement, sign(t, key, dsse.PAE(statementType, statement))),
	})
}

func envelope(statement, sig []byte) *protobundle.Bundle_DsseEnvelope {
	return &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: statement, PayloadType: statementType, Signatures: []*protodsse.Signature{{Sig: sig}},
	}}
}

func marshal(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	data, err := protojson.Marshal(b)
	Must(t, err)
	return data
}

// PutBundle writes a bundle that refers to an artifact.
func PutBundle(t testing.TB, artifact name.Digest, data []byte) {
	t.Helper()
	Refer(t, artifact, bundleType, bundleType, data)
}

// Refer writes a manifest of the given artifact type with one layer that refers to
// an artifact.
func Refer(t testing.TB, artifact name.Digest, artifactType, layerType string, data []byte) {
	t.Helper()
	subject, err := remote.Head(artifact)
	Must(t, err)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(data, types.MediaType(layerType)))
	Must(t, err)
	img = mutate.Subject(mutate.ConfigMediaType(img, types.MediaType(artifactType)), *subject).(v1.Image)
	h, err := img.Digest()
	Must(t, err)
	Must(t, remote.Write(artifact.Context().Digest(h.String()), img))
}
