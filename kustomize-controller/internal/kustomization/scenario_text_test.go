package kustomization

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
)

// tellStatus writes the conditions, in the order of their names, and the inventory.
func (s *stage) tellStatus(b *bytes.Buffer, name string) {
	s.Helper()
	k := &kustomizev1.Kustomization{}
	if err := s.Get(s.Context(), s.key(name), k); apierrors.IsNotFound(err) {
		fmt.Fprintf(b, "%s: gone\n", name)
		return
	} else if err != nil {
		s.Fatal(err)
	}
	fmt.Fprintf(b, "%s: applied %s, attempted %s\n", name, orNone(k.Status.LastAppliedRevision), orNone(k.Status.LastAttemptedRevision))
	if k.Generation != k.Status.ObservedGeneration {
		b.WriteString("  the newest spec is not observed\n")
	}
	conditions := slices.Clone(k.Status.Conditions)
	slices.SortFunc(conditions, func(x, y metav1.Condition) int { return strings.Compare(x.Type, y.Type) })
	for _, c := range conditions {
		fmt.Fprintf(b, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, strings.ReplaceAll(c.Message, "\n", "\n    "))
	}
	if ready := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition); ready != nil && ready.Status == "False" {
		if after := s.results[name].RequeueAfter; after > 0 {
			fmt.Fprintf(b, "  again in %s\n", after.Round(time.Second))
		}
	}
	if k.Status.Inventory != nil {
		for _, e := range k.Status.Inventory.Entries {
			fmt.Fprintf(b, "  owns %s %s\n", e.ID, e.Version)
		}
	}
	for _, h := range k.Status.History {
		fmt.Fprintf(b, "  history %s of %s\n", h.LastReconciledStatus, h.Metadata["revision"])
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (s *stage) tellEvents(b *bytes.Buffer) {
	for _, e := range s.told() {
		if text, ok := strings.CutPrefix(e, "Normal "); ok {
			e = text
		}
		fmt.Fprintf(b, "event %s\n", strings.ReplaceAll(e, "\n", "\n  "))
	}
}

// tellObject writes what our field manager owns of an object, which is what was
// applied, and which other managers there are.
func (s *stage) tellObject(b *bytes.Buffer, ref apply.Ref) {
	s.Helper()
	u := s.live(ref)
	for deadline := time.Now().Add(patience); u != nil && u.GetDeletionTimestamp() != nil && !namespaced(ref.Kind); u = s.live(ref) {
		if time.Now().After(deadline) { // the API server empties a kind or a namespace first
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if u == nil {
		fmt.Fprintf(b, "-- %s is gone\n", ref)
		return
	}
	var own map[string]any
	var others []string
	for _, e := range u.GetManagedFields() {
		switch {
		case e.Manager == "kustomize-controller" && e.Operation == "Apply":
			if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &own); err != nil {
				s.Fatal(err)
			}
		case e.Subresource == "" && e.Manager != "weir-local":
			others = append(others, e.Manager)
		}
	}
	fmt.Fprintf(b, "-- %s", ref)
	if u.GetDeletionTimestamp() != nil {
		b.WriteString(", being deleted")
	}
	if len(others) > 0 {
		slices.Sort(others)
		fmt.Fprintf(b, ", with fields of %s", strings.Join(slices.Compact(others), ", "))
	}
	b.WriteByte('\n')
	if own == nil {
		b.WriteString("# nothing of it was applied\n")
		return
	}
	part := pick(u.Object, own).(map[string]any)
	s.tidy(part)
	text, err := yaml.Marshal(part)
	if err != nil {
		s.Fatal(err)
	}
	b.Write(text)
}

// tidy takes away what every object has: the labels of its owner, if that is
// the only Kustomization of the case.
func (s *stage) tidy(object map[string]any) {
	labels, _, _ := unstructured.NestedMap(object, "metadata", "labels")
	if len(s.names) == 1 && labels["kustomize.toolkit.fluxcd.io/name"] == s.names[0] && labels["kustomize.toolkit.fluxcd.io/namespace"] == s.ns {
		delete(labels, "kustomize.toolkit.fluxcd.io/name")
		delete(labels, "kustomize.toolkit.fluxcd.io/namespace")
		_ = unstructured.SetNestedMap(object, labels, "metadata", "labels")
	}
	if len(labels) == 0 {
		unstructured.RemoveNestedField(object, "metadata", "labels")
	}
	if m, ok := object["metadata"].(map[string]any); ok && len(m) == 0 {
		delete(object, "metadata")
	}
}

// pick returns the part of a value that a set of managed fields (FieldsV1)
// names.
func pick(value any, fields map[string]any) any {
	if len(fields) == 0 || len(fields) == 1 && fields["."] != nil {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, below := range fields {
			if key, ok := strings.CutPrefix(name, "f:"); ok {
				if part, there := v[key]; there {
					out[key] = pick(part, below.(map[string]any))
				}
			}
		}
		return out
	case []any:
		var out []any
		for _, item := range v {
			for name, below := range fields {
				if matches(item, name) {
					out = append(out, pick(item, below.(map[string]any)))
				}
			}
		}
		return out
	}
	return value
}

// matches reports whether an item of a list is the one that a path element means.
func matches(item any, element string) bool {
	if key, ok := strings.CutPrefix(element, "k:"); ok {
		var want map[string]any
		if json.Unmarshal([]byte(key), &want) != nil {
			return false
		}
		have, _ := item.(map[string]any)
		for k, v := range want {
			if fmt.Sprint(have[k]) != fmt.Sprint(v) {
				return false
			}
		}
		return true
	}
	if key, ok := strings.CutPrefix(element, "v:"); ok {
		var want any
		return json.Unmarshal([]byte(key), &want) == nil && fmt.Sprint(want) == fmt.Sprint(item)
	}
	return false
}

var (
	lasted = regexp.MustCompile(`\b(in|after) [0-9.]+(µs|ms|s)\b`)
	// What SOPS and random names leave in messages.
	random = regexp.MustCompile(`age1[0-9a-z]{58}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// stable replaces what differs from run to run.
func (s *stage) stable(text string) string {
	text = strings.ReplaceAll(text, s.ns, "$NS")
	if s.web != nil {
		text = strings.ReplaceAll(text, s.web.URL, "$WEB")
		text = strings.ReplaceAll(text, s.web.Listener.Addr().String(), "$WEB")
	}
	text = random.ReplaceAllString(text, "$$RANDOM")
	return lasted.ReplaceAllStringFunc(text, func(m string) string {
		word, _, _ := strings.Cut(m, " ")
		if strings.HasSuffix(m, "ms") || strings.HasSuffix(m, "µs") || word == "in" {
			return word + " 0s"
		}
		return m
	})
}
