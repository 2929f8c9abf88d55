package signature

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// PolicyKey is the entry of a Secret that holds a trust policy.
	PolicyKey = "trustpolicy.json"
	// notationType is the artifact type of signatures; Notary Project specification,
	// "Signature Specification", section "OCI Signatures".
	notationType = "application/vnd.cncf.notary.signature"
	// revocationTimeout bounds one question to an authority about its certificates.
	revocationTimeout = 2 * time.Second
)

// Notation verifies signatures made with notation.
type Notation struct {
	policy *trustpolicy.Document
	store  certificates
}

// NewNotation returns a Verifier for the trust policy in the entry
// "trustpolicy.json" of a Secret. Every trust store that the policy names holds
// the certificates, in PEM, of the entries whose names end in ".crt" or ".pem".
// The error wraps ErrTrust.
func NewNotation(data map[string][]byte) (*Notation, error) {
	text, found := data[PolicyKey]
	if !found {
		return nil, fmt.Errorf("%w: the secret has no %q", ErrTrust, PolicyKey)
	}
	n := &Notation{policy: &trustpolicy.Document{}}
	if err := json.Unmarshal(text, n.policy); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrTrust, PolicyKey, err)
	}
	for i := range n.policy.TrustPolicies {
		p := &n.policy.TrustPolicies[i]
		if p.SignatureVerification.VerificationLevel == trustpolicy.LevelSkip.Name {
			p.TrustStores, p.TrustedIdentities = nil, nil // the library refuses what would not be used
		}
	}
	if err := n.policy.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrTrust, PolicyKey, err)
	}
	var names []string
	for name := range data {
		if strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".pem") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		more, err := parseCertificates(data[name])
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrTrust, name, err)
		}
		n.store = append(n.store, more...)
	}
	if len(n.store) == 0 {
		return nil, fmt.Errorf("%w: the secret has no certificate: its name must end in \".crt\" or \".pem\"", ErrTrust)
	}
	return n, nil
}

func parseCertificates(data []byte) (certificates, error) {
	var out certificates
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("it holds something else than certificates")
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return out, nil
}

// certificates is every trust store at once.
type certificates []*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (c certificates) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return c, nil
}

// Verify implements Verifier.
func (n *Notation) Verify(ctx context.Context, a Artifact) (bool, error) {
	v, err := n.verifier()
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	o := notation.VerifierVerifyOptions{ArtifactReference: a.Access.Repository.Name() + "@" + a.Digest}
	policy, err := n.policy.GetApplicableTrustPolicy(o.ArtifactReference)
	if err != nil {
		return false, fmt.Errorf("%w: %q has no policy for %q", ErrUntrusted, PolicyKey, a.Access.Repository.Name())
	}
	if policy.SignatureVerification.VerificationLevel == trustpolicy.LevelSkip.Name {
		return false, nil
	}
	m, err := a.Registry.Manifest(ctx, a.Access, a.Digest)
	if err != nil {
		return false, fmt.Errorf("reading the manifest: %w", err)
	}
	target := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(m.Digest), Size: int64(len(m.Bytes))}
	found, err := a.Registry.Referrers(ctx, a.Access, a.Digest, notationType)
	if err != nil {
		return false, fmt.Errorf("looking for signatures: %w", err)
	}
	var f findings
	for _, d := range found[:min(len(found), maxSignatures)] {
		ok, err := n.envelope(ctx, a, d.Digest.String(), v, target, o)
		if ok {
			return true, nil
		}
		if !errors.Is(err, errEnvelope) {
			return false, err
		}
		f.reject(err)
	}
	return false, f.err(a.Digest)
}

var errEnvelope = errors.New("it is not accepted")

// envelope verifies the signature that the manifest of the given digest holds. The
// error wraps errEnvelope or is the registry's.
func (n *Notation) envelope(ctx context.Context, a Artifact, signature string, v notation.Verifier, target ocispec.Descriptor, o notation.VerifierVerifyOptions) (bool, error) {
	image, err := a.Registry.Image(ctx, a.Access, signature)
	if err != nil {
		return false, fmt.Errorf("reading a signature: %w", err)
	}
	if len(image.Layers) != 1 || image.Layers[0].MediaType == "" {
		return false, fmt.Errorf("%w: it has %d layers instead of one", errEnvelope, len(image.Layers))
	}
	data, err := a.Registry.Read(ctx, a.Access, image.Layers[0].Digest.String(), maxSignature)
	if err != nil {
		return false, fmt.Errorf("reading a signature: %w", err)
	}
	o.SignatureMediaType = string(image.Layers[0].MediaType)
	outcome, err := v.Verify(ctx, target, data, o)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	return outcome != nil && outcome.Error == nil, nil
}

func (n *Notation) verifier() (notation.Verifier, error) {
	client := &http.Client{Timeout: revocationTimeout, Transport: outward}
	signing, err := revocation.NewWithOptions(revocation.Options{OCSPHTTPClient: client, CertChainPurpose: purpose.CodeSigning})
	if err != nil {
		return nil, err
	}
	stamping, err := revocation.NewWithOptions(revocation.Options{OCSPHTTPClient: client, CertChainPurpose: purpose.Timestamping})
	if err != nil {
		return nil, err
	}
	return verifier.NewWithOptions(n.policy, n.store, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator: signing, RevocationTimestampingValidator: stamping,
	})
}

// outward reaches the addresses that certificates name, and nothing on this
// machine or link.
var outward = &http.Transport{
	Proxy:             http.ProxyFromEnvironment,
	DisableKeepAlives: true,
	DialContext: (&net.Dialer{Timeout: revocationTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("%q is no address for certificates to name", address)
		}
		return nil
	}}).DialContext,
}
