package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

//go:embed objects
var objectFiles embed.FS

// fieldOwner owns what this program applies.
const fieldOwner = "weir-local"

// apply puts values in the place of their names in one of the object files, leaves the result in the
// run's directory for the user to read, and applies it.
func (d *demo) apply(ctx context.Context, name string, values map[string]string) error {
	data, err := objectFiles.ReadFile("objects/" + name)
	if err != nil {
		return err
	}
	var pairs []string
	for key, value := range values {
		pairs = append(pairs, "${"+key+"}", value)
	}
	text := strings.NewReplacer(pairs...).Replace(string(data))
	if err := os.WriteFile(d.objectsFile(), []byte(text), 0o600); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := d.client.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(obj)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(fieldOwner)); err != nil {
			return fmt.Errorf("applying %s %q: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
}

func (d *demo) objectsFile() string { return filepath.Join(d.Dir, "objects.yaml") }
