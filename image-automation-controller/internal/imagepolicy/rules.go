package imagepolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/policy"
	"github.com/weirhq/weir/internal/loop"
)

// Annotations that ask for more than the wire API has.
const (
	// OrderAnnotation makes the image that was built last the latest, among the
	// tags that the spec lets through, when it is "build-time".
	OrderAnnotation = loop.AnnotationPrefix + "order"
	// YankedAnnotation leaves tags out that are marked as withdrawn, when it is
	// "skip": the tag 1.2.3 is when there is a tag 1.2.3.yanked.
	YankedAnnotation = loop.AnnotationPrefix + "yanked"
)

// yankedSuffix is what the tag that marks another one as withdrawn ends in.
const yankedSuffix = ".yanked"

// rules are what a policy asks for.
type rules struct {
	order  policy.Order
	filter policy.Filter
	// byBuildTime ranks the tags that order ranks by the age of their images.
	byBuildTime bool
	skipYanked  bool
	// always says that the digest, and the build times, are looked at each time.
	always bool
	// text is equal for equal rules.
	text string
}

// parse reads the rules of a policy.
func parse(p *imagev1.ImagePolicy) (out rules, err error) {
	choice := p.Spec.Policy
	switch {
	case choice.SemVer != nil:
		out.order, err = policy.SemVer(choice.SemVer.Range)
	case choice.Alphabetical != nil:
		out.order, err = policy.Alphabetical(choice.Alphabetical.Order)
	case choice.Numerical != nil:
		out.order, err = policy.Numerical(choice.Numerical.Order)
	default:
		err = fmt.Errorf("%w: spec.policy names none of semver, alphabetical and numerical", policy.ErrInvalid)
	}
	if err == nil && p.Spec.FilterTags != nil {
		out.filter, err = policy.NewFilter(p.Spec.FilterTags.Pattern, p.Spec.FilterTags.Extract)
	}
	if err == nil {
		err = out.annotations(p.Annotations)
	}
	if err != nil {
		return out, loop.Stall(imagev1.InvalidPolicyReason, err)
	}
	out.always = p.GetDigestReflectionPolicy() == imagev1.ReflectAlways
	if out.always && p.Spec.Interval == nil {
		err := errors.New(`spec.interval must be set when spec.digestReflectionPolicy is "Always"`)
		return out, loop.Stall(imagev1.IntervalNotConfiguredReason, err)
	}
	text, err := json.Marshal([]any{choice, p.Spec.FilterTags, out.byBuildTime, out.skipYanked, p.Spec.ImageRepositoryRef})
	out.text = string(text)
	return out, err
}

// annotations reads what goes beyond the wire API. One that is not known is
// refused: it is a wish that nobody would grant.
func (r *rules) annotations(all map[string]string) error {
	known := map[string]func(){
		OrderAnnotation + "=build-time": func() { r.byBuildTime = true },
		YankedAnnotation + "=skip":      func() { r.skipYanked = true },
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(key, loop.AnnotationPrefix) {
			continue
		}
		set, ok := known[key+"="+all[key]]
		if !ok {
			return fmt.Errorf("%w: the annotation %s: %q is not known; there are %q and %q", policy.ErrInvalid, key, all[key], OrderAnnotation+": build-time", YankedAnnotation+": skip")
		}
		set()
	}
	return nil
}
