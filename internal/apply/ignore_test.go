package apply

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa/jsondiff"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func ignoring(t *testing.T, paths ...string) Ignore {
	t.Helper()
	i, err := NewIgnore([]IgnoreRule{{Paths: paths}})
	must(t, err)
	return i
}

func TestNewIgnore(t *testing.T) {
	for path, says := range map[string]string{
		"/spec/replicas": "", "/metadata/annotations/a~1b": "", "/spec/list/0/x": "",
		"spec/replicas": "JSON pointer", "": "JSON pointer", "/spec/list/-": "JSON pointer",
		"/metadata": "cannot be left", "/metadata/name": "cannot be left", "/kind": "cannot be left", "/metadata/labels": "cannot be left",
	} {
		_, err := NewIgnore([]IgnoreRule{{Paths: []string{path}}})
		if says == "" && err != nil || says != "" && (!errors.Is(err, ErrIgnore) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: error is %v, want %q", path, err, says)
		}
	}
	if _, err := NewIgnore([]IgnoreRule{{Paths: []string{"/a"}, Selector: &jsondiff.Selector{Name: "("}}}); !errors.Is(err, ErrIgnore) {
		t.Errorf("error of a bad selector is %v", err)
	}
}

func TestPointers(t *testing.T) {
	object := map[string]any{"a": map[string]any{"b/c": "1", "d": []any{"x", map[string]any{"e": "2"}}}}
	for text, want := range map[string]any{"/a/b~1c": "1", "/a/d/1/e": "2", "/a/d/0": "x", "/a/d/2": nil, "/a/x/y": nil, "/a/d/x": nil} {
		got, ok := newPointer(text).get(object)
		if ok != (want != nil) || ok && got != want {
			t.Errorf("%s = %v, %v; want %v", text, got, ok, want)
		}
	}
	newPointer("/a/d/1/e").set(object, "3")
	newPointer("/a/b~1c").remove(object)
	newPointer("/a/d/0").remove(object) // stays: it is an item
	nested := map[string]any{"a": map[string]any{"b": map[string]any{"c": "1"}}, "d": "2"}
	newPointer("/a/b/c").remove(nested)
	if diff := cmp.Diff(map[string]any{"d": "2"}, nested); diff != "" {
		t.Errorf("after the last field of a map (-want +got):\n%s", diff)
	}
	want := map[string]any{"a": map[string]any{"d": []any{"x", map[string]any{"e": "3"}}}}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("object (-want +got):\n%s", diff)
	}
}

func (l *lab) field(name string, at ...string) any {
	l.t.Helper()
	value, _, err := unstructured.NestedFieldNoCopy(l.live(l.configMap(name, "")).Object, at...)
	must(l.t, err)
	return value
}

// What somebody else does to an ignored field stays, whoever it is, and however
// the rest of the object changes.
func TestIgnoredFieldsStay(t *testing.T) {
	for name, by := range map[string]string{"another controller": "autoscaler", "kubectl": "kubectl-edit"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			object := func(other string) Set {
				s := l.set(l.object("{apiVersion: v1, kind: ConfigMap, data: {scale: '1', other: '"+other+"'}}", "a"))
				s.Ignore = ignoring(t, "/data/scale")
				return s
			}
			l.try(object("1"))
			if got := l.field("a", "data", "scale"); got != "1" {
				t.Fatalf("scale = %v in a new object", got)
			}
			o := l.configMap("a", "")
			l.patch(o, by, `{"data":{"scale":"5"}}`)
			l.noticed()
			r, err := l.try(object("1"))
			must(t, err)
			if by == "autoscaler" && r.Changes[0].Action != Unchanged {
				t.Errorf("the change of an ignored field was answered with %s", r.Changes[0].Action)
			}
			r, err = l.try(object("2"))
			must(t, err)
			if r.Changes[0].Action != Configured || l.field("a", "data", "other") != "2" {
				t.Errorf("a change of another field: %s, other = %v", r.Changes[0].Action, l.field("a", "data", "other"))
			}
			if got := l.field("a", "data", "scale"); got != "5" {
				t.Errorf("scale = %v, want what %s set", got, by)
			}
			l.caughtUp(o)
			if by == "autoscaler" { // from now on the field is not ours, and nothing of it concerns us
				l.patch(o, by, `{"data":{"scale":"6"}}`)
				l.caughtUp(o)
				r, err = l.try(object("2"))
				must(t, err)
				if r.Changes[0].Action != Unchanged || l.field("a", "data", "scale") != "6" {
					t.Errorf("the next change was answered with %s, scale = %v", r.Changes[0].Action, l.field("a", "data", "scale"))
				}
			}
			l.patch(o, "somebody", `{"data":{"other":"9"}}`)
			l.caughtUp(o) // a notice could be one of before
			r, err = l.try(object("2"))
			must(t, err)
			if !r.Changes[0].Drift || l.field("a", "data", "other") != "2" {
				t.Errorf("drift of another field: %+v, other = %v", r.Changes[0], l.field("a", "data", "other"))
			}
		})
	}
}

// A field that nobody else owns keeps the value it has, though the source says
// another; without the rule the source counts again.
func TestIgnoredFieldsOfOurOwn(t *testing.T) {
	l := newLab(t)
	set := func(value string, paths ...string) Set {
		s := l.set(l.object("{apiVersion: v1, kind: ConfigMap, data: {x: '"+value+"', y: '1'}}", "a"))
		if len(paths) > 0 {
			s.Ignore = ignoring(t, paths...)
		}
		return s
	}
	l.try(set("1", "/data/x"))
	r, err := l.try(set("2", "/data/x"))
	must(t, err)
	if got := l.field("a", "data", "x"); got != "1" || r.Changes[0].Action != Unchanged {
		t.Errorf("x = %v after %s", got, r.Changes[0].Action)
	}
	l.try(set("2"))
	if got := l.field("a", "data", "x"); got != "2" {
		t.Errorf("x = %v without the rule", got)
	}
}

// Items of lists are named by their index.
func TestIgnoredItems(t *testing.T) {
	l := newLab(t)
	set := func(image, seconds string) Set {
		s := l.set(l.object(`{apiVersion: apps/v1, kind: Deployment, spec: {replicas: 0, paused: true, minReadySeconds: `+seconds+`, selector: {matchLabels: {app: a}},
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: "`+image+`"}]}}}}`, "d"))
		s.Ignore = ignoring(t, "/spec/template/spec/containers/0/image")
		return s
	}
	first := set("x:1", "1")
	l.try(first)
	l.patch(first.Objects[0], "updater", `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"x:2"}]}}}}`)
	l.noticed()
	r, err := l.try(set("x:1", "1"))
	must(t, err)
	if r.Changes[0].Action != Unchanged {
		t.Errorf("the change of an ignored item was answered with %s", r.Changes[0].Action)
	}
	r, err = l.try(set("x:3", "2"))
	must(t, err)
	containers, _, err := unstructured.NestedSlice(l.live(first.Objects[0]).Object, "spec", "template", "spec", "containers")
	must(t, err)
	if got := containers[0].(map[string]any)["image"]; got != "x:2" || r.Changes[0].Action != Configured {
		t.Errorf("image = %v after %s", got, r.Changes[0].Action)
	}
}

func FuzzPointer(f *testing.F) {
	f.Add("/a/0/b", `{"a":[{"b":1}]}`)
	f.Fuzz(func(t *testing.T, text, object string) {
		if _, err := NewIgnore([]IgnoreRule{{Paths: []string{text}}}); err != nil {
			return
		}
		var o map[string]any
		if json.Unmarshal([]byte(object), &o) != nil || o == nil {
			return
		}
		p := newPointer(text)
		if _, there := p.get(o); there {
			p.set(o, "x")
			if got, _ := p.get(o); got != "x" {
				t.Errorf("%s = %v after it was set", text, got)
			}
		}
		p.remove(o)
	})
}
