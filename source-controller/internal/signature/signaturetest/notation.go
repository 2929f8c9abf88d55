package signaturetest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Notary is an authority for signatures of notation, and somebody who signs.
type Notary struct{ root, leaf testhelper.RSACertTuple }

// NewNotary makes one.
func NewNotary() *Notary {
	chain := testhelper.GetRevokableRSAChainWithRevocations(2, false, false) // without addresses to ask about revocation
	return &Notary{leaf: chain[0], root: chain[1]}
}

// Root is the certificate to trust.
func (n *Notary) Root() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.root.Cert.Raw})
}

// Subject is the name of who signs.
func (n *Notary) Subject() string { return "x509.subject: " + n.leaf.Cert.Subject.String() }

// Policy is a trust policy for all repositories.
func Policy(level, identity string) []byte {
	return PolicyFor("*", level, identity)
}

// PolicyFor is a trust policy for one repository.
func PolicyFor(scope, level, identity string) []byte {
	return fmt.Appendf(nil, `{"version":"1.0","trustPolicies":[{"name":"test","registryScopes":[%q],"signatureVerification":{"level":%q},"trustStores":["ca:test"],"trustedIdentities":[%q]}]}`, scope, level, identity)
}

// Media types of envelopes.
const (
	JWS  = "application/jose+json"
	COSE = "application/cose"
)

// Sign writes a signature of an artifact. With expiry it is not valid for longer.
func (n *Notary) Sign(t testing.TB, artifact name.Digest, envelope string, expiry time.Duration) {
	t.Helper()
	n.SignFor(t, artifact, artifact, envelope, expiry)
}

// SignFor writes a signature of one artifact that refers to another.
func (n *Notary) SignFor(t testing.TB, signed, artifact name.Digest, envelope string, expiry time.Duration) {
	t.Helper()
	s, err := signer.NewGenericSigner(n.leaf.PrivateKey, []*x509.Certificate{n.leaf.Cert, n.root.Cert})
	Must(t, err)
	d, err := remote.Head(signed)
	Must(t, err)
	data, _, err := s.Sign(t.Context(), ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size},
		notation.SignerSignOptions{SignatureMediaType: envelope, ExpiryDuration: expiry})
	Must(t, err)
	Refer(t, artifact, "application/vnd.cncf.notary.signature", envelope, data)
}
