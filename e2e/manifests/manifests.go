// Package manifests renders the folders of config/ into the objects that are
// installed.
package manifests

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Registry is where the images come from when nothing else is said.
const Registry = "ghcr.io/weirhq"

// Controllers lists the controllers, which are also names of folders.
var Controllers = []string{"source-controller", "kustomize-controller", "notification-controller", "image-automation-controller"}

// Options change what is rendered. The zero value changes nothing.
type Options struct {
	Components []string // folders of config/ with components, such as "tenancy-lockdown"
	Version    string   // of the images and the version label, such as "v1.2.3"
	Registry   string   // takes the place of Registry
}

// Manifests are rendered objects in the order in which they are to be applied.
type Manifests struct {
	objects resmap.ResMap
}

// Render builds a folder of the configuration in dir, such as "default" or
// "standalone/source-controller". It reads below dir only.
func Render(dir, folder string, o Options) (*Manifests, error) {
	overlay, err := yaml.Marshal(overlayOf(folder, o))
	if err != nil {
		return nil, err
	}
	m, err := Overlay(dir, overlay)
	if err != nil {
		return nil, fmt.Errorf("rendering %q: %w", folder, err)
	}
	return m, nil
}

// Overlay builds a kustomization.yaml that lies beside the configuration in dir
// and names its folders as config/...
func Overlay(dir string, kustomization []byte) (*Manifests, error) {
	files, err := load(dir)
	if err != nil {
		return nil, err
	}
	if err := files.WriteFile("/kustomization.yaml", kustomization); err != nil {
		return nil, err
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/")
	if err != nil {
		return nil, err
	}
	return &Manifests{objects}, nil
}

// load reads the YAML and JSON files below dir into memory, as /config.
func load(dir string) (filesys.FileSystem, error) {
	files := filesys.MakeFsInMemory()
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" && filepath.Ext(name) != ".json" {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return files.WriteFile(path.Join("/config", name), data)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return files, nil
}

func overlayOf(folder string, o Options) map[string]any {
	overlay := map[string]any{"resources": []string{"config/" + folder}}
	var components []string
	for _, name := range o.Components {
		components = append(components, "config/"+name)
	}
	if components != nil {
		overlay["components"] = components
	}
	if o.Version != "" {
		overlay["labels"] = []any{map[string]any{
			"includeTemplates": true, "pairs": map[string]string{"app.kubernetes.io/version": o.Version},
		}}
	}
	if images := imagesOf(o); images != nil {
		overlay["images"] = images
	}
	return overlay
}

func imagesOf(o Options) []any {
	if o.Version == "" && o.Registry == "" {
		return nil
	}
	var images []any
	for _, name := range Controllers {
		image := map[string]string{"name": Registry + "/" + name}
		if o.Version != "" {
			image["newTag"] = o.Version
		}
		if o.Registry != "" {
			image["newName"] = strings.TrimSuffix(o.Registry, "/") + "/" + name
		}
		images = append(images, image)
	}
	return images
}

// YAML returns the objects as one stream of documents.
func (m *Manifests) YAML() ([]byte, error) { return m.objects.AsYaml() }

// Objects returns copies of the objects.
func (m *Manifests) Objects() ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, r := range m.objects.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(text); err != nil {
			return nil, fmt.Errorf("%s: %w", r.CurId(), err)
		}
		out = append(out, obj)
	}
	return out, nil
}
