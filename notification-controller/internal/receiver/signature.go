package receiver

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
)

var hashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// checkHMAC checks a header of the form <algorithm>=<hex> against the body.
// Only the named algorithms count.
func checkHMAC(header string, body, token []byte, algorithms ...string) error {
	name, digits, _ := strings.Cut(header, "=")
	for _, algorithm := range algorithms {
		if name != algorithm {
			continue
		}
		got, err := hex.DecodeString(digits)
		if err != nil {
			return ErrSignature
		}
		mac := hmac.New(hashes[algorithm], token)
		mac.Write(body)
		if hmac.Equal(got, mac.Sum(nil)) {
			return nil
		}
	}
	return ErrSignature
}

// checkToken compares a header that has to be the token itself. It compares
// digests, so that not even the length can be timed.
func checkToken(header string, token []byte) error {
	got, want := sha256.Sum256([]byte(header)), sha256.Sum256(token)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return ErrSignature
	}
	return nil
}

// decodeObject decodes a body that has to be one JSON object into v.
func decodeObject(body []byte, v any) error {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return fmt.Errorf("%w: the payload is no JSON object", ErrPayload)
	}
	if err := json.Unmarshal(trimmed, v); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return nil
}
