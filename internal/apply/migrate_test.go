package apply

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

const widgetCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.migrate.example}
spec:
  group: migrate.example
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: string}}}}}}
`

const widgetV2 = `
  - name: v2
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: string}, mode: {type: string, default: plain}}}}}}
`

// TestMigrateVersions: a new version of a kind brings a field with a default,
// which the version that managers have applied in does not know.
func TestMigrateVersions(t *testing.T) {
	for name, enabled := range map[string]bool{"off": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(_ *rest.Config, o *Options) { o.MigrateVersions = enabled })
			group := "migrate-" + name + ".example"
			text := strings.ReplaceAll(widgetCRD, "migrate.example", group)
			gvr := schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}
			served := func() {
				t.Helper()
				// A version answers before discovery names it.
				until(t, "the kind being served and discovered", func() bool {
					_, err := l.dyn.Resource(gvr).List(t.Context(), metav1.ListOptions{Limit: 1})
					if err != nil {
						return false
					}
					found, err := l.Cluster.mapper.confirm(t.Context(), schema.GroupVersionKind{Group: group, Version: gvr.Version, Kind: "Widget"})
					return err == nil && found != nil && found.GroupVersionKind.Version == gvr.Version
				})
			}
			crds := l.dyn.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
			write := func(text string) {
				t.Helper()
				u := &unstructured.Unstructured{}
				must(t, yaml.Unmarshal([]byte(text), &u.Object))
				_, err := crds.Apply(context.Background(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "lab", Force: true})
				must(t, err)
			}
			write(text)
			served()
			o := l.object("{apiVersion: "+group+"/v1, kind: Widget, spec: {size: small}}", "w")
			l.want(l.set(o), "created 1", 2)

			write(text + widgetV2)
			gvr.Version = "v2"
			served()
			o = l.object("{apiVersion: "+group+"/v2, kind: Widget, spec: {size: large, mode: fancy}}", "w")
			_, err := l.try(l.set(o))
			switch {
			case enabled && err != nil:
				t.Fatal(err)
			case enabled:
				for _, e := range l.live(o).GetManagedFields() {
					if e.APIVersion != group+"/v2" {
						t.Errorf("an entry of managedFields is of %s", e.APIVersion)
					}
				}
			case err == nil:
				t.Skip("this API server converts the entries by itself")
			case !undeclared(err):
				t.Errorf("error is %v", err)
			}
		})
	}
}
