package receiver

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
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
	name      string            // "*" with labels
	labels    map[string]string // of name "*"
	filter    *filter           // nil takes every object
}

// typeOf returns the Receiver's type, or why it cannot be served.
func typeOf(r *notificationv1.Receiver) (Type, error) {
	t := types[r.Spec.Type]
	if t == nil {
		return nil, fmt.Errorf("%w: spec.type %q is not supported by this version of the notification-controller", errSpec, r.Spec.Type)
	}
	return withSignature(r, t)
}

// targetsOf completes spec.resources. The error is errSpec, errFilter or
// ErrAccess.
func targetsOf(r *notificationv1.Receiver, noCross bool) ([]target, error) {
	var out []target
	for i, res := range r.Spec.Resources {
		field := fmt.Sprintf("spec.resources[%d]", i)
		t, err := targetOf(r, res, noCross)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func targetOf(r *notificationv1.Receiver, res notificationv1.ReceiverResource, noCross bool) (target, error) {
	text := res.Filter
	if text == "" {
		text = r.Spec.ResourceFilter
	}
	chosen, err := newFilter(text)
	if err != nil {
		return target{}, fmt.Errorf("filter: %w", err)
	}
	t := target{namespace: res.Namespace, name: res.Name, labels: res.MatchLabels, filter: chosen}
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
