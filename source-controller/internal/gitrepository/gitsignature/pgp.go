package gitsignature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

type pgpKeys openpgp.EntityList

func (k *pgpKeys) add(text []byte) error {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("it holds no armored OpenPGP key: %w", err)
	}
	*k = append(*k, list...)
	return nil
}

// verify accepts exactly one signature, by a key that is valid now.
func (k pgpKeys) verify(payload, text []byte) (string, error) {
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil {
		return "", fmt.Errorf("%w: its armor cannot be read", ErrSignature)
	}
	data, err := io.ReadAll(block.Body)
	if err != nil {
		return "", fmt.Errorf("%w: its armor cannot be read", ErrSignature)
	}
	if err := single(data); err != nil {
		return "", err
	}
	now := time.Now()
	signature, signer, err := openpgp.VerifyDetachedSignature(openpgp.EntityList(k), bytes.NewReader(payload), bytes.NewReader(data), &packet.Config{Time: func() time.Time { return now }})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("%w: the OpenPGP key that made it is not trusted", ErrSignature)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if err := expired(signer, signature, now); err != nil {
		return "", err
	}
	return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
}

// single refuses what is not one signature: of several, another program might
// look at another one.
func single(data []byte) error {
	r := packet.NewReader(bytes.NewReader(data))
	for n := 0; ; n++ {
		p, err := r.Next()
		if errors.Is(err, io.EOF) && n == 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: it cannot be read", ErrSignature)
		}
		if _, ok := p.(*packet.Signature); !ok || n > 0 {
			return fmt.Errorf("%w: it is not exactly one OpenPGP signature", ErrSignature)
		}
	}
}

// expired refuses keys that were valid when they signed and no longer are, as git
// does: the time of signing is the signer's word.
func expired(signer *openpgp.Entity, signature *packet.Signature, now time.Time) error {
	self, _ := signer.PrimarySelfSignature()
	if self == nil {
		return fmt.Errorf("%w: the key has no valid self-signature", ErrSignature)
	}
	if signer.PrimaryKey.KeyExpired(self, now) {
		return fmt.Errorf("%w: the key %X has expired", ErrSignature, signer.PrimaryKey.Fingerprint)
	}
	if signer.Revoked(now) {
		return fmt.Errorf("%w: the key %X is revoked", ErrSignature, signer.PrimaryKey.Fingerprint)
	}
	for i := range signer.Subkeys {
		sub := &signer.Subkeys[i]
		if signature.IssuerKeyId == nil || sub.PublicKey.KeyId != *signature.IssuerKeyId {
			continue
		}
		if sub.Sig == nil || sub.PublicKey.KeyExpired(sub.Sig, now) {
			return fmt.Errorf("%w: the subkey %X has expired", ErrSignature, sub.PublicKey.Fingerprint)
		}
		if sub.Revoked(now) {
			return fmt.Errorf("%w: the subkey %X is revoked", ErrSignature, sub.PublicKey.Fingerprint)
		}
	}
	return nil
}
