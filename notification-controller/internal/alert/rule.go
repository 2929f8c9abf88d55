// Package alert decides which Alerts want an event.
//
// An Index holds every Alert in a form that is quick to ask: regular
// expressions compiled, sources sorted by kind and namespace. Match is then a
// map look-up and a few comparisons, without any input or output, however
// many Alerts there are. The index is kept current by whoever watches the
// Alerts.
package alert

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"k8s.io/apimachinery/pkg/types"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
)

// maxPattern bounds a regular expression, in bytes. Go's expressions match in
// linear time, so the length is all that has to be bounded.
const maxPattern = 4096

// FoldAnnotation on an Alert says how long repeats of an event, and events of
// an object that flaps, are folded into one message; "0" folds nothing. It wins
// over the flag --fold-window.
const FoldAnnotation = "weir.dev/fold"

// maxFold bounds the window.
const maxFold = 24 * time.Hour

// place is where an event may come from.
type place struct{ kind, namespace string }

// source is one entry of spec.eventSources.
type source struct {
	place
	name   string // "*" is any
	labels map[string]string
}

// rule is one Alert, compiled.
type rule struct {
	key                  types.NamespacedName
	provider             types.NamespacedName
	errorsOnly           bool
	sources              []source
	included             bool // spec.inclusionList is not empty
	inclusion, exclusion []*regexp.Regexp
	metadata             map[string]string // spec.eventMetadata
	fold                 time.Duration
	summary              string
}

// compile turns an Alert into a rule. What cannot be used is left out and
// reported: a broken exclusion rather tells too much than too little, and a
// source in another namespace is refused where none may cross.
func compile(a *notificationv1beta3.Alert, o Options) (*rule, error) {
	r := &rule{
		key:        types.NamespacedName{Namespace: a.Namespace, Name: a.Name},
		provider:   types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.ProviderRef.Name},
		errorsOnly: a.Spec.EventSeverity == eventv1.EventSeverityError,
		included:   len(a.Spec.InclusionList) > 0,
		metadata:   a.Spec.EventMetadata,
		summary:    a.Spec.Summary,
	}
	var problems []error
	for i, s := range a.Spec.EventSources {
		namespace := s.Namespace
		if namespace == "" {
			namespace = a.Namespace
		}
		if o.NoCross && namespace != a.Namespace {
			problems = append(problems, fmt.Errorf("spec.eventSources[%d]: events of namespace %q are not told to alerts of namespace %q: cross-namespace references are switched off (--no-cross-namespace-refs)", i, namespace, a.Namespace))
			continue
		}
		if len(s.MatchLabels) > 0 && s.Name != "*" {
			problems = append(problems, fmt.Errorf("spec.eventSources[%d]: matchLabels needs the name %q, not %q", i, "*", s.Name))
			continue
		}
		r.sources = append(r.sources, source{place: place{s.Kind, namespace}, name: s.Name, labels: s.MatchLabels})
	}
	var err error
	r.inclusion, err = expressions("spec.inclusionList", a.Spec.InclusionList)
	problems = append(problems, err)
	r.exclusion, err = expressions("spec.exclusionList", a.Spec.ExclusionList)
	problems = append(problems, err)
	r.fold, err = foldOf(a, o.Fold)
	problems = append(problems, err)
	return r, errors.Join(problems...)
}

// foldOf is how long events of one object are folded for an Alert.
func foldOf(a *notificationv1beta3.Alert, otherwise time.Duration) (time.Duration, error) {
	text, own := a.Annotations[FoldAnnotation]
	if !own {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d != 0 && d < time.Second || d > maxFold {
		return 0, fmt.Errorf("annotation %q is %q: use a duration such as 5m, a day at most, or 0 to fold nothing", FoldAnnotation, text)
	}
	return d, nil
}

func expressions(field string, patterns []string) (out []*regexp.Regexp, problems error) {
	for i, p := range patterns {
		if len(p) > maxPattern {
			problems = errors.Join(problems, fmt.Errorf("%s[%d]: longer than %d bytes", field, i, maxPattern))
			continue
		}
		re, err := regexp.Compile(p)
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("%s[%d]: %q is no regular expression: %w", field, i, p, err))
			continue
		}
		out = append(out, re)
	}
	return out, problems
}

// wants says whether the rule lets the event through, its sources aside.
func (r *rule) wants(e *eventv1.Event) bool {
	switch e.Severity {
	case eventv1.EventSeverityError:
	case eventv1.EventSeverityInfo:
		if r.errorsOnly {
			return false
		}
	default: // traces are for the object's own events
		return false
	}
	if r.included && !matches(r.inclusion, e.Message) {
		return false
	}
	return !matches(r.exclusion, e.Message)
}

func matches(list []*regexp.Regexp, message string) bool {
	for _, re := range list {
		if re.MatchString(message) {
			return true
		}
	}
	return false
}

// from compares the event's object with the rule's sources. labels holds the
// label sets of which the object must carry one; it is empty when a source
// matches whatever the labels are.
func (r *rule) from(e *eventv1.Event) (labels []map[string]string, ok bool) {
	at := place{e.InvolvedObject.Kind, e.InvolvedObject.Namespace}
	for _, s := range r.sources {
		if s.place != at || s.name != "*" && s.name != e.InvolvedObject.Name {
			continue
		}
		if len(s.labels) == 0 {
			return nil, true
		}
		labels, ok = append(labels, s.labels), true
	}
	return labels, ok
}
