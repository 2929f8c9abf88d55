// Package signing signs commits with the OpenPGP or SSH key of a Secret.
package signing

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"

	imagev1 "github.com/weirhq/weir/api/image/v1"
)

// ErrKey is wrapped by all errors about the key; they name the Secret's field.
var ErrKey = errors.New("signing key")

// minRSA is the shortest RSA key that is used for SSH signatures, in bits.
const minRSA = 2048

// A Signer returns the armoured signature of the bytes of a commit.
type Signer func(payload []byte) (string, error)

// New reads the key of a Secret: "git.asc" and "passphrase" for the type gpg,
// which is the default, "identity" and "password" for ssh.
func New(kind imagev1.SigningKeyType, secret map[string][]byte) (Signer, error) {
	switch kind {
	case "", imagev1.SigningKeyTypeGPG:
		return newGPG(secret["git.asc"], secret["passphrase"])
	case imagev1.SigningKeyTypeSSH:
		return newSSH(secret["identity"], secret["password"])
	default:
		return nil, fmt.Errorf("%w: the type %q is neither gpg nor ssh", ErrKey, kind)
	}
}

func newGPG(armoured, passphrase []byte) (Signer, error) {
	if len(armoured) == 0 {
		return nil, fmt.Errorf("%w: the secret has no key \"git.asc\"", ErrKey)
	}
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armoured))
	if err != nil {
		return nil, fmt.Errorf("%w: \"git.asc\" is no armoured OpenPGP key: %w", ErrKey, err)
	}
	if len(ring) != 1 || ring[0].PrivateKey == nil {
		return nil, fmt.Errorf("%w: \"git.asc\" must hold exactly one private key", ErrKey)
	}
	if ring[0].PrivateKey.Encrypted {
		if err := ring[0].DecryptPrivateKeys(passphrase); err != nil {
			return nil, fmt.Errorf("%w: \"passphrase\" does not open \"git.asc\"", ErrKey)
		}
	}
	return func(payload []byte) (string, error) {
		var out bytes.Buffer
		if err := openpgp.ArmoredDetachSign(&out, ring[0], bytes.NewReader(payload), nil); err != nil {
			return "", fmt.Errorf("%w: %w", ErrKey, err)
		}
		return out.String(), nil
	}, nil
}

// sshMagic, sshNamespace and sshHash are of OpenSSH's PROTOCOL.sshsig.
const (
	sshMagic     = "SSHSIG"
	sshNamespace = "git"
	sshHash      = "sha512"
)

func newSSH(identity, password []byte) (Signer, error) {
	if len(identity) == 0 {
		return nil, fmt.Errorf("%w: the secret has no key \"identity\"", ErrKey)
	}
	raw, err := ssh.ParseRawPrivateKey(identity)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		if raw, err = ssh.ParseRawPrivateKeyWithPassphrase(identity, password); err != nil {
			return nil, fmt.Errorf("%w: \"password\" does not open \"identity\"", ErrKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: \"identity\" is no SSH private key", ErrKey)
	}
	key, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: \"identity\": %w", ErrKey, err)
	}
	algorithm := key.PublicKey().Type()
	switch algorithm {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
	case ssh.KeyAlgoRSA:
		if private, ok := raw.(*rsa.PrivateKey); !ok || private.N.BitLen() < minRSA {
			return nil, fmt.Errorf("%w: \"identity\" is an RSA key of fewer than %d bits", ErrKey, minRSA)
		}
		algorithm = ssh.KeyAlgoRSASHA512
	default:
		return nil, fmt.Errorf("%w: \"identity\" is of the type %q; use ed25519, ecdsa or rsa", ErrKey, algorithm)
	}
	signer, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("%w: \"identity\" cannot sign", ErrKey)
	}
	return func(payload []byte) (string, error) { return signSSH(signer, algorithm, payload) }, nil
}

func signSSH(signer ssh.AlgorithmSigner, algorithm string, payload []byte) (string, error) {
	sum := sha512.Sum512(payload)
	signed := append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{sshNamespace, "", sshHash, sum[:]})...)
	signature, err := signer.SignWithAlgorithm(rand.Reader, signed, algorithm)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	blob := append([]byte(sshMagic), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, signer.PublicKey().Marshal(), sshNamespace, "", sshHash, ssh.Marshal(signature)})...)
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob})), nil
}
