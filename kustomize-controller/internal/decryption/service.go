package decryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/keyservice"
)

// serviceTimeout bounds one request for a key, and maxDataKey the answer.
const (
	serviceTimeout = 10 * time.Second
	maxDataKey     = 4 << 10
)

// service is a SOPS key service for one decryption, made of a ring.
type service struct {
	keyservice.UnimplementedKeyServiceServer
	ctx  context.Context // SOPS passes none on
	ring *ring
	// missing collects why the keys that were tried did not do.
	missing []string
}

// Encrypt implements keyservice.KeyServiceServer by refusing.
func (*service) Encrypt(context.Context, *keyservice.EncryptRequest) (*keyservice.EncryptResponse, error) {
	return nil, errors.New("this service only decrypts")
}

// Decrypt implements keyservice.KeyServiceServer.
func (s *service) Decrypt(_ context.Context, req *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	ctx, cancel := context.WithTimeout(s.ctx, serviceTimeout)
	defer cancel()
	name, plain, err := s.decrypt(ctx, req)
	if err != nil {
		s.missing = append(s.missing, fmt.Sprintf("%s: %s", name, brief(err)))
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: plain}, nil
}

// decrypt decrypts a data key. name says in any case with what.
func (s *service) decrypt(ctx context.Context, req *keyservice.DecryptRequest) (name string, plain []byte, err error) {
	switch k := req.GetKey().GetKeyType().(type) {
	case *keyservice.Key_AgeKey:
		plain, err = s.ring.decryptAge(req.Ciphertext)
		return fmt.Sprintf("age recipient %q", k.AgeKey.Recipient), plain, err
	case *keyservice.Key_PgpKey:
		plain, err = s.ring.decryptPGP(req.Ciphertext)
		return fmt.Sprintf("OpenPGP key %q", k.PgpKey.Fingerprint), plain, err
	case *keyservice.Key_VaultKey:
		plain, err = s.ring.decryptVault(ctx, k.VaultKey, req.Ciphertext)
		return fmt.Sprintf("Vault key %q at %q", k.VaultKey.KeyName, k.VaultKey.VaultAddress), plain, err
	case *keyservice.Key_KmsKey:
		plain, err = s.ring.decryptAWS(ctx, k.KmsKey, req.Ciphertext)
		return fmt.Sprintf("AWS KMS key %q", k.KmsKey.Arn), plain, err
	case *keyservice.Key_GcpKmsKey:
		plain, err = s.ring.decryptGCP(ctx, k.GcpKmsKey, req.Ciphertext)
		return fmt.Sprintf("GCP KMS key %q", k.GcpKmsKey.ResourceId), plain, err
	case *keyservice.Key_AzureKeyvaultKey:
		plain, err = s.ring.decryptAzure(ctx, k.AzureKeyvaultKey, req.Ciphertext)
		return fmt.Sprintf("Azure key %q at %q", k.AzureKeyvaultKey.Name, k.AzureKeyvaultKey.VaultUrl), plain, err
	}
	return "a key of an unknown kind", nil, errors.New("this kind of key is not supported")
}

func (r *ring) decryptAge(ciphertext []byte) ([]byte, error) {
	if len(r.age) == 0 {
		return nil, errors.New(`the Secret has no age identity ("*.agekey")`)
	}
	plain, err := age.Decrypt(agearmor.NewReader(bytes.NewReader(ciphertext)), r.age...)
	if err != nil {
		return nil, errors.New("none of the age identities in the Secret fits")
	}
	return io.ReadAll(io.LimitReader(plain, maxDataKey))
}

func (r *ring) decryptPGP(ciphertext []byte) ([]byte, error) {
	if len(r.pgp) == 0 {
		return nil, errors.New(`the Secret has no OpenPGP key ("*.asc")`)
	}
	block, err := armor.Decode(bytes.NewReader(ciphertext))
	if err != nil {
		return nil, errors.New("its encrypted data key is not an OpenPGP message")
	}
	message, err := openpgp.ReadMessage(block.Body, r.pgp, nil, nil)
	if err != nil {
		return nil, errors.New("none of the OpenPGP keys in the Secret fits")
	}
	return io.ReadAll(io.LimitReader(message.UnverifiedBody, maxDataKey))
}

// brief shortens the text of a remote service to one line.
func brief(err error) string {
	const most = 300
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
