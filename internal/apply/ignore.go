package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/fluxcd/pkg/ssa/jsondiff"
	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// ErrIgnore is wrapped by errors about rules that cannot be used.
var ErrIgnore = errors.New("unusable ignore rule")

// Ignore says which fields of which objects are left to others once the object
// exists. The zero value ignores nothing.
type Ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	selector *jsondiff.SelectorRegex // nil: all
	pointers []pointer
}

// pointer is a JSON pointer (RFC 6901), split.
type pointer []string

// IgnoreRule selects objects by regular expressions and selectors; a nil
// Selector selects all.
type IgnoreRule = jsondiff.IgnoreRule

// Selector selects objects; its empty fields select all.
type Selector = jsondiff.Selector

// identityField matches what an object cannot do without.
var identityField = regexp.MustCompile(`^/(apiVersion|kind|metadata(/(name|namespace|labels|annotations|uid)?)?)$`)

// NewIgnore checks the rules. The error wraps ErrIgnore and names the rule and
// the path by their numbers.
func NewIgnore(rules []IgnoreRule) (Ignore, error) {
	var out Ignore
	for i, rule := range rules {
		selector, err := jsondiff.NewSelectorRegex(rule.Selector)
		if err != nil {
			return Ignore{}, fmt.Errorf("[%d].target: %w: %w", i, ErrIgnore, err)
		}
		r := ignoreRule{selector: selector}
		for j, p := range rule.Paths {
			switch {
			case !strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/-"):
				return Ignore{}, fmt.Errorf("[%d].paths[%d]: %w: %q is not a JSON pointer to a field: write /spec/replicas, for instance", i, j, ErrIgnore, p)
			case identityField.MatchString(p):
				return Ignore{}, fmt.Errorf("[%d].paths[%d]: %w: %q cannot be left to others", i, j, ErrIgnore, p)
			}
			r.pointers = append(r.pointers, newPointer(p))
		}
		out.rules = append(out.rules, r)
	}
	return out, nil
}

func newPointer(text string) pointer {
	p := strings.Split(text[1:], "/")
	for i := range p {
		p[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p[i])
	}
	return p
}

// of returns the fields of an object that are left to others.
func (i Ignore) of(o *build.Object) []pointer {
	if len(i.rules) == 0 {
		return nil
	}
	var u *unstructured.Unstructured
	var out []pointer
	for _, r := range i.rules {
		if r.selector != nil && u == nil {
			var err error
			if u, err = o.Unstructured(); err != nil {
				return nil // reading it fails later, with a message
			}
		}
		if r.selector == nil || r.selector.MatchUnstructured(u) {
			out = append(out, r.pointers...)
		}
	}
	return out
}

// sumWith makes the name of a payload depend on what it leaves out.
func sumWith(sum uint64, ignored []pointer) uint64 {
	if len(ignored) == 0 {
		return sum
	}
	h := xxhash.New()
	for _, p := range ignored {
		_, _ = h.WriteString(strings.Join(p, "\x00") + "\x01")
	}
	return sum ^ h.Sum64()
}

// leaveOut takes the ignored fields out of the payload of an object that exists.
// A field that another manager owns is not sent. One that nobody else owns would
// be removed then, so it is sent as it is in the cluster; and so is one of a
// manager that may not own anything, as its fields become ours.
func (a *Applier) leaveOut(ctx context.Context, t *task) error {
	live, err := a.full.Resource(a.served(t)).Namespace(t.ref.Namespace).Get(ctx, t.ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // a new object needs all its fields
	}
	if err != nil {
		return err
	}
	wanted, err := decodeExactly(t.payload.json)
	if err != nil {
		return err
	}
	others, stripped := owners(&t.resource.table.Policy, live.GetManagedFields())
	for _, p := range t.ignored {
		value, there := p.get(live.Object)
		_, ours := p.get(wanted)
		switch {
		case !there || p.owned(others):
			p.remove(wanted)
		case ours:
			p.set(wanted, value)
		case p.owned(stripped) && t.payload.marks&drift.Merge == 0:
			p.add(wanted, value)
		}
	}
	// If the object is replaced meanwhile, this payload is not for the new one.
	md, _ := wanted["metadata"].(map[string]any)
	md["uid"] = string(live.GetUID())
	t.version, t.generation = live.GetResourceVersion(), live.GetGeneration()
	t.payload.whole = t.payload.json
	t.payload.json, err = json.Marshal(wanted)
	return err
}

// untouched reports whether an apply of an object with ignored fields changed
// nothing: the API server stored nothing, or only who owns what.
func (t *task) untouched(m *metav1.PartialObjectMetadata) bool {
	if t.version == "" {
		return false
	}
	indexed := false
	for _, p := range t.ignored {
		indexed = indexed || p.indexed()
	}
	return m.ResourceVersion == t.version || indexed && m.Generation != 0 && m.Generation == t.generation
}

// owners collects the fields of managers other than us: those who keep what they
// own, and those who are about to be stripped of it.
func owners(p *drift.Policy, entries []metav1.ManagedFieldsEntry) (others, stripped *fieldpath.Set) {
	others, stripped = fieldpath.NewSet(), fieldpath.NewSet()
	for i := range entries {
		switch e := &entries[i]; {
		case p.Ours(e):
		case p.Strip != nil && p.Strip(*e):
			stripped = stripped.Union(fieldsOf(*e))
		default:
			others = others.Union(fieldsOf(*e))
		}
	}
	return others, stripped
}

// owned reports whether the set holds the field or something below it. Items of
// lists are known there by key, so a pointer with an index is never found.
func (p pointer) owned(set *fieldpath.Set) bool {
	path := make(fieldpath.Path, len(p))
	for i := range p {
		path[i] = fieldpath.PathElement{FieldName: &p[i]}
	}
	if set.Has(path) {
		return true
	}
	for i := range path {
		set = set.WithPrefix(path[i])
	}
	return !set.Empty()
}

func (p pointer) indexed() bool {
	for _, token := range p {
		if _, err := strconv.Atoi(token); err == nil {
			return true
		}
	}
	return false
}

// stepInto goes one token down from v; nil where there is nothing.
func stepInto(v any, token string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		next, ok := v[token]
		return next, ok
	case []any:
		if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(v) {
			return v[i], true
		}
	}
	return nil, false
}

func (p pointer) get(v any) (any, bool) {
	for _, token := range p {
		next, ok := stepInto(v, token)
		if !ok {
			return nil, false
		}
		v = next
	}
	return v, true
}

func (p pointer) set(root map[string]any, value any) {
	parent, _ := p[:len(p)-1].get(root)
	last := p[len(p)-1]
	switch parent := parent.(type) {
	case map[string]any:
		parent[last] = value
	case []any:
		if i, err := strconv.Atoi(last); err == nil && i >= 0 && i < len(parent) {
			parent[i] = value
		}
	}
}

// add is set for a field whose parents may be missing. Below a list there is
// nothing to add: lists are sent whole.
func (p pointer) add(root map[string]any, value any) {
	for i, token := range p[:len(p)-1] {
		parent, _ := p[:i].get(root)
		m, ok := parent.(map[string]any)
		if !ok {
			return
		}
		if m[token] == nil {
			m[token] = map[string]any{}
		}
	}
	p.set(root, value)
}

// remove takes a field out of a map, and the maps around it that are empty then:
// an empty map would be a field of ours. An item of a list stays: lists are sent
// whole.
func (p pointer) remove(root map[string]any) {
	for n := len(p) - 1; n >= 0; n-- {
		parent, _ := p[:n].get(root)
		m, ok := parent.(map[string]any)
		if !ok {
			return
		}
		if delete(m, p[n]); len(m) > 0 {
			return
		}
	}
}
