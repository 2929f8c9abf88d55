package gitsignature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"
)

// body is an object without its signature; the tree is the empty one.
const body = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@weir.dev> 1700000000 +0000\ncommitter A <a@weir.dev> 1700000000 +0000\n"

func commit(message, signature string) string {
	if signature == "" {
		return body + "\n" + message
	}
	return body + "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ") + "\n\n" + message
}

func entity(t *testing.T, made time.Time, lifetime uint32) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Anna", "", "anna@weir.dev", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: lifetime, DefaultHash: crypto.SHA256, Time: func() time.Time { return made },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func public(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(e.Serialize(w), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pgpSign(t *testing.T, e *openpgp.Entity, payload string, at time.Time, lifetime uint32) string {
	t.Helper()
	var b bytes.Buffer
	err := openpgp.ArmoredDetachSign(&b, e, strings.NewReader(payload), &packet.Config{Time: func() time.Time { return at }, SigLifetimeSecs: lifetime, DefaultHash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func sshKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// otherSSHKey is a key of another kind, "ecdsa", "rsa" or "rsa with sha1".
func otherSSHKey(t *testing.T, kind string) ssh.Signer {
	t.Helper()
	var key any
	var err error
	if strings.HasPrefix(kind, "rsa") {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if algorithm := map[string]string{"rsa": ssh.KeyAlgoRSASHA512, "rsa with sha1": ssh.KeyAlgoRSA}[kind]; err == nil && algorithm != "" {
		s, err = ssh.NewSignerWithAlgorithms(s.(ssh.AlgorithmSigner), []string{algorithm})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sshSign(t *testing.T, s ssh.Signer, payload, namespace string) string {
	t.Helper()
	sum := sha512.Sum512([]byte(payload))
	data := append([]byte(sshMagic), ssh.Marshal(sshSigned{namespace, "", "sha512", sum[:]})...)
	sig, err := s.Sign(rand.Reader, data)
	if m, ok := s.(ssh.MultiAlgorithmSigner); ok && len(m.Algorithms()) == 1 {
		sig, err = m.SignWithAlgorithm(rand.Reader, data, m.Algorithms()[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	blob := sshBlob{sshVersion, s.PublicKey().Marshal(), namespace, "", "sha512", ssh.Marshal(sig)}
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: append([]byte(sshMagic), ssh.Marshal(blob)...)}))
}

// peer is git with the same keys.
type peer struct {
	t   *testing.T
	dir string
}

func newPeer(t *testing.T, rings [][]byte, signers string) *peer {
	t.Helper()
	for _, program := range []string{"git", "gpg", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Run("compared with git", func(t *testing.T) { t.Skipf("needs %s: %v", program, err) })
			return nil
		}
	}
	dir, err := os.MkdirTemp("", "gpg") // short: gpg makes a socket in it
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, dir}
	t.Cleanup(func() {
		p.command(nil, "gpgconf", "--kill", "all").Run()
		os.RemoveAll(dir)
	})
	must := func(c *exec.Cmd) {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c.Args, err, out)
		}
	}
	must(p.command(nil, "git", "init", "-q", "repo"))
	must(p.command(nil, "git", "-C", "repo", "hash-object", "-w", "-t", "tree", "--stdin"))
	for _, ring := range rings {
		must(p.command(ring, "gpg", "--batch", "--quiet", "--import"))
	}
	if err := os.WriteFile(filepath.Join(dir, "signers"), []byte(signers), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *peer) command(stdin []byte, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir, c.Stdin = p.dir, bytes.NewReader(stdin)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "GNUPGHOME=" + p.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=gpg.ssh.allowedSignersFile", "GIT_CONFIG_VALUE_0=" + filepath.Join(p.dir, "signers")}
	return c
}

// agrees fails the test when git does not take the object as we did.
func (p *peer) agrees(t *testing.T, kind, raw string, ours bool) {
	t.Helper()
	if p == nil {
		return // git is not here, as a test of its own says
	}
	if theirs := p.verify(kind, raw); theirs != ours {
		t.Errorf("git says %v, this says %v", theirs, ours)
	}
}

// verify tells whether git takes the object for signed by a trusted key.
func (p *peer) verify(kind, raw string) bool {
	p.t.Helper()
	hash, err := p.command([]byte(raw), "git", "-C", "repo", "hash-object", "--literally", "-w", "-t", kind, "--stdin").Output()
	if err != nil {
		p.t.Fatal(err)
	}
	return p.command(nil, "git", "-C", "repo", "verify-"+kind, strings.TrimSpace(string(hash))).Run() == nil
}

func TestSignatures(t *testing.T) {
	now := time.Now().Add(-time.Minute)
	old := now.Add(-1000 * time.Hour)
	good, stranger, expired, revoked := entity(t, old, 0), entity(t, old, 0), entity(t, old, 3600), entity(t, old, 0)
	plain := commit("hello\n", "")
	tag := "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype tree\ntag v1\ntagger A <a@weir.dev> 1700000000 +0000\n\nrelease\n"
	lost, lostTag := pgpSign(t, revoked, plain, old.Add(time.Hour), 0), pgpSign(t, revoked, tag, old.Add(time.Hour), 0)
	if err := revoked.RevokeKey(packet.KeyCompromised, "lost", &packet.Config{Time: func() time.Time { return now }}); err != nil {
		t.Fatal(err)
	}
	goodSSH, strangerSSH := sshKey(t), sshKey(t)
	ecdsaSSH, rsaSSH, oldRSA := otherSSHKey(t, "ecdsa"), otherSSHKey(t, "rsa"), otherSSHKey(t, "rsa with sha1")
	rings := [][]byte{public(t, good), public(t, expired), public(t, revoked)}
	var line, signers string
	for _, k := range []ssh.Signer{goodSSH, ecdsaSSH, rsaSSH, oldRSA} {
		line += string(ssh.MarshalAuthorizedKey(k.PublicKey()))
		signers += "anna@weir.dev " + string(ssh.MarshalAuthorizedKey(k.PublicKey()))
	}
	keys, err := NewKeys(map[string][]byte{"a.asc": rings[0], "old.asc": rings[1], "lost.asc": rings[2], "b.sshpub": []byte("# of Anna\n" + line), "readme": []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	git := newPeer(t, rings, signers)

	pgp, sshSig := pgpSign(t, good, plain, now, 0), sshSign(t, goodSSH, plain, "git")
	tests := map[string]struct {
		kind, raw string
		want      error
	}{
		"pgp":               {"commit", commit("hello\n", pgp), nil},
		"ssh":               {"commit", commit("hello\n", sshSig), nil},
		"unsigned":          {"commit", plain, ErrUnsigned},
		"pgp, changed":      {"commit", commit("hallo\n", pgp), ErrSignature},
		"ssh, changed":      {"commit", commit("hallo\n", sshSig), ErrSignature},
		"pgp, stranger":     {"commit", commit("hello\n", pgpSign(t, stranger, plain, now, 0)), ErrSignature},
		"ssh, stranger":     {"commit", commit("hello\n", sshSign(t, strangerSSH, plain, "git")), ErrSignature},
		"ssh, other use":    {"commit", commit("hello\n", sshSign(t, goodSSH, plain, "file")), ErrSignature},
		"pgp, expired":      {"commit", commit("hello\n", pgpSign(t, good, plain, old.Add(time.Hour), 60)), ErrSignature},
		"pgp, expired key":  {"commit", commit("hello\n", pgpSign(t, expired, plain, old.Add(time.Minute), 0)), ErrSignature},
		"pgp, revoked key":  {"commit", commit("hello\n", lost), ErrSignature},
		"ssh, ecdsa":        {"commit", commit("hello\n", sshSign(t, ecdsaSSH, plain, "git")), nil},
		"ssh, rsa":          {"commit", commit("hello\n", sshSign(t, rsaSSH, plain, "git")), nil},
		"ssh, rsa, sha1":    {"commit", commit("hello\n", sshSign(t, oldRSA, plain, "git")), ErrSignature},
		"ssh as a tag's":    {"tag", tag + sshSign(t, goodSSH, plain, "git"), ErrSignature},
		"pgp and more":      {"commit", commit("hello\n", pgp+"trailing\n"), nil},
		"tag, expired key":  {"tag", tag + pgpSign(t, expired, tag, old.Add(time.Minute), 0), ErrSignature},
		"tag, revoked key":  {"tag", tag + lostTag, ErrSignature},
		"tag, ssh cut":      {"tag", tag + sshSig[:len(sshSig)/2], ErrSignature},
		"tag, ssh, changed": {"tag", strings.Replace(tag, "v1", "v2", 1) + sshSign(t, goodSSH, tag, "git"), ErrSignature},
		"pgp, cut":          {"commit", commit("hello\n", pgp[:len(pgp)/2]), ErrSignature},
		"ssh, cut":          {"commit", commit("hello\n", sshSig[:len(sshSig)/2]), ErrSignature},
		"pgp, empty":        {"commit", commit("hello\n", beginPGP+"\n\n-----END PGP SIGNATURE-----\n"), ErrSignature},
		"no known kind":     {"commit", commit("hello\n", "-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n"), ErrSignature},
		"in the message":    {"commit", plain + "\ngpgsig " + pgp, ErrUnsigned},
		"tag, pgp":          {"tag", tag + pgpSign(t, good, tag, now, 0), nil},
		"tag, ssh":          {"tag", tag + sshSign(t, goodSSH, tag, "git"), nil},
		"tag, unsigned":     {"tag", tag, ErrUnsigned},
		"tag, changed":      {"tag", strings.Replace(tag, "v1", "v2", 1) + pgpSign(t, good, tag, now, 0), ErrSignature},
		"tag, stranger":     {"tag", tag + pgpSign(t, stranger, tag, now, 0), ErrSignature},
		"tag, ssh stranger": {"tag", tag + sshSign(t, strangerSSH, tag, "git"), ErrSignature},
		"tag, cut":          {"tag", tag + beginSSH + "\nAAAA\n", ErrSignature},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			verify := keys.Commit
			if tt.kind == "tag" {
				verify = keys.Tag
			}
			key, err := verify([]byte(tt.raw))
			if !errors.Is(err, tt.want) || (err == nil) != (key != "") {
				t.Errorf("got %q, %v; want %v", key, err, tt.want)
			}
			git.agrees(t, tt.kind, tt.raw, err == nil)
		})
	}
}

// Of two signatures another program might take the other one.
func TestTwoSignatures(t *testing.T) {
	good, stranger := entity(t, time.Now().Add(-time.Hour), 0), entity(t, time.Now().Add(-time.Hour), 0)
	keys, err := NewKeys(map[string][]byte{"a.asc": public(t, good)})
	if err != nil {
		t.Fatal(err)
	}
	plain := commit("hello\n", "")
	one, two := pgpSign(t, good, plain, time.Now(), 0), pgpSign(t, stranger, plain, time.Now(), 0)
	twice := strings.Replace(commit("hello\n", one), "\n\nhello", "\ngpgsig "+strings.ReplaceAll(strings.TrimSpace(two), "\n", "\n ")+"\n\nhello", 1)
	if _, err := keys.Commit([]byte(twice)); !errors.Is(err, ErrSignature) {
		t.Errorf("two headers: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for name, secret := range map[string]map[string][]byte{
		"none":    {"readme": []byte("x")},
		"bad.asc": {"bad.asc": []byte("x")}, "bad.sshpub": {"bad.sshpub": []byte("x")}, "empty.sshpub": {"empty.sshpub": nil},
	} {
		if _, err := NewKeys(secret); !errors.Is(err, ErrKeys) || name != "none" && !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzObjects(f *testing.F) {
	keys := &Keys{}
	f.Add([]byte(commit("m", beginSSH+"\nAAAA\n-----END SSH SIGNATURE-----\n")))
	f.Add([]byte(beginPGP + "\n\nAAAA\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := keys.Commit(raw); err == nil {
			t.Error("a commit is accepted without any key")
		}
		if _, err := keys.Tag(raw); err == nil {
			t.Error("a tag is accepted without any key")
		}
	})
}
