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
	Args   map[string][]string          `json:"args"`  // arguments added at the end, by Deployment
	Rules  map[string][]any             `json:"rules"` // rules added at the end, by role
}

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
	c := component{Remove: []string{}, Add: []*unstructured.Unstructured{}, Args: map[string][]string{}, Rules: map[string][]any{}}
	after := map[string]*unstructured.Unstructured{}
	for _, obj := range with {
		after[id(obj)] = obj
	}
	for _, obj := range without {
		name := id(obj)
		changed := after[name]
		delete(after, name)
		switch {
		case changed == nil:
			c.Remove = append(c.Remove, name)
			continue
		case obj.GetKind() == "Deployment":
			was, is := arguments(obj), arguments(changed)
			if len(is) > len(was) && slices.Equal(is[:len(was)], was) {
				c.Args[name] = is[len(was):]
			}
			changed = changed.DeepCopy()
			setArguments(changed, was)
		case obj.GetKind() == "ClusterRole" || obj.GetKind() == "Role":
			was, _, _ := unstructured.NestedSlice(obj.Object, "rules")
			is, _, _ := unstructured.NestedSlice(changed.Object, "rules")
			if len(is) > len(was) {
				c.Rules[name] = is[len(was):]
				changed = changed.DeepCopy()
				changed.Object["rules"] = is[:len(was)]
			}
		}
		if !equal(obj, changed) {
			return c, fmt.Errorf("it changes more of %s than the chart can: arguments and rules at the end", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		c.Add = append(c.Add, after[name])
	}
	return c, nil
}

func arguments(obj *unstructured.Unstructured) []string {
	containers, _, _ := unstructured.NestedSlice(obj.Object, "spec", "template", "spec", "containers")
	args, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	return args
}

func setArguments(obj *unstructured.Unstructured, args []string) {
	containers, _, _ := unstructured.NestedSlice(obj.Object, "spec", "template", "spec", "containers")
	_ = unstructured.SetNestedStringSlice(containers[0].(map[string]any), args, "args") // it is a map
	_ = unstructured.SetNestedSlice(obj.Object, containers, "spec", "template", "spec", "containers")
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
