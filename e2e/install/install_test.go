// Package install installs the folders of config/ on a real API server and runs
// the real programs with exactly the rights they get there.
package install

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/testenv"
)

const (
	config    = "../../config"
	namespace = "flux-system"
	// patience bounds every wait. It says nothing about speed.
	patience = 90 * time.Second
	// reconciler is the binding that makes the kustomize-controller an
	// administrator.
	reconciler = "cluster-reconciler-flux-system"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// rendered holds what was rendered once; the definitions make it slow.
var rendered = map[string]*manifests.Manifests{}

// render returns the objects of a folder of config/.
func render(t *testing.T, folder string, components ...string) []*unstructured.Unstructured {
	t.Helper()
	return renderWith(t, folder, manifests.Options{Components: components})
}

func renderWith(t *testing.T, folder string, o manifests.Options) []*unstructured.Unstructured {
	t.Helper()
	key := fmt.Sprintf("%s %+v", folder, o)
	if rendered[key] == nil {
		m, err := manifests.Render(config, folder, o)
		if err != nil {
			t.Fatal(err)
		}
		rendered[key] = m
	}
	objects, err := rendered[key].Objects()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// send applies an object with strict validation of its fields.
func send(ctx context.Context, c client.Client, obj *unstructured.Unstructured, more ...client.PatchOption) error {
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	options := append([]client.PatchOption{client.FieldOwner("install"), client.ForceOwnership, client.FieldValidation("Strict")}, more...)
	return c.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.ApplyPatchType, data), options...)
}

var installed sync.Once

// install applies config/default, once.
func install(t *testing.T) client.WithWatch {
	t.Helper()
	c := testenv.Client(t)
	installed.Do(func() {
		for _, obj := range render(t, "default") {
			if err := send(t.Context(), c, obj); err != nil {
				t.Fatalf("%s %q: %v", obj.GetKind(), obj.GetName(), err)
			}
		}
	})
	return c
}

// eventually waits until check returns "", which is otherwise what is missing.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s: %s", what, patience, missing)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// folders returns the folders of config/ that can be installed by themselves,
// and those with components.
func folders(t *testing.T) (whole, components []string) {
	t.Helper()
	err := filepath.WalkDir(config, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "samples" { // its kustomization.yaml is a sample of the other Kustomization
			return fs.SkipDir
		}
		if err != nil || d.Name() != "kustomization.yaml" {
			return err
		}
		name, err := filepath.Rel(config, filepath.Dir(path))
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); isComponent(t, path) {
			components = append(components, name)
		} else {
			whole = append(whole, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) < 15 || len(components) < 1 {
		t.Fatalf("found the folders %v and the components %v: some are missing", whole, components)
	}
	return whole, components
}
