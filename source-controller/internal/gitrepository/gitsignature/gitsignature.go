// Package gitsignature verifies the signatures of Git commits and tags: OpenPGP
// (RFC 9580) and SSH (PROTOCOL.sshsig of OpenSSH).
//
// It works on the bytes of the objects as Git hashes them, so that nothing which
// a parser may have passed over is left unsigned, and accepts no more than `git
// verify-commit` and `git verify-tag` do with the same keys.
package gitsignature

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrKeys is wrapped when there is no key to trust, or one cannot be read.
	ErrKeys = errors.New("unusable keys")
	// ErrUnsigned is wrapped when an object carries no signature.
	ErrUnsigned = errors.New("it is not signed")
	// ErrSignature is wrapped when a signature is malformed, does not fit the
	// object, has expired or is by a key that is not trusted.
	ErrSignature = errors.New("bad signature")
)

// The headers of a commit that hold signatures of it.
const (
	header       = "gpgsig"
	headerSHA256 = "gpgsig-sha256" // of the same commit in a repository of the other hash
)

// The first lines of the signatures that git knows.
const (
	beginPGP     = "-----BEGIN PGP SIGNATURE-----"
	beginMessage = "-----BEGIN PGP MESSAGE-----"
	beginX509    = "-----BEGIN SIGNED MESSAGE-----"
	beginSSH     = "-----BEGIN SSH SIGNATURE-----"
)

// Keys are whom to trust.
type Keys struct {
	pgp pgpKeys
	ssh sshKeys
}

// Commit verifies the signature of a raw commit object and returns the
// fingerprint of the key. Errors wrap ErrUnsigned or ErrSignature.
func (k *Keys) Commit(raw []byte) (fingerprint string, err error) {
	payload, signatures := stripHeaders(raw)
	switch len(signatures) {
	case 0:
		return "", ErrUnsigned
	case 1:
		return k.verify(payload, signatures[0])
	}
	return "", fmt.Errorf("%w: there are %d of them", ErrSignature, len(signatures))
}

// Tag verifies the signature of a raw annotated tag object and returns the
// fingerprint of the key. Errors wrap ErrUnsigned or ErrSignature.
func (k *Keys) Tag(raw []byte) (fingerprint string, err error) {
	start := len(raw) // of the last signature, as git takes it
	for at := 0; at < len(raw); {
		if begins(raw[at:]) {
			start = at
		}
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			break
		}
		at += end + 1
	}
	if start == len(raw) {
		return "", ErrUnsigned
	}
	payload, _ := stripHeaders(raw[:start])
	return k.verify(payload, raw[start:])
}

func begins(b []byte) bool {
	for _, s := range []string{beginPGP, beginMessage, beginX509, beginSSH} {
		if bytes.HasPrefix(b, []byte(s)) {
			return true
		}
	}
	return false
}

func (k *Keys) verify(payload, signature []byte) (string, error) {
	switch {
	case bytes.HasPrefix(signature, []byte(beginPGP)):
		return k.pgp.verify(payload, signature)
	case bytes.HasPrefix(signature, []byte(beginSSH)):
		return k.ssh.verify(payload, signature)
	}
	first, _, _ := strings.Cut(string(signature[:min(len(signature), 64)]), "\n")
	return "", fmt.Errorf("%w: it starts with %q: only OpenPGP and SSH signatures are supported", ErrSignature, first)
}

// stripHeaders returns an object without the headers that hold signatures, which
// is what was signed, and the signatures in "gpgsig".
func stripHeaders(raw []byte) (payload []byte, signatures [][]byte) {
	payload = make([]byte, 0, len(raw))
	into := &payload // where continued lines go
	var other []byte
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n') + 1
		if end == 0 {
			end = len(raw)
		}
		line := raw[:end]
		if len(line) == 1 && line[0] == '\n' { // the message follows
			return append(payload, raw...), signatures
		}
		raw = raw[end:]
		name, value, _ := bytes.Cut(line, []byte{' '})
		switch {
		case len(name) == 0 && into != &payload: // continues a signature
			*into = append(*into, value...)
			continue
		case string(name) == header:
			signatures = append(signatures, bytes.Clone(value))
			into = &signatures[len(signatures)-1]
			continue
		case string(name) == headerSHA256:
			into = &other
			continue
		}
		into = &payload
		payload = append(payload, line...)
	}
	return payload, signatures
}
