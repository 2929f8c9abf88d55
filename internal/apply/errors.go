package apply

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// ErrNoKind is wrapped by errors about objects whose kind the API server does not know.
var ErrNoKind = errors.New("the API server does not know this kind")

// ObjectError is an error about one object.
type ObjectError struct {
	Ref Ref
	Op  string // what was tried: "dry run", "apply", "delete", ...
	Err error
}

func (e *ObjectError) Error() string { return e.Ref.String() + ": " + e.explain() }

// Unwrap returns the error of the API server.
func (e *ObjectError) Unwrap() error { return e.Err }

// explain says what the API server refused and what to do about it.
func (e *ObjectError) explain() string {
	reason := serverText(e.Ref, e.Err)
	switch {
	case errors.Is(e.Err, ErrNoKind):
		return fmt.Sprintf("no kind %q in %q: install its CustomResourceDefinition, or correct the apiVersion", e.Ref.Kind, e.Ref.GroupVersion())
	case errors.As(e.Err, new(*terminatingError)): // says nothing of the content
		return e.Err.Error()
	case errors.As(e.Err, new(*OwnedError)), errors.As(e.Err, new(*fieldError)):
		return reason
	case missingNamespace(e.Err, e.Ref):
		return fmt.Sprintf("namespace %q does not exist: add it to the source or create it", e.Ref.Namespace)
	case apierrors.IsForbidden(e.Err):
		return fmt.Sprintf("%s is forbidden: %s", e.Op, reason)
	}
	if r := apierrors.ReasonForError(e.Err); r != metav1.StatusReasonUnknown {
		return fmt.Sprintf("%s failed (%s): %s", e.Op, r, reason)
	}
	return fmt.Sprintf("%s failed: %s", e.Op, reason)
}

// OwnedError says that an object belongs to another owner and was not taken.
type OwnedError struct {
	Ref   Ref
	Owner types.NamespacedName
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("belongs to %q in namespace %q: remove it from one of the two", e.Owner.Name, e.Owner.Namespace)
}

// fieldError is an error found in the object before anything was asked.
type fieldError struct{ text string }

func (e *fieldError) Error() string { return e.text }

// quoted matches what the API server quotes of an object in its messages.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|Value:[^}]*|[A-Za-z0-9+/=_-]{16,}`)

// lacksRights matches what the API server says when RBAC refuses: no data is in it.
var lacksRights = regexp.MustCompile(`^secrets "[^"]*" is forbidden: User "[^"]*" cannot `)

// serverText returns the server's text. Of a Secret, everything that could be a
// value is masked: decoding errors quote the data.
func serverText(r Ref, err error) string {
	text := err.Error()
	if r.Kind != "Secret" || r.Group != "" || lacksRights.MatchString(text) {
		return text
	}
	return quoted.ReplaceAllStringFunc(text, func(s string) string {
		if bare := strings.Trim(s, `"`); bare == r.Name || bare == r.Namespace || bare == "secrets" || bare == "Secret" {
			return s
		}
		return "***"
	})
}

// missingNamespace reports whether the request failed because the object's
// namespace does not exist, not because the object or its kind does not.
func missingNamespace(err error, r Ref) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces" && d.Name == r.Namespace && r.Namespace != ""
}

// noKind reports whether the error says that the resource is not served, by a
// mapper or by the API server.
func noKind(err error) bool {
	if meta.IsNoMatchError(err) {
		return true
	}
	if failed := new(apiutil.ErrResourceDiscoveryFailed); errors.As(err, &failed) {
		for _, e := range *failed {
			if !meta.IsNoMatchError(e) && !apierrors.IsNotFound(e) {
				return false
			}
		}
		return true
	}
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	// "the server could not find the requested resource" has no name in its details.
	d := status.Status().Details
	return d == nil || d.Name == "" || len(d.Causes) > 0 && d.Causes[0].Type == metav1.CauseTypeUnexpectedServerResponse
}

const shownErrors = 10

// joined is several errors, in the order of their text.
type joined struct {
	errs []error
	text string
}

func (j *joined) Error() string   { return j.text }
func (j *joined) Unwrap() []error { return j.errs }

// join makes one error of many: sorted, and at most ten of them in the text.
func join(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	sort.SliceStable(errs, func(i, k int) bool { return errs[i].Error() < errs[k].Error() })
	var b strings.Builder
	for i, err := range errs {
		if i == shownErrors {
			fmt.Fprintf(&b, "\nand %d more errors", len(errs)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	return &joined{errs, b.String()}
}

// immutable matches the texts with which validation refuses to change a field
// that it would accept in a new object.
var immutable = regexp.MustCompile(`(?i)immutable|may not change once set|may not be changed|cannot be changed|cannot change|may not be modified|updates may not change fields|updates to .* are forbidden`)

// isImmutable reports whether an update was refused by validation because a
// field cannot change. Denials by admission never count.
func isImmutable(err error) bool {
	text := err.Error()
	return apierrors.IsInvalid(err) && immutable.MatchString(text) &&
		!strings.Contains(text, "denied request") && !strings.Contains(text, "denied the request")
}
