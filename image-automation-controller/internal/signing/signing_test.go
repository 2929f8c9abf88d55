package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"golang.org/x/crypto/ssh"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/signing"
)

const payload = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nmessage\n"

func TestGPG(t *testing.T) {
	for _, passphrase := range []string{"", "open sesame"} {
		entity, err := openpgp.NewEntity("Bot", "", "bot@example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		key := armoured(t, entity, passphrase)
		sign, err := signing.New("", map[string][]byte{"git.asc": key, "passphrase": []byte(passphrase)})
		if err != nil {
			t.Fatal(err)
		}
		signature, err := sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{entity}, strings.NewReader(payload), strings.NewReader(signature), nil); err != nil {
			t.Errorf("the signature does not verify: %v", err)
		}
		if passphrase == "" {
			continue
		}
		if _, err := signing.New("gpg", map[string][]byte{"git.asc": key, "passphrase": []byte("wrong")}); !errors.Is(err, signing.ErrKey) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("got %v, want ErrKey", err)
		}
	}
}

func armoured(t *testing.T, entity *openpgp.Entity, passphrase string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase == "" {
		err = entity.SerializePrivate(w, nil)
	} else {
		if err := entity.EncryptPrivateKeys([]byte(passphrase), nil); err != nil {
			t.Fatal(err)
		}
		err = entity.SerializePrivateWithoutSigning(w, nil)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSSH verifies the signatures with OpenSSH.
func TestSSH(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not on the machine")
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ed25519": ed, "ecdsa": ec, "rsa": long} {
		for _, password := range []string{"", "open sesame"} {
			t.Run(name+password, func(t *testing.T) {
				sign, err := signing.New(imagev1.SigningKeyTypeSSH, map[string][]byte{"identity": identity(t, key, password), "password": []byte(password)})
				if err != nil {
					t.Fatal(err)
				}
				signature, err := sign([]byte(payload))
				if err != nil {
					t.Fatal(err)
				}
				public, err := ssh.NewPublicKey(key.Public())
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				write(t, dir+"/signature", signature)
				write(t, dir+"/signers", "bot@example.com "+string(ssh.MarshalAuthorizedKey(public)))
				verify := exec.Command(keygen, "-Y", "verify", "-f", filepath.Join(dir, "signers"), "-I", "bot@example.com", "-n", "git", "-s", filepath.Join(dir, "signature"))
				verify.Stdin = strings.NewReader(payload)
				if out, err := verify.CombinedOutput(); err != nil {
					t.Errorf("the signature does not verify: %v %s", err, out)
				}
			})
		}
	}
}

func identity(t *testing.T, key crypto.PrivateKey, password string) []byte {
	t.Helper()
	var block *pem.Block
	var err error
	if password == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(password))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	locked := identity(t, ed, "open sesame")
	for name, c := range map[string]struct {
		kind   imagev1.SigningKeyType
		secret map[string][]byte
		text   string
	}{
		"no gpg key":     {"", nil, `"git.asc"`},
		"no ssh key":     {"ssh", nil, `"identity"`},
		"not a gpg key":  {"gpg", map[string][]byte{"git.asc": []byte("x")}, `"git.asc"`},
		"not an ssh key": {"ssh", map[string][]byte{"identity": []byte("x")}, `"identity"`},
		"wrong password": {"ssh", map[string][]byte{"identity": locked, "password": []byte("hunter2!")}, `"password"`},
		"no password":    {"ssh", map[string][]byte{"identity": locked}, `"password"`},
		"another type":   {"x509", nil, "x509"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := signing.New(c.kind, c.secret); !errors.Is(err, signing.ErrKey) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "hunter2!") {
				t.Errorf("got %v, want ErrKey with %s", err, c.text)
			}
		})
	}
}
