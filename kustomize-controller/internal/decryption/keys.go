package decryption

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/getsops/sops/v3/logging"
	"github.com/sirupsen/logrus"
)

// Errors that a caller may want to tell apart.
var (
	// ErrKeys: the keys in a Secret cannot be used.
	ErrKeys = errors.New("unusable decryption key")
	// ErrNoKey: no key that is here decrypts the content.
	ErrNoKey = errors.New("no key decrypts it")
	// ErrContent: the content is not what SOPS writes, or was tampered with.
	ErrContent = errors.New("not valid SOPS content")
	// ErrTooLarge: the content is larger than MaxSize.
	ErrTooLarge = errors.New("encrypted content is too large")
)

// Keys of Secrets, besides the suffixes of OpenPGP and age keys.
const (
	vaultTokenKey = "sops.vault-token"
	awsKey        = "sops.aws-kms"
	azureKey      = "sops.azure-kv"
	gcpKey        = "sops.gcp-kms"
)

// Keys is what there is to decrypt with. It is safe for concurrent use.
type Keys struct {
	data     []map[string][]byte
	id       string
	identity Identity
	parse    func() (*ring, error)
}

// ring is Keys, parsed.
type ring struct {
	pgp   openpgp.EntityList
	age   []age.Identity
	cloud map[string][]byte

	identity *Identity // for services without an entry in cloud
}

func init() {
	logging.SetLevel(logrus.PanicLevel) // SOPS would log what it decrypts and how that went
}

// NewKeys returns the keys in the data of Secrets; where two set the same
// credential the first one counts. Nothing is parsed before it is needed.
func NewKeys(data ...map[string][]byte) *Keys {
	k := &Keys{data: data}
	h := sha256.New()
	for _, d := range data {
		for _, name := range slices.Sorted(maps.Keys(d)) {
			fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(d[name]))
		}
	}
	k.id = fmt.Sprintf("%x", h.Sum(nil))
	k.parse = sync.OnceValues(k.newRing)
	return k
}

// ID is another one when the keys are. It tells nothing about them.
func (k *Keys) ID() string { return k.id }

func (k *Keys) newRing() (*ring, error) {
	r := &ring{cloud: map[string][]byte{}, identity: &k.identity}
	for _, d := range k.data {
		for _, name := range slices.Sorted(maps.Keys(d)) {
			if err := r.add(name, d[name]); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// add takes one key of a Secret. Texts of parsers are left out: they may quote
// the key.
func (r *ring) add(name string, value []byte) error {
	switch {
	case strings.HasSuffix(name, ".asc"):
		entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(value))
		if err != nil {
			return fmt.Errorf("%w: %q is not an ASCII-armored OpenPGP private key", ErrKeys, name)
		}
		for _, e := range entities {
			if e.PrivateKey == nil {
				return fmt.Errorf("%w: %q holds a public key only; export it with gpg --export-secret-keys --armor", ErrKeys, name)
			}
			if e.PrivateKey.Encrypted {
				return fmt.Errorf("%w: %q is protected by a passphrase; export it without one", ErrKeys, name)
			}
		}
		r.pgp = append(r.pgp, entities...)
	case strings.HasSuffix(name, ".agekey"):
		identities, err := age.ParseIdentities(bytes.NewReader(value))
		if err != nil {
			return fmt.Errorf("%w: %q is not an age identity (AGE-SECRET-KEY-...)", ErrKeys, name)
		}
		r.age = append(r.age, identities...)
	case slices.Contains([]string{vaultTokenKey, awsKey, azureKey, gcpKey}, name):
		if _, there := r.cloud[name]; !there {
			r.cloud[name] = value
		}
	}
	return nil
}
