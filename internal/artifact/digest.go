package artifact

import (
	"crypto"
	_ "crypto/sha1" // registers the algorithm behind "sha1"
	"fmt"

	"github.com/opencontainers/go-digest"
	_ "github.com/opencontainers/go-digest/blake3" // registers "blake3"
)

// sha1Algorithm is accepted because the wire API allows it. It is no protection
// against a forger; the default is SHA-256.
const sha1Algorithm digest.Algorithm = "sha1"

func init() { digest.RegisterAlgorithm(sha1Algorithm, crypto.SHA1) }

// parseAlgorithm returns the digest algorithm called name: sha1, sha256, sha384,
// sha512 or blake3. Empty means sha256.
func parseAlgorithm(name string) (digest.Algorithm, error) {
	if name == "" {
		return digest.SHA256, nil
	}
	a := digest.Algorithm(name)
	if !a.Available() {
		return "", fmt.Errorf("unknown digest algorithm %q: use sha1, sha256, sha384, sha512 or blake3", name)
	}
	return a, nil
}

// parseDigest checks that s names an algorithm that is known here and a sum of
// its length.
func parseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w: %q is not usable: %w", ErrDigest, s, err)
	}
	return d, nil
}
