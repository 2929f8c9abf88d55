package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Ref names an object.
type Ref struct {
	schema.GroupVersionKind
	Namespace, Name string // Namespace is empty for cluster-scoped objects
}

// String returns Kind/namespace/name, or Kind/name for cluster-scoped objects.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// ID returns the object's id in an inventory, without the version:
// namespace_name_group_Kind. A colon, which only names of RBAC objects can
// hold, is written as two underscores. (Format: cli-utils' ObjMetadata.)
func (r Ref) ID() string {
	name := r.Name
	if r.Group == rbacGroup {
		name = strings.ReplaceAll(name, ":", "__")
	}
	return r.Namespace + "_" + name + "_" + r.Group + "_" + r.Kind
}

// ParseID is the inverse of Ref.ID; version is the API version kept beside it.
// Of an RBAC object it takes two underscores for a colon, see Ref.literal.
func ParseID(id, version string) (Ref, error) {
	namespace, rest, ok := strings.Cut(id, "_")
	kind := strings.LastIndexByte(rest, '_')
	if !ok || kind < 0 {
		return Ref{}, fmt.Errorf("inventory id %q is not of the form namespace_name_group_Kind", id)
	}
	group := strings.LastIndexByte(rest[:kind], '_')
	if group < 1 || kind == len(rest)-1 {
		return Ref{}, fmt.Errorf("inventory id %q is not of the form namespace_name_group_Kind", id)
	}
	r := Ref{
		GroupVersionKind: schema.GroupVersionKind{Group: rest[group+1 : kind], Version: version, Kind: rest[kind+1:]},
		Namespace:        namespace,
		Name:             rest[:group],
	}
	if r.Group == rbacGroup {
		r.Name = strings.ReplaceAll(r.Name, "__", ":")
	}
	return r, nil
}

// literal returns the other object that an id may mean, whose name has two
// underscores itself; false if there is none.
func (r Ref) literal() (Ref, bool) {
	if r.Group != rbacGroup || !strings.Contains(r.Name, ":") {
		return r, false
	}
	r.Name = strings.ReplaceAll(r.Name, ":", "__")
	return r, true
}

const rbacGroup = "rbac.authorization.k8s.io"

// compareRefs orders references by kind, namespace, name and group.
func compareRefs(a, b Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.Group, b.Group))
}

// stage says when an object is applied; the stages are applied one after another
// and pruned in reverse.
type stage int

const (
	definitions stage = iota // others may need them to exist
	classes                  // others may refer to them by name
	chosen                   // Options.StageKinds
	others
	stages // how many there are
)

func (c *Cluster) stageOf(gvk schema.GroupVersionKind) stage {
	switch {
	case isCRD(gvk),
		gvk.Group == "" && gvk.Kind == "Namespace",
		gvk.Group == rbacGroup && gvk.Kind == "ClusterRole":
		return definitions
	case strings.HasSuffix(gvk.Kind, "Class"):
		return classes
	case slices.Contains(c.options.StageKinds, gvk.GroupKind()):
		return chosen
	}
	return others
}

func isCRD(gvk schema.GroupVersionKind) bool {
	return gvk.Group == "apiextensions.k8s.io" && gvk.Kind == "CustomResourceDefinition"
}
