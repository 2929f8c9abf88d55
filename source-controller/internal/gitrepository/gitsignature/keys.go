package gitsignature

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Suffixes of the keys of a Secret with public keys.
const (
	suffixPGP = ".asc"
	suffixSSH = ".sshpub"
)

// NewKeys reads the public keys of a Secret: OpenPGP key rings in `*.asc`, SSH
// keys in the form of authorized_keys, one a line, in `*.sshpub`. Other entries
// mean nothing. Errors wrap ErrKeys and name the entry.
func NewKeys(secret map[string][]byte) (*Keys, error) {
	k := &Keys{}
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		var err error
		switch {
		case strings.HasSuffix(name, suffixPGP):
			err = k.pgp.add(secret[name])
		case strings.HasSuffix(name, suffixSSH):
			err = k.ssh.add(secret[name])
		}
		if err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", ErrKeys, name, err)
		}
	}
	if len(k.pgp)+len(k.ssh) == 0 {
		return nil, fmt.Errorf("%w: there is no key %q with an OpenPGP key, or %q with an SSH key", ErrKeys, "*"+suffixPGP, "*"+suffixSSH)
	}
	return k, nil
}
