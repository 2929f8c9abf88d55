package signaturetest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Sigstore is an authority for keyless signatures of its own, with a transparency
// log and a timestamping authority.
type Sigstore struct{ virtual *ca.VirtualSigstore }

// NewSigstore makes one.
func NewSigstore(t testing.TB) *Sigstore {
	t.Helper()
	v, err := ca.NewVirtualSigstore()
	Must(t, err)
	return &Sigstore{v}
}

// Root says what to leave out of a trusted root.
type Root struct{ NoLog, NoTimestamps, CertificateLog bool }

// TrustedRoot is what trusts this authority. It has a certificate log only if that
// is asked for, as certificates are not in one.
func (s *Sigstore) TrustedRoot(t testing.TB, o Root) []byte {
	t.Helper()
	var logs, certificateLogs map[string]*root.TransparencyLog
	var stamps []root.TimestampingAuthority
	if !o.NoLog {
		logs = raw(t, s.virtual.RekorLogs())
	}
	if !o.NoTimestamps {
		stamps = s.virtual.TimestampingAuthorities()
	}
	if o.CertificateLog {
		certificateLogs = raw(t, s.virtual.CTLogs())
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.virtual.FulcioCertificateAuthorities(), certificateLogs, stamps, logs)
	Must(t, err)
	data, err := trusted.MarshalJSON()
	Must(t, err)
	return data
}

// raw gives logs the ID that belongs into a trusted root.
func raw(t testing.TB, logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	t.Helper()
	for _, l := range logs {
		id, err := hex.DecodeString(string(l.ID))
		Must(t, err)
		l.ID = id
	}
	return logs
}

// signingTime is in the middle of the ten minutes that a certificate is valid.
func signingTime() time.Time { return time.Now().Add(5 * time.Minute) }

// Bundle signs a statement for an identity.
func (s *Sigstore) Bundle(t testing.TB, subject, issuer string, statement []byte) []byte {
	t.Helper()
	e, err := s.virtual.AttestAtTime(subject, issuer, statement, signingTime(), true)
	Must(t, err)
	certificate, entry, content := s.parts(t, e)
	stamps, err := e.Timestamps()
	Must(t, err)
	return marshal(t, &protobundle.Bundle{
		MediaType: bundleType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: certificate}},
			TlogEntries: []*protorekor.TransparencyLogEntry{entry},
			TimestampVerificationData: &protobundle.TimestampVerificationData{
				Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamps[0]}},
			},
		},
		Content: envelope(statement, content.Signature()),
	})
}

// parts takes an entity apart, and adds to the log's entry what the library keeps to
// itself.
func (s *Sigstore) parts(t testing.TB, e *ca.TestEntity) (certificate []byte, entry *protorekor.TransparencyLogEntry, content verify.SignatureContent) {
	t.Helper()
	material, err := e.VerificationContent()
	Must(t, err)
	entries, err := e.TlogEntries()
	Must(t, err)
	content, err = e.SignatureContent()
	Must(t, err)
	entry = entries[0].TransparencyLogEntry()
	var kind struct{ APIVersion, Kind string }
	Must(t, json.Unmarshal(entry.CanonicalizedBody, &kind))
	entry.KindVersion = &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion}
	promise, err := s.virtual.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(entry.CanonicalizedBody), IntegratedTime: entry.IntegratedTime,
		LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogId.KeyId),
	})
	Must(t, err)
	entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	return material.Certificate().Raw, entry, content
}

// Layer signs a payload for an identity, in the layout with a tag.
func (s *Sigstore) Layer(t testing.TB, subject, issuer string, payload []byte) Layer {
	t.Helper()
	e, err := s.virtual.SignAtTime(subject, issuer, payload, signingTime())
	Must(t, err)
	certificate, entry, content := s.parts(t, e)
	note, err := json.Marshal(map[string]any{
		"SignedEntryTimestamp": entry.InclusionPromise.SignedEntryTimestamp,
		"Payload": map[string]any{
			"body": entry.CanonicalizedBody, "integratedTime": entry.IntegratedTime,
			"logIndex": entry.LogIndex, "logID": hex.EncodeToString(entry.LogId.KeyId),
		},
	})
	Must(t, err)
	stamps, err := e.Timestamps()
	Must(t, err)
	stamp, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": stamps[0]})
	Must(t, err)
	return Layer{Payload: payload, Annotations: map[string]string{
		"dev.cosignproject.cosign/signature":   base64.StdEncoding.EncodeToString(content.Signature()),
		"dev.sigstore.cosign/certificate":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})),
		"dev.sigstore.cosign/bundle":           string(note),
		"dev.sigstore.cosign/rfc3161timestamp": string(stamp),
	}}
}
