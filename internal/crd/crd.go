// Package crd installs custom resource definitions from files, for tests and for the local control plane.
package crd

import (
	"context"
	"errors"
	"fmt"
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

// Dir holds the definitions of Weir's own kinds, one per file, below the workspace root.
const Dir = "config/crd/bases"

// fieldOwner owns the definitions on the API server.
const fieldOwner = "weir-local"

// Install applies the definitions of every *.yaml file in dirs, one per file, and returns how many
// there are when the API server serves them. A directory that does not exist holds none.
func Install(ctx context.Context, cfg *rest.Config, dirs ...string) (int, error) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return 0, fmt.Errorf("scheme of definitions: %w", err)
	}
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return 0, fmt.Errorf("client for definitions: %w", err)
	}
	var names []string
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return 0, fmt.Errorf("definitions in %q: %w", dir, err)
		}
		for _, file := range files {
			name, err := apply(ctx, c, file)
			if err != nil {
				return 0, fmt.Errorf("definition %q: %w", filepath.Base(file), err)
			}
			names = append(names, name)
		}
	}
	for _, name := range names {
		if err := established(ctx, c, name); err != nil {
			return 0, fmt.Errorf("definition %q: %w", name, err)
		}
	}
	return len(names), nil
}

func apply(ctx context.Context, c client.Client, file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, &crd.Object); err != nil {
		return "", err
	}
	err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(crd), client.FieldOwner(fieldOwner), client.ForceOwnership)
	return crd.GetName(), err
}

// established waits until the API server serves the kind, or refuses its names.
func established(ctx context.Context, c client.Client, name string) error {
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
			if condition.Type == apiextensionsv1.NamesAccepted && condition.Status == apiextensionsv1.ConditionFalse {
				return errors.New(condition.Message)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until it is served: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
