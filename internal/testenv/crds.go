package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// crdDir holds the definitions of Weir's own kinds, one per file, below the workspace root.
const crdDir = "config/crd/bases"

// installCRDs applies the definitions in crdDir and dirs and waits until the API server serves them.
// Directories that do not exist are left out.
func installCRDs(ctx context.Context, cfg *rest.Config, root string, dirs []string) error {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("scheme of definitions: %w", err)
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("client for definitions: %w", err)
	}
	var names []string
	for _, dir := range append([]string{crdDir}, dirs...) {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		if err != nil {
			return fmt.Errorf("definitions in %q: %w", dir, err)
		}
		for _, file := range files {
			name, err := applyCRD(ctx, c, file)
			if err != nil {
				return fmt.Errorf("definition %q: %w", filepath.Base(file), err)
			}
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := waitEstablished(ctx, c, name); err != nil {
			return fmt.Errorf("definition %q: %w", name, err)
		}
	}
	return nil
}

func applyCRD(ctx context.Context, c client.Client, file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("it went away while it was read")
	}
	if err != nil {
		return "", err
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, &crd.Object); err != nil {
		return "", err
	}
	err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner("testenv"), client.ForceOwnership)
	return crd.GetName(), err
}

func waitEstablished(ctx context.Context, c client.Client, name string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return err
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not served: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
