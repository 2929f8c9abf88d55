package policy

import (
	"cmp"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// An Order ranks tags. The zero Order is not usable.
type Order struct {
	name string // what a message calls it
	none string // what a message says when no tag has a rank
	// rank is what a tag is compared by; false passes the tag over.
	rank func(tag, key string) (any, bool, error)
	// compare is above zero when a is later than b.
	compare func(a, b any) int
}

// SemVer ranks keys as semantic versions (an optional "v" in front is allowed,
// fewer than three numbers are not) and considers those within the range only.
// Other keys are passed over.
func SemVer(versions string) (Order, error) {
	constraint, err := semver.NewConstraint(versions)
	if err != nil {
		return Order{}, fmt.Errorf("%w: the semver range %q cannot be parsed: %w", ErrInvalid, versions, err)
	}
	return Order{
		name: "semver", none: fmt.Sprintf("is a version within the range %q", versions),
		rank: func(_, key string) (any, bool, error) {
			if strings.Count(key, ".") < 2 {
				return nil, false, nil
			}
			v, err := semver.NewVersion(key)
			return v, err == nil && constraint.Check(v), nil
		},
		compare: func(a, b any) int { return a.(*semver.Version).Compare(b.(*semver.Version)) },
	}, nil
}

// Alphabetical ranks keys by their bytes. The order "asc" (or "") makes the last
// of the alphabet the latest, "desc" the first.
func Alphabetical(order string) (Order, error) {
	sign, err := direction(order)
	return Order{
		name:    "alphabetical",
		rank:    func(_, key string) (any, bool, error) { return key, true, nil },
		compare: func(a, b any) int { return sign * strings.Compare(a.(string), b.(string)) },
	}, err
}

// Numerical ranks keys as decimal numbers, exact to 150 digits. The order "asc"
// (or "") makes the greatest the latest, "desc" the smallest. A key that is no
// number is an error, because leaving it out could hide a wrong filter.
func Numerical(order string) (Order, error) {
	sign, err := direction(order)
	return Order{
		name: "numerical",
		rank: func(_, key string) (any, bool, error) {
			n, _, err := big.ParseFloat(key, 10, 512, big.ToNearestEven)
			if err != nil || n.IsInf() {
				return nil, false, fmt.Errorf("the tag key %q is not a number; use filterTags to leave such tags out", key)
			}
			return n, true, nil
		},
		compare: func(a, b any) int { return sign * a.(*big.Float).Cmp(b.(*big.Float)) },
	}, err
}

func direction(order string) (sign int, err error) {
	switch order {
	case "", "asc":
		return 1, nil
	case "desc":
		return -1, nil
	default:
		return 0, fmt.Errorf("%w: the order %q is neither \"asc\" nor \"desc\"", ErrInvalid, order)
	}
}

// built is the rank of a tag by the time its image was built.
type built struct {
	at    time.Time
	other any // the rank in the order that decides between equals
}

// ByBuildTime makes the tag whose image was built last the latest of those that
// o ranks; o decides between images that were built in the same moment. Tags
// for which at knows no time are passed over.
func (o Order) ByBuildTime(at func(tag string) (time.Time, bool)) Order {
	return Order{
		name: "build time", none: cmp.Or(o.none, "has a build time"),
		rank: func(tag, key string) (any, bool, error) {
			other, ok, err := o.rank(tag, key)
			if !ok || err != nil {
				return nil, false, err
			}
			t, known := at(tag)
			return built{at: t, other: other}, known, nil
		},
		compare: func(a, b any) int {
			x, y := a.(built), b.(built)
			if order := x.at.Compare(y.at); order != 0 {
				return order
			}
			return o.compare(x.other, y.other)
		},
	}
}
