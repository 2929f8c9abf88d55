package decryption

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/pgp"
)

// dataKey is what the documents of these tests are encrypted with.
var dataKey = func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}()

// seal encrypts a document as the sops program does. groups with more than one
// element need the part of each.
func seal(t *testing.T, f format, plain string, keys ...keys.MasterKey) []byte {
	t.Helper()
	store := f.store()
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		KeyGroups: []sops.KeyGroup{keys}, Version: "3.13.3", LastModified: time.Now().UTC(),
		UnencryptedRegex: "^(apiVersion|kind|metadata|type)$",
	}}
	mac, err := tree.Encrypt(dataKey, aes.NewCipher())
	if err != nil {
		t.Fatal(err)
	}
	tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ageKey returns a recipient and the Secret data that decrypts for it.
func ageKey(t *testing.T) (keys.MasterKey, map[string][]byte) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := sopsage.MasterKeyFromRecipient(identity.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Encrypt(dataKey); err != nil {
		t.Fatal(err)
	}
	return key, map[string][]byte{"test.agekey": []byte("# a comment\n" + identity.String() + "\n")}
}

// pgpKey does the same for OpenPGP.
func pgpKey(t *testing.T) (keys.MasterKey, map[string][]byte) {
	t.Helper()
	entity, err := openpgp.NewEntity("Test", "", "test@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var private, message bytes.Buffer
	w, err := armor.Encode(&private, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entity.SerializePrivate(w, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	key := pgp.NewMasterKeyFromFingerprint(string(bytes.ToUpper([]byte(entity.PrimaryKey.KeyIdString()))))
	if w, err = armor.Encode(&message, "PGP MESSAGE", nil); err != nil {
		t.Fatal(err)
	}
	p, err := openpgp.Encrypt(w, []*openpgp.Entity{entity}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Write(dataKey)
	p.Close()
	w.Close()
	key.SetEncryptedDataKey(message.Bytes())
	return key, map[string][]byte{"test.asc": private.Bytes()}
}
