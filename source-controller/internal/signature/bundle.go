package signature

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

func (keys keyring) statement(b *bundle.Bundle, sum []byte) (*verify.VerificationResult, error) {
	for _, key := range keys {
		trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
		})
		v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
		if err != nil {
			return nil, err
		}
		result, err := v.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), verify.WithKey()))
		if err == nil {
			return result, nil
		}
	}
	return nil, errors.New("it is by none of the trusted keys, or of another artifact")
}

// Identity describes who may have signed, by regular expressions that the issuer
// and the subject of the certificate must both match.
type Identity struct{ Issuer, Subject string }

// keyless trusts certificates that were given to an identity.
type keyless struct {
	verifier *verify.Verifier
	policy   []verify.PolicyOption
}

// NewKeyless returns a Verifier that trusts signatures by one of the identities
// (anybody when there are none) with a certificate of an authority of trusted. The
// signature must be in a transparency log, and the certificate too, if trusted
// knows such logs; the time of signing comes from there or from a timestamping
// authority of trusted. The error wraps ErrTrust.
func NewKeyless(trusted root.TrustedMaterial, identities []Identity) (*Cosign, error) {
	var demands []verify.VerifierOption
	if len(trusted.RekorLogs()) > 0 {
		demands = append(demands, verify.WithTransparencyLog(1))
	}
	if len(trusted.CTLogs()) > 0 {
		demands = append(demands, verify.WithSignedCertificateTimestamps(1))
	}
	if len(trusted.RekorLogs())+len(trusted.TimestampingAuthorities()) == 0 {
		return nil, fmt.Errorf("%w: the trusted root has neither a transparency log nor a timestamping authority, so nothing tells when a signature was made", ErrTrust)
	}
	v, err := verify.NewVerifier(trusted, append(demands, verify.WithObserverTimestamps(1))...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	k := &keyless{verifier: v}
	for i, id := range identities {
		who, err := verify.NewShortCertificateIdentity("", id.Issuer, "", id.Subject)
		if err != nil {
			return nil, fmt.Errorf("%w: the identity %d: %w", ErrTrust, i, err)
		}
		k.policy = append(k.policy, verify.WithCertificateIdentity(who))
	}
	if len(identities) == 0 {
		k.policy = append(k.policy, verify.WithoutIdentitiesUnsafe())
	}
	return &Cosign{authority: k}, nil
}

// ParseTrustedRoot reads a trusted root in the JSON form of the Sigstore
// protobuf-specs. The error wraps ErrTrust.
func ParseTrustedRoot(data []byte) (root.TrustedMaterial, error) {
	trusted, err := root.NewTrustedRootFromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%w: it is no trusted root: %w", ErrTrust, err)
	}
	return trusted, nil
}

func (k *keyless) statement(b *bundle.Bundle, sum []byte) (*verify.VerificationResult, error) {
	return k.verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), k.policy...))
}

func (k *keyless) payload(l layer) error {
	b, err := l.bundle()
	if err != nil {
		return err
	}
	_, err = k.verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(l.payload)), k.policy...))
	return err
}

// Annotations of a signature in the layout with a tag.
const (
	certificateNote = "dev.sigstore.cosign/certificate"
	logNote         = "dev.sigstore.cosign/bundle"
	timestampNote   = "dev.sigstore.cosign/rfc3161timestamp"
)

// bundle brings a signature in the layout with a tag into the form of a bundle of
// version 0.1, which has the same parts.
func (l layer) bundle() (*bundle.Bundle, error) {
	block, _ := pem.Decode([]byte(l.annotations[certificateNote]))
	if block == nil {
		return nil, errors.New("it has no certificate")
	}
	sum := sha256.Sum256(l.payload)
	material := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}}},
	}}
	if text := l.annotations[logNote]; text != "" {
		entry, err := logEntry(text)
		if err != nil {
			return nil, fmt.Errorf("the annotation %q: %w", logNote, err)
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := l.annotations[timestampNote]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return nil, fmt.Errorf("the annotation %q: %w", timestampNote, err)
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	return bundle.NewBundle(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1",
		VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     l.signature,
		}},
	})
}

// logEntry reads the annotation with the entry of the transparency log.
func logEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var note struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"` // base64
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"` // hexadecimal
		}
	}
	if err := json.Unmarshal([]byte(text), &note); err != nil {
		return nil, err
	}
	body, err := base64.StdEncoding.DecodeString(note.Payload.Body)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(note.Payload.LogID)
	if err != nil {
		return nil, err
	}
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: note.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: note.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: note.SignedEntryTimestamp},
		CanonicalizedBody: body,
	}, nil
}
