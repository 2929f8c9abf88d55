// Package policy picks the latest of an image's tags.
//
// A Filter first decides which tags take part, and under which key; an Order
// then ranks those keys. An Evaluation remembers where it stands, so that tags
// which come in later are all that is looked at.
package policy

import (
	"errors"
	"fmt"
	"regexp"
)

var (
	// ErrInvalid is wrapped by errors that only an edit of the policy can cure.
	ErrInvalid = errors.New("invalid policy")
	// ErrNoTag is wrapped when no tag satisfies the policy.
	ErrNoTag = errors.New("no tag")
)

// maxExtract bounds the length of an extract template and of a pattern, in bytes.
const maxExtract = 4096

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

// key is what a tag is ranked by, if it takes part.
func (f Filter) key(tag string) (string, bool) {
	if f.pattern == nil {
		return tag, true
	}
	match := f.pattern.FindStringSubmatchIndex(tag)
	if match == nil {
		return "", false
	}
	if f.extract == "" {
		return tag, true
	}
	return string(f.pattern.ExpandString(nil, f.extract, tag, match)), true
}

// Takes reports whether a tag passes the filter and has a rank in the order.
func Takes(f Filter, o Order, tag string) bool {
	key, ok := f.key(tag)
	if !ok {
		return false
	}
	_, ok, err := o.rank(tag, key)
	return ok && err == nil
}

// An Evaluation is the choice among the tags it was given so far. It is not for
// concurrent use.
type Evaluation struct {
	filter Filter
	order  Order

	tag, key string // the latest so far, if any
	rank     any
	any      bool

	passed   bool // some tag has passed the filter
	examined int
}

// Evaluate starts an Evaluation without any tags.
func Evaluate(f Filter, o Order) *Evaluation { return &Evaluation{filter: f, order: o} }

// Add considers more tags. Their order does not matter: of tags with the same
// key the last of the alphabet counts, of keys that rank equally the first.
// After an error the Evaluation must not be used any more.
func (e *Evaluation) Add(tags ...string) error {
	for _, tag := range tags {
		e.examined++
		key, ok := e.filter.key(tag)
		if !ok {
			continue
		}
		e.passed = true
		rank, ok, err := e.order.rank(tag, key)
		if err != nil {
			return fmt.Errorf("%s policy: %w", e.order.name, err)
		}
		if ok && e.later(tag, key, rank) {
			e.tag, e.key, e.rank, e.any = tag, key, rank, true
		}
	}
	return nil
}

func (e *Evaluation) later(tag, key string, rank any) bool {
	if !e.any {
		return true
	}
	order := e.order.compare(rank, e.rank)
	switch {
	case order != 0:
		return order > 0
	case key != e.key:
		return key < e.key
	default:
		return tag > e.tag
	}
}

// Without reports whether the choice stays when these tags are gone. If not,
// the rest has to be evaluated anew.
func (e *Evaluation) Without(tags ...string) bool {
	if !e.any {
		return len(tags) == 0
	}
	for _, tag := range tags {
		if tag == e.tag {
			return false
		}
	}
	return true
}

// Examined counts the tags that were looked at.
func (e *Evaluation) Examined() int { return e.examined }

// Latest is the choice. The error wraps ErrNoTag when there is none.
func (e *Evaluation) Latest() (string, error) {
	switch {
	case e.any:
		return e.tag, nil
	case e.examined == 0:
		return "", fmt.Errorf("%w has been found in the repository", ErrNoTag)
	case !e.passed:
		return "", fmt.Errorf("%w of the %d found matches filterTags.pattern", ErrNoTag, e.examined)
	default:
		return "", fmt.Errorf("%s policy: %w %s", e.order.name, ErrNoTag, e.order.none)
	}
}

// Latest returns the tag that the order puts on top among those that pass the
// filter.
func Latest(tags []string, f Filter, o Order) (string, error) {
	e := Evaluate(f, o)
	if err := e.Add(tags...); err != nil {
		return "", err
	}
	return e.Latest()
}
