package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"unique"

	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Bounds on what one build puts out. kustomize compares every object with every
// other: 2,000 take five seconds, and 10,000 minutes that nothing can interrupt.
// Built in parts that grows with their number only.
const (
	maxObjects = 50_000
	maxWhole   = 10_000    // when it cannot be built in parts
	maxAlone   = 2_000     // when it cannot, and has all others wait
	maxOutput  = 256 << 20 // bytes of JSON
)

// identity is what an inventory knows an object by.
type identity struct{ group, kind, namespace, name string }

// collect puts the pieces of a build together.
func collect(pieces []piece) ([]Object, error) {
	c := collection{seen: make(map[identity]string, len(pieces))}
	for i := range pieces {
		if pieces[i].err != nil {
			return nil, pieces[i].err
		}
		for _, o := range pieces[i].Objects {
			if err := c.add(pieces[i].From, o); err != nil {
				return nil, err
			}
		}
	}
	return c.compact(), nil
}

// collection gathers objects and sees to the bounds.
type collection struct {
	objects []Object
	seen    map[identity]string // the object's name before substitution
	bytes   int
}

// add takes one object that was called from in the source.
func (c *collection) add(from string, o Object) error {
	id := identity{o.GVK.Group, o.GVK.Kind, o.Namespace, o.Name}
	if other, there := c.seen[id]; there {
		return fmt.Errorf("%s is built twice: from %s and from %s", o.describe(), other, from)
	}
	c.seen[id] = from
	c.bytes += len(o.JSON)
	if len(c.objects) == maxObjects || c.bytes > maxOutput {
		return fmt.Errorf("%w: more than %d objects or %d MiB; split it into several Kustomizations", ErrTooLarge, maxObjects, maxOutput>>20)
	}
	c.objects = append(c.objects, o)
	return nil
}

// stringsOnly refuses what no API server takes. It comes of substitution mostly:
// kustomize drops the quotes that a manifest had around an expression.
func stringsOnly(u *unstructured.Unstructured, field string) error {
	values, found, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", field)
	m, ok := values.(map[string]any)
	if found && values != nil && !ok {
		return fmt.Errorf("metadata.%s is not a map", field)
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if _, ok := m[k].(string); !ok && m[k] != nil {
			return fmt.Errorf("metadata.%s: the value of %q is not a string; quotes around ${...} get lost in a build, so have them in the value", field, k)
		}
	}
	return nil
}

// normalizeObject brings an object of a built-in kind into the form the API
// server stores: stringData of a Secret becomes data, ports get their protocol,
// status goes. Without it server-side apply would own fields that do not exist,
// or miss the keys of list items. What stands in a definition's caBundle until
// something fills it in ("Cg==", often) goes as well, as the API server refuses
// it. The peers do the same with the same library.
func normalizeObject(u *unstructured.Unstructured) error {
	if err := normalize.UnstructuredList([]*unstructured.Unstructured{u}); err != nil {
		return err
	}
	utils.RemoveCABundleFromCRD(u)
	if meta, ok := u.Object["metadata"].(map[string]any); ok && meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	return nil
}

func canonical(u *unstructured.Unstructured) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(u.Object); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func intern(gvk schema.GroupVersionKind) schema.GroupVersionKind {
	return schema.GroupVersionKind{
		Group:   unique.Make(gvk.Group).Value(),
		Version: unique.Make(gvk.Version).Value(),
		Kind:    unique.Make(gvk.Kind).Value(),
	}
}

// compact returns the objects with their JSON in one piece of memory, and their
// names in another, as results are kept for long.
func (c *collection) compact() []Object {
	all, names := make([]byte, 0, c.bytes), strings.Builder{}
	objects := make([]Object, len(c.objects))
	for _, o := range c.objects {
		names.WriteString(o.Name)
	}
	rest := names.String()
	for i, o := range c.objects {
		start := len(all)
		all = append(all, o.JSON...)
		o.JSON = all[start:len(all):len(all)]
		o.Name, rest = rest[:len(o.Name)], rest[len(o.Name):]
		objects[i] = o
	}
	return objects
}

func digest(objects []Object) string {
	h := sha256.New()
	for i := range objects {
		writeAll(h, objects[i].JSON, []byte("\n"))
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

func writeAll(h hash.Hash, parts ...[]byte) {
	for _, p := range parts {
		h.Write(p) // never fails
	}
}
