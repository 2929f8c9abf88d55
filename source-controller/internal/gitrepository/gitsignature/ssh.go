package gitsignature

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

const (
	sshMagic     = "SSHSIG"
	sshVersion   = 1
	sshNamespace = "git" // what the signature was made for
)

type sshKeys []ssh.PublicKey

func (k *sshKeys) add(text []byte) error {
	for n := 0; ; n++ {
		key, _, _, rest, err := ssh.ParseAuthorizedKey(text)
		if err != nil && n > 0 && len(bytes.TrimSpace(text)) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it holds no SSH public key in the form of authorized_keys")
		}
		if _, certificate := key.(*ssh.Certificate); certificate {
			return fmt.Errorf("it holds a certificate: only plain keys are supported")
		}
		*k = append(*k, key)
		text = rest
	}
}

// sshBlob is what is in the armor (PROTOCOL.sshsig), after the magic bytes.
type sshBlob struct {
	Version       uint32
	PublicKey     []byte
	Namespace     string
	Reserved      string
	HashAlgorithm string
	Signature     []byte
}

// sshSigned is what is signed, after the magic bytes.
type sshSigned struct {
	Namespace     string
	Reserved      string
	HashAlgorithm string
	Hash          []byte
}

func (k sshKeys) verify(payload, text []byte) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("%w: %s", ErrSignature, fmt.Sprintf(format, args...))
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "SSH SIGNATURE" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return bad("its armor cannot be read")
	}
	data, found := bytes.CutPrefix(block.Bytes, []byte(sshMagic))
	var blob sshBlob
	if !found || ssh.Unmarshal(data, &blob) != nil {
		return bad("it is no SSH signature")
	}
	var inner ssh.Signature
	if ssh.Unmarshal(blob.Signature, &inner) != nil {
		return bad("it is no SSH signature")
	}
	switch {
	case blob.Version != sshVersion:
		return bad("its version is %d, not %d", blob.Version, sshVersion)
	case blob.Namespace != sshNamespace:
		return bad("it was made for %q, not for %q", blob.Namespace, sshNamespace)
	case inner.Format == ssh.KeyAlgoRSA || inner.Format == ssh.InsecureKeyAlgoDSA: //nolint:staticcheck // named in order to refuse it
		return bad("its algorithm %q is no longer safe", inner.Format)
	}
	var hash []byte
	switch blob.HashAlgorithm {
	case "sha256":
		sum := sha256.Sum256(payload)
		hash = sum[:]
	case "sha512":
		sum := sha512.Sum512(payload)
		hash = sum[:]
	default:
		return bad("its hash algorithm %q is not supported", blob.HashAlgorithm)
	}
	signed := append([]byte(sshMagic), ssh.Marshal(sshSigned{blob.Namespace, blob.Reserved, blob.HashAlgorithm, hash})...)
	for _, key := range k {
		if !bytes.Equal(key.Marshal(), blob.PublicKey) {
			continue
		}
		if key.Verify(signed, &inner) != nil {
			return bad("it does not fit the content")
		}
		return ssh.FingerprintSHA256(key), nil
	}
	return bad("the SSH key that made it is not trusted")
}
