package gitrepo

import (
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// RawCommit is the commit of the View as git hashes it, for who verifies its
// signature. The bytes are checked against the hash.
func (v *View) RawCommit() ([]byte, error) { return v.raw(plumbing.CommitObject, v.commit) }

// RawTag is an annotated tag as git hashes it, by its hash; FetchTag brings it.
// The bytes are checked against the hash. Errors: ErrIncomplete if it is not
// here.
func (v *View) RawTag(hash string) ([]byte, error) {
	if !plumbing.IsHash(hash) {
		return nil, fmt.Errorf("tag %q %w: not a hash", hash, ErrNotFound)
	}
	return v.raw(plumbing.TagObject, plumbing.NewHash(hash))
}

func (v *View) raw(t plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	data, err := v.s.read(t, h, maxCommit)
	if err != nil {
		return nil, err
	}
	if plumbing.ComputeHash(t, data) != h {
		return nil, fmt.Errorf("%w: %s %s is damaged", ErrIncomplete, t, h)
	}
	return data, nil
}
