package receiver

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/expression"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
)

// ErrAccess reports a target in another namespace while that is forbidden.
var ErrAccess = errors.New("cross-namespace references are switched off (--no-cross-namespace-refs)")

// errSpec reports a spec that has to be edited.
var errSpec = errors.New("invalid receiver")

// versions are the API versions of the kinds that need not state theirs.
var versions = map[string]string{
	"ArtifactGenerator": "source.extensions.fluxcd.io/v1beta1",
	"Bucket":            "source.toolkit.fluxcd.io/v1",
	"GitRepository":     "source.toolkit.fluxcd.io/v1",
	"HelmChart":         "source.toolkit.fluxcd.io/v1",
	"HelmRepository":    "source.toolkit.fluxcd.io/v1",
	"ImageRepository":   "image.toolkit.fluxcd.io/v1",
	"OCIRepository":     "source.toolkit.fluxcd.io/v1",
}

// target is one entry of spec.resources, complete.
type target struct {
	gvk       schema.GroupVersionKind
	namespace string
	name      string                   // "*" with labels
	labels    map[string]string        // of name "*"
	filters   []*expression.Expression // all must hold
}

// typeOf returns the Receiver's type, or why it cannot be served.
// The error is errSpec or expression.ErrInvalid.
func typeOf(r *notificationv1.Receiver, tokens *issuer.Verifier) (Type, error) {
	make := kinds[r.Spec.Type]
	if make == nil {
		return nil, fmt.Errorf("%w: spec.type %q is none that this version knows", errSpec, r.Spec.Type)
	}
	t, err := make(r, tokens)
	if err != nil {
		return nil, err
	}
	return withSignature(r, t)
}

// targetsOf completes spec.resources. The error is errSpec,
// expression.ErrInvalid or ErrAccess.
func targetsOf(r *notificationv1.Receiver, noCross bool) ([]target, error) {
	common, err := newFilter(r.Spec.Type, r.Spec.ResourceFilter)
	if err != nil {
		return nil, fmt.Errorf("spec.resourceFilter: %w", err)
	}
	var out []target
	for i, res := range r.Spec.Resources {
		field := fmt.Sprintf("spec.resources[%d]", i)
		t, err := targetOf(r, res, noCross)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		if common != nil {
			t.filters = append(t.filters, common)
		}
		out = append(out, t)
	}
	return out, nil
}

func targetOf(r *notificationv1.Receiver, res notificationv1.ReceiverResource, noCross bool) (target, error) {
	t := target{namespace: res.Namespace, name: res.Name, labels: res.MatchLabels}
	own, err := newFilter(r.Spec.Type, res.Filter)
	if err != nil {
		return target{}, fmt.Errorf("filter: %w", err)
	}
	if own != nil {
		t.filters = append(t.filters, own)
	}
	if t.namespace == "" {
		t.namespace = r.Namespace
	}
	if noCross && t.namespace != r.Namespace {
		return target{}, fmt.Errorf("%w: %s %q is in namespace %q, not %q", ErrAccess, res.Kind, res.Name, t.namespace, r.Namespace)
	}
	if (t.name == "*") != (len(t.labels) > 0) {
		return target{}, fmt.Errorf("%w: matchLabels and the name %q need each other", errSpec, "*")
	}
	version := res.APIVersion
	if version == "" {
		version = versions[res.Kind]
	}
	gv, err := schema.ParseGroupVersion(version)
	if err != nil || version == "" {
		return target{}, fmt.Errorf("%w: apiVersion %q of kind %q: state it as <group>/<version>", errSpec, res.APIVersion, res.Kind)
	}
	t.gvk = gv.WithKind(res.Kind)
	return t, nil
}
