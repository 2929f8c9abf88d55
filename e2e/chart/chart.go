// Package chart makes the Helm chart of charts/weir whole: its objects are
// rendered from the folders of config/, so that nothing is written twice.
package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weirhq/weir/e2e/manifests"
)

// Name is the name of the chart.
const Name = "weir"

// parts are the folders of config/ whose objects the chart has, each as a file.
var parts = []string{"namespace", "cluster-reconciler", "user-roles", "network-policies"}

// Files are those of a chart, by their path in it.
type Files map[string][]byte

// Build returns the chart in dir with the objects of config.
func Build(dir, config, version string) (Files, error) {
	files, err := read(dir)
	if err != nil {
		return nil, err
	}
	files["Chart.yaml"] = stamp(files["Chart.yaml"], version)
	whole, err := manifests.Render(config, "default", manifests.Options{Version: version})
	if err != nil {
		return nil, err
	}
	all, err := whole.Objects()
	if err != nil {
		return nil, err
	}
	if err := files.addParts(config, version, all); err != nil {
		return nil, err
	}
	return files, files.addComponents(config, version, all)
}

func read(dir string) (Files, error) {
	files, root := Files{}, os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the chart: %w", err)
	}
	return files, nil
}

// stamp sets the versions of a Chart.yaml.
func stamp(text []byte, version string) []byte {
	text = regexp.MustCompile(`(?m)^version: .*$`).ReplaceAll(text, []byte("version: "+strings.TrimPrefix(version, "v")))
	return regexp.MustCompile(`(?m)^appVersion: .*$`).ReplaceAll(text, []byte("appVersion: "+version))
}

// addParts sorts the objects of config/default by the folder that they are from.
// There they have labels that their own folder does not give them.
func (f Files) addParts(config, version string, all []*unstructured.Unstructured) error {
	left := map[string]*unstructured.Unstructured{}
	for _, obj := range all {
		left[id(obj)] = obj
	}
	folders := map[string]string{}
	for _, name := range parts {
		folders[name] = name
	}
	for _, name := range manifests.Controllers {
		folders[name], folders["crds/"+name] = name, "crds/"+name
	}
	for file, folder := range folders {
		own, err := objects(config, folder, version)
		if err != nil {
			return err
		}
		var chosen []*unstructured.Unstructured
		for _, obj := range own {
			same := left[id(obj)]
			if same == nil {
				return fmt.Errorf("%s has %s, and config/default has not", folder, id(obj))
			}
			chosen = append(chosen, same)
			delete(left, id(obj))
		}
		if err := f.put("files/"+file+".json", chosen); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("config/default has objects that no part of the chart has: %v", slices.Sorted(maps.Keys(left)))
	}
	monitoring, err := objects(config, "monitoring", version)
	if err != nil {
		return err
	}
	return f.put("files/monitoring.json", monitoring)
}

// component is what a component makes different.
type component struct {
	Remove []string                     `json:"remove"` // objects, as kind/name
	Add    []*unstructured.Unstructured `json:"add"`
	// Lists are entries added at the end of lists, by object and by the name of the
	// list, which is unique within an object.
	Lists map[string]map[string][]any `json:"lists"`
	// Specs are fields of Deployments' specs, by object: those of specs below.
	Specs map[string]map[string]any `json:"specs"`
	// Pods are fields of their pods' specs, in the same way.
	Pods map[string]map[string]any `json:"pods"`
}

// specs are the fields of a Deployment's spec that a component may change, and pods
// those of its pods' spec.
var (
	specs = []string{"replicas", "strategy"}
	pods  = []string{"topologySpreadConstraints"}
)

// lists are the places where a component may add entries.
var lists = map[string][]string{
	"rules":        {"rules"},
	"volumes":      {"spec", "template", "spec", "volumes"},
	"args":         container("args"),
	"env":          container("env"),
	"volumeMounts": container("volumeMounts"),
}

func container(list string) []string { return []string{"spec", "template", "spec", "containers", list} }

// addComponents finds out what each component adds and removes.
func (f Files) addComponents(config, version string, all []*unstructured.Unstructured) error {
	found, err := filepath.Glob(filepath.Join(config, "*", "kustomization.yaml"))
	if err != nil {
		return err
	}
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !regexp.MustCompile(`(?m)^kind: Component$`).Match(text) {
			continue
		}
		name := filepath.Base(filepath.Dir(file))
		m, err := manifests.Render(config, "default", manifests.Options{Version: version, Components: []string{name}})
		if err != nil {
			return err
		}
		with, err := m.Objects()
		if err != nil {
			return err
		}
		c, err := difference(all, with)
		if err != nil {
			return fmt.Errorf("component %s: %w", name, err)
		}
		if err := f.put("files/components/"+name+".json", c); err != nil {
			return err
		}
	}
	return nil
}

func difference(without, with []*unstructured.Unstructured) (component, error) {
	c := component{
		Remove: []string{}, Add: []*unstructured.Unstructured{}, Lists: map[string]map[string][]any{},
		Specs: map[string]map[string]any{}, Pods: map[string]map[string]any{},
	}
	after := map[string]*unstructured.Unstructured{}
	for _, obj := range with {
		after[id(obj)] = obj
	}
	for _, obj := range without {
		name := id(obj)
		changed := after[name]
		delete(after, name)
		if changed == nil {
			c.Remove = append(c.Remove, name)
			continue
		}
		changed = changed.DeepCopy()
		if more := cut(obj.Object, changed.Object); len(more) > 0 {
			c.Lists[name] = more
		}
		if obj.GetKind() == "Deployment" {
			if other := changedFields(obj, changed, specs, "spec"); len(other) > 0 {
				c.Specs[name] = other
			}
			if other := changedFields(obj, changed, pods, "spec", "template", "spec"); len(other) > 0 {
				c.Pods[name] = other
			}
		}
		if !equal(obj, changed) {
			return c, fmt.Errorf("it changes more of %s than the chart can, which is to add to the end of %v, %v of Deployments, and %v of their pods", name, slices.Sorted(maps.Keys(lists)), specs, pods)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		c.Add = append(c.Add, after[name])
	}
	return c, nil
}

// changedFields puts back what was changed of the fields of the map at path, and
// returns what they were changed to.
func changedFields(was, is *unstructured.Unstructured, fields []string, path ...string) map[string]any {
	changed, before, after := map[string]any{}, was.Object, is.Object
	for _, step := range path {
		before, _ = before[step].(map[string]any)
		after, _ = after[step].(map[string]any)
	}
	for _, field := range fields {
		old, had := before[field]
		if reflect.DeepEqual(old, after[field]) {
			continue
		}
		changed[field] = after[field]
		if after[field] = old; !had {
			delete(after, field)
		}
	}
	return changed
}

// cut takes what was added to the lists of an object out again, and returns it.
func cut(was, is map[string]any) map[string][]any {
	added := map[string][]any{}
	for name, path := range lists {
		before, _ := place(was, path)
		after, holder := place(is, path)
		if more := len(after) - len(before); more > 0 && len(before) > 0 {
			added[name] = after[len(before):]
			holder[name] = after[:len(before)]
		}
	}
	return added
}

// place finds a list and the map that it is in. Of containers it is the first.
func place(obj map[string]any, path []string) (list []any, holder map[string]any) {
	holder = obj
	for _, step := range path[:len(path)-1] {
		switch next := holder[step].(type) {
		case map[string]any:
			holder = next
		case []any:
			if len(next) == 0 {
				return nil, nil
			}
			holder, _ = next[0].(map[string]any)
		default:
			return nil, nil
		}
	}
	list, _ = holder[path[len(path)-1]].([]any)
	return list, holder
}

func equal(a, b *unstructured.Unstructured) bool {
	one, errOne := json.Marshal(a)
	two, errTwo := json.Marshal(b)
	return errOne == nil && errTwo == nil && bytes.Equal(one, two)
}

func objects(config, folder, version string) ([]*unstructured.Unstructured, error) {
	m, err := manifests.Render(config, folder, manifests.Options{Version: version})
	if err != nil {
		return nil, err
	}
	return m.Objects()
}

func id(obj *unstructured.Unstructured) string { return obj.GetKind() + "/" + obj.GetName() }

func (f Files) put(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f[name] = data
	return nil
}

// Archive returns the chart as helm packages it: the same bytes for the same
// files and date.
func (f Files) Archive(created time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &tar.Header{Name: path.Join(Name, name), Mode: 0o644, Size: int64(len(f[name])), ModTime: created, Format: tar.FormatPAX, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
