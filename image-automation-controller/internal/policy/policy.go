// Package policy picks the latest of an image's tags.
//
// It looks at the names of the tags only. A Filter first decides which tags
// take part, and under which key; an Order then decides which key is the latest.
package policy

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

var (
	// ErrInvalid is wrapped by errors that only an edit of the policy can cure.
	ErrInvalid = errors.New("invalid policy")
	// ErrNoTag is wrapped when no tag satisfies the policy.
	ErrNoTag = errors.New("no tag")
)

// maxExtract bounds the length of an extract template and of a pattern, in bytes.
const maxExtract = 4096

// An Order ranks keys. The zero Order is not usable.
type Order struct {
	name   string // what a message calls it
	latest func(keys []string) (string, error)
}

// Latest returns the latest key. Keys must be sorted and without repeats; of
// keys that rank equally the first wins.
func (o Order) Latest(keys []string) (string, error) {
	if len(keys) == 0 {
		return "", fmt.Errorf("%w to choose from", ErrNoTag)
	}
	return o.latest(keys)
}

// SemVer ranks keys as semantic versions (an optional "v" in front is allowed,
// fewer than three numbers are not) and considers those within the range only.
// Other keys are passed over.
func SemVer(versions string) (Order, error) {
	constraint, err := semver.NewConstraint(versions)
	if err != nil {
		return Order{}, fmt.Errorf("%w: the semver range %q cannot be parsed: %w", ErrInvalid, versions, err)
	}
	latest := func(keys []string) (string, error) {
		var best *semver.Version
		choice := ""
		for _, key := range keys {
			v, err := semver.NewVersion(key)
			if strings.Count(key, ".") < 2 || err != nil || !constraint.Check(v) || best != nil && !v.GreaterThan(best) {
				continue
			}
			best, choice = v, key
		}
		if best == nil {
			return "", fmt.Errorf("%w is a version within the range %q", ErrNoTag, versions)
		}
		return choice, nil
	}
	return Order{name: "semver", latest: latest}, nil
}

// Alphabetical ranks keys by their bytes. The order "asc" (or "") makes the last
// of the alphabet the latest, "desc" the first.
func Alphabetical(order string) (Order, error) {
	descending, err := direction(order)
	if err != nil {
		return Order{}, err
	}
	latest := func(keys []string) (string, error) {
		if descending {
			return slices.Min(keys), nil
		}
		return slices.Max(keys), nil
	}
	return Order{name: "alphabetical", latest: latest}, nil
}

// Numerical ranks keys as decimal numbers, exact to 150 digits. The order "asc"
// (or "") makes the greatest the latest, "desc" the smallest. A key that is no
// number is an error, because leaving it out could hide a wrong filter.
func Numerical(order string) (Order, error) {
	descending, err := direction(order)
	if err != nil {
		return Order{}, err
	}
	latest := func(keys []string) (string, error) {
		var best *big.Float
		choice := ""
		for _, key := range keys {
			n, _, err := big.ParseFloat(key, 10, 512, big.ToNearestEven)
			if err != nil || n.IsInf() {
				return "", fmt.Errorf("the tag key %q is not a number; use filterTags to leave such tags out", key)
			}
			if best == nil || !descending && n.Cmp(best) > 0 || descending && n.Cmp(best) < 0 {
				best, choice = n, key
			}
		}
		return choice, nil
	}
	return Order{name: "numerical", latest: latest}, nil
}

func direction(order string) (descending bool, err error) {
	switch order {
	case "", "asc":
		return false, nil
	case "desc":
		return true, nil
	default:
		return false, fmt.Errorf("%w: the order %q is neither \"asc\" nor \"desc\"", ErrInvalid, order)
	}
}

// A Filter chooses the tags that take part, and the key each is ranked by. The
// zero Filter lets every tag through under its own name.
type Filter struct {
	pattern *regexp.Regexp
	extract string
}

// NewFilter compiles a regular expression (RE2 syntax) and an extract template
// such as "$major.$minor", which refers to its groups. Without an extract
// template the tag itself is the key.
func NewFilter(pattern, extract string) (Filter, error) {
	if len(pattern) > maxExtract || len(extract) > maxExtract {
		return Filter{}, fmt.Errorf("%w: filterTags.pattern and filterTags.extract may have %d bytes each", ErrInvalid, maxExtract)
	}
	compiled, err := regexp.Compile(pattern)
	if err != nil {
		return Filter{}, fmt.Errorf("%w: filterTags.pattern %q: %w", ErrInvalid, pattern, err)
	}
	return Filter{pattern: compiled, extract: extract}, nil
}

// keys maps the key of each tag that takes part to the tag. Of two tags with the
// same key the later one counts.
func (f Filter) keys(tags []string) map[string]string {
	keys := make(map[string]string, len(tags))
	for _, tag := range tags {
		if f.pattern == nil {
			keys[tag] = tag
			continue
		}
		match := f.pattern.FindStringSubmatchIndex(tag)
		switch {
		case match == nil:
		case f.extract == "":
			keys[tag] = tag
		default:
			keys[string(f.pattern.ExpandString(nil, f.extract, tag, match))] = tag
		}
	}
	return keys
}

// Latest returns the tag that the order puts on top among those that pass the
// filter. The tags must be sorted, so that the answer depends on nothing else.
func Latest(tags []string, f Filter, o Order) (string, error) {
	byKey := f.keys(tags)
	if len(byKey) == 0 {
		if len(tags) == 0 {
			return "", fmt.Errorf("%w has been found in the repository", ErrNoTag)
		}
		return "", fmt.Errorf("%w of the %d found matches filterTags.pattern", ErrNoTag, len(tags))
	}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	key, err := o.Latest(keys)
	if err != nil {
		return "", fmt.Errorf("%s policy: %w", o.name, err)
	}
	return byKey[key], nil
}
