package ocirepository

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/registry"
)

// defaultTag is what an empty reference stands for.
const defaultTag = "latest"

var (
	errReference = errors.New("spec.ref") // it cannot be used as it is written
	errNoVersion = errors.New("no version")
	errListing   = errors.New("listing the tags")
)

// revision is what a reference stands for.
type revision struct {
	tag    string // "" when the reference is a digest
	digest string // "sha256:…", of the manifest
}

// String returns the revision as the wire API has it.
func (r revision) String() string {
	if r.tag == "" {
		return r.digest
	}
	return r.tag + "@" + r.digest
}

// resolve finds what ref stands for now: nothing is asked for a digest, one
// request for a tag, and the list of tags before that for a range.
func (r *Reconciler) resolve(ctx context.Context, access registry.Access, ref *sourcev1.OCIRepositoryRef) (revision, error) {
	if ref == nil {
		ref = &sourcev1.OCIRepositoryRef{}
	}
	var rev revision
	var err error
	switch {
	case ref.Digest != "":
		if _, err := name.NewDigest(access.Repository.Name() + "@" + ref.Digest); err != nil || !strings.HasPrefix(ref.Digest, "sha256:") {
			return rev, fmt.Errorf("%w.digest: %q is not \"sha256:\" and 64 hexadecimal digits", errReference, ref.Digest)
		}
		return revision{digest: ref.Digest}, nil
	case ref.SemVer != "":
		if rev.tag, err = r.highest(ctx, access, ref); err != nil {
			return rev, err
		}
	case ref.Tag != "":
		rev.tag = ref.Tag
	default:
		rev.tag = defaultTag
	}
	rev.digest, err = r.o.Registry.Digest(ctx, access, rev.tag)
	if err != nil {
		return rev, fmt.Errorf("resolving the tag %q: %w", rev.tag, err)
	}
	return rev, nil
}

// highest returns the tag with the highest version in the range.
func (r *Reconciler) highest(ctx context.Context, access registry.Access, ref *sourcev1.OCIRepositoryRef) (string, error) {
	within, err := semver.NewConstraint(ref.SemVer)
	if err != nil {
		return "", fmt.Errorf("%w.semver: %q: %w", errReference, ref.SemVer, err)
	}
	filter, err := regexp.Compile(ref.SemverFilter)
	if err != nil {
		return "", fmt.Errorf("%w.semverFilter: %q: %w", errReference, ref.SemverFilter, err)
	}
	tags, err := r.o.Registry.Tags(ctx, access)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errListing, err)
	}
	tag, ok := choose(tags, within, filter)
	if !ok {
		return "", fmt.Errorf("%w among the %d tags is in the range %q and matches the filter %q", errNoVersion, len(tags), ref.SemVer, ref.SemverFilter)
	}
	return tag, nil
}

// choose returns the tag with the highest version among those that match. Of two
// spellings of a version, it is the one without a "v".
func choose(tags []string, within *semver.Constraints, filter *regexp.Regexp) (best string, ok bool) {
	var highest *semver.Version
	for _, tag := range tags {
		version, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err != nil || !filter.MatchString(tag) || !within.Check(version) {
			continue
		}
		if highest == nil || version.GreaterThan(highest) || version.Equal(highest) && tag < best {
			best, highest = tag, version
		}
	}
	return best, highest != nil
}
