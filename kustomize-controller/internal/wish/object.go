package wish

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object names an object of any kind. Namespace is "" for those without.
type Object struct {
	schema.GroupVersionKind
	Namespace, Name string
}

const maxObjects = 50

// kinds are those that may be written without their group and version.
var kinds = map[string]schema.GroupVersion{
	"Deployment": {Group: "apps", Version: "v1"}, "StatefulSet": {Group: "apps", Version: "v1"}, "DaemonSet": {Group: "apps", Version: "v1"},
	"Job": {Group: "batch", Version: "v1"}, "Pod": {Version: "v1"}, "Service": {Version: "v1"}, "ConfigMap": {Version: "v1"},
	"Secret": {Version: "v1"}, "PersistentVolumeClaim": {Version: "v1"}, "Ingress": {Group: "networking.k8s.io", Version: "v1"},
	"Kustomization":  {Group: "kustomize.toolkit.fluxcd.io", Version: "v1"},
	"HelmRelease":    {Group: "helm.toolkit.fluxcd.io", Version: "v2"},
	"GitRepository":  {Group: "source.toolkit.fluxcd.io", Version: "v1"},
	"OCIRepository":  {Group: "source.toolkit.fluxcd.io", Version: "v1"},
	"HelmRepository": {Group: "source.toolkit.fluxcd.io", Version: "v1"},
	"HelmChart":      {Group: "source.toolkit.fluxcd.io", Version: "v1"},
	"Bucket":         {Group: "source.toolkit.fluxcd.io", Version: "v1"},
}

// ParseObjects reads objects separated by commas: Kind/namespace/name for common
// kinds, version/Kind/namespace/name for those of the core group and
// group/version/Kind/namespace/name for all others. The namespace is empty for
// objects without: "v1/Namespace//name".
func ParseObjects(text string) ([]Object, error) {
	var all []Object
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		o, err := parseObject(part)
		if err != nil {
			return nil, err
		}
		if o.Name == "" || o.Kind == "" || o.Version == "" || strings.ContainsAny(part, " \t\n") {
			return nil, fmt.Errorf("%q is not of the form group/version/Kind/namespace/name", part)
		}
		if all = append(all, o); len(all) > maxObjects {
			return nil, fmt.Errorf("there are more than %d objects", maxObjects)
		}
	}
	return all, nil
}

func parseObject(text string) (Object, error) {
	p := strings.Split(text, "/")
	switch len(p) {
	case 3:
		gv, ok := kinds[p[0]]
		if !ok {
			return Object{}, fmt.Errorf("the kind of %q needs its group: write group/version/%s", text, text)
		}
		return Object{gv.WithKind(p[0]), p[1], p[2]}, nil
	case 4:
		return Object{schema.GroupVersionKind{Version: p[0], Kind: p[1]}, p[2], p[3]}, nil
	case 5:
		return Object{schema.GroupVersionKind{Group: p[0], Version: p[1], Kind: p[2]}, p[3], p[4]}, nil
	}
	return Object{}, fmt.Errorf("%q is not of the form group/version/Kind/namespace/name", text)
}
