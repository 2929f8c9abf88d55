package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/e2e/manifests"
)

const (
	dir, config = "../../charts/weir", "../../config"
	version     = "v9.8.7"
)

var built = sync.OnceValues(func() (Files, error) { return Build(dir, config, version) })

var archive = sync.OnceValues(func() ([]byte, error) {
	files, err := built()
	if err != nil {
		return nil, err
	}
	return files.Archive(time.Unix(0, 0))
})

type values = map[string]any

// render does what `helm template` does with the packaged chart.
func render(namespace string, v values) (map[string]*unstructured.Unstructured, error) {
	texts, err := templates(namespace, v)
	if err != nil {
		return nil, err
	}
	out := map[string]*unstructured.Unstructured{}
	for name, text := range texts {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		for _, doc := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
			obj := &unstructured.Unstructured{}
			if strings.TrimSpace(doc) == "" {
				continue
			}
			data, err := yaml.YAMLToJSON([]byte(doc))
			if err == nil {
				err = obj.UnmarshalJSON(data)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w in\n%s", name, err, doc)
			}
			if out[id(obj)] != nil {
				return nil, fmt.Errorf("%s is there twice", id(obj))
			}
			out[id(obj)] = obj
		}
	}
	return out, nil
}

// templates renders the chart as Helm does, by the names of its files.
func templates(namespace string, v values) (map[string]string, error) {
	data, err := archive()
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = common.KubeVersion{Version: "v1.33.0", Major: "1", Minor: "33"}
	text, err := yaml.Marshal(v) // as from a file, so that types are what they are there
	if err != nil {
		return nil, err
	}
	given, err := loader.LoadValues(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, given, common.ReleaseOptions{Name: "weir", Namespace: namespace, IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

func mustRender(t *testing.T, v values) map[string]*unstructured.Unstructured {
	t.Helper()
	out, err := render("flux-system", v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// plain takes away what only Helm reads.
func plain(t *testing.T, all map[string]*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	for name, obj := range all {
		notes := obj.GetAnnotations()
		if obj.GetKind() == "CustomResourceDefinition" && notes["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would go with the release", name)
		}
		delete(notes, "helm.sh/resource-policy")
		if obj.SetAnnotations(notes); len(notes) == 0 {
			obj.SetAnnotations(nil)
		}
	}
	return all
}

var whole = sync.OnceValues(func() (*manifests.Manifests, error) {
	return manifests.Render(config, "default", manifests.Options{Version: version})
})

func kustomized(t *testing.T, folder string, components ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	rendered := whole
	if folder != "default" || len(components) > 0 {
		rendered = func() (*manifests.Manifests, error) {
			return manifests.Render(config, folder, manifests.Options{Version: version, Components: components})
		}
	}
	m, err := rendered()
	if err != nil {
		t.Fatal(err)
	}
	all, err := m.Objects()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, obj := range all {
		out[id(obj)] = obj
	}
	return out
}

// same compares by what JSON says, as a number has several types in Go.
func same(t *testing.T, want, got map[string]*unstructured.Unstructured) {
	t.Helper()
	text := func(all map[string]*unstructured.Unstructured) map[string]any {
		data, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Errorf("(-kustomize +helm):\n%s", diff)
	}
}

func everything(t *testing.T, components ...string) values {
	t.Helper()
	return values{"namespace": values{"create": true}, "components": components}
}

// What Helm installs is what kustomize installs, object by object. The namespace
// is left to Helm unless it is asked for.
func TestChartEqualsConfig(t *testing.T) {
	want := kustomized(t, "default")
	same(t, want, plain(t, mustRender(t, everything(t))))
	delete(want, "Namespace/flux-system")
	same(t, want, plain(t, mustRender(t, nil)))
}

func TestComponentsEqualConfig(t *testing.T) {
	data, err := filepath.Glob(config + "/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var components []string
	for _, path := range data {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("kind: Component")) {
			components = append(components, filepath.Base(filepath.Dir(path)))
		}
	}
	if !slices.Contains(components, "tenancy-lockdown") || !slices.Contains(components, "workload-identity") {
		t.Fatalf("the components are %v", components)
	}
	for _, name := range components {
		t.Run(name, func(t *testing.T) {
			same(t, kustomized(t, "default", name), plain(t, mustRender(t, everything(t, name))))
		})
	}
	t.Run("all", func(t *testing.T) {
		same(t, kustomized(t, "default", components...), plain(t, mustRender(t, everything(t, components...))))
	})
	if _, err := render("flux-system", everything(t, "tenancy-lock-down")); err == nil || !strings.Contains(err.Error(), "tenancy-lock-down") {
		t.Errorf("a component that is not there: %v", err)
	}
}

func TestOneControllerEqualsStandalone(t *testing.T) {
	keys := map[string]string{"source-controller": "sourceController", "kustomize-controller": "kustomizeController",
		"notification-controller": "notificationController", "image-automation-controller": "imageAutomationController"}
	for _, name := range manifests.Controllers {
		t.Run(name, func(t *testing.T) {
			v := everything(t)
			v["userRoles"] = values{"create": false}
			for other, key := range keys {
				v[key] = values{"enabled": other == name}
			}
			same(t, kustomized(t, "standalone/"+name), plain(t, mustRender(t, v)))
		})
	}
}

func TestMonitoringEqualsConfig(t *testing.T) {
	on := values{"create": true}
	got := mustRender(t, values{"monitoring": values{"podMonitor": on, "rules": on, "dashboards": on}})
	for name := range mustRender(t, nil) {
		delete(got, name)
	}
	same(t, kustomized(t, "monitoring"), got)
}

func TestAnotherNamespace(t *testing.T) {
	all, err := render("gitops", values{"namespace": values{"create": true}, "components": []string{"workload-identity"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, obj := range all {
		data, err := obj.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("flux-system")) {
			t.Errorf("%s still names flux-system", name)
		}
		if ns := obj.GetNamespace(); ns != "" && ns != "gitops" {
			t.Errorf("%s is in %s", name, ns)
		}
	}
	for _, name := range []string{"ClusterRoleBinding/cluster-reconciler-gitops", "ClusterRole/flux-view-gitops", "Deployment/source-controller"} {
		if all[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestValuesChangeTheDeployment(t *testing.T) {
	all := mustRender(t, values{
		"image": values{"registry": "example.org/mirror/", "tag": "v1.2.3", "pullPolicy": "Always"}, "imagePullSecrets": []any{values{"name": "pull"}},
		"logLevel": "debug", "watchAllNamespaces": false, "eventsAddr": "http://elsewhere/", "crds": values{"install": false},
		"networkPolicy": values{"create": false}, "clusterReconciler": values{"create": false}, "resourceQuota": values{"create": false},
		"notificationController": values{"enabled": false},
		"sourceController": values{
			"enabled": true, "args": []any{"--concurrent=9"}, "env": []any{values{"name": "HTTPS_PROXY", "value": "http://proxy"}},
			"resources": values{"limits": values{"memory": "2Gi"}}, "replicas": 0, "claim": "artifacts",
			"serviceAccountAnnotations": values{"eks.amazonaws.com/role-arn": "arn"}, "podAnnotations": values{"a": "b"},
			"podLabels": values{"team": "x", "app": "not-this"}, "nodeSelector": values{"disk": "fast"},
			"tolerations": []any{values{"operator": "Exists"}}, "affinity": values{"nodeAffinity": values{}}, "priorityClassName": "high",
			"topologySpreadConstraints": []any{values{"topologyKey": "rack"}},
		},
	})
	for name := range all {
		for _, unwanted := range []string{"CustomResourceDefinition/", "NetworkPolicy/", "ResourceQuota/", "ClusterRoleBinding/cluster-reconciler", "Deployment/notification"} {
			if strings.HasPrefix(name, unwanted) {
				t.Errorf("%s is there", name)
			}
		}
	}
	text, err := yaml.Marshal(all["Deployment/source-controller"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"image: example.org/mirror/source-controller:v1.2.3", "imagePullPolicy: Always", "- name: pull", "--log-level=debug", "--watch-all-namespaces=false",
		"--events-addr=http://elsewhere/", "--concurrent=9", "name: HTTPS_PROXY", "memory: 2Gi", "replicas: 0", "claimName: artifacts", "a: b",
		"prometheus.io/scrape: \"true\"", "team: x", "disk: fast", "kubernetes.io/os: linux", "operator: Exists", "nodeAffinity: {}", "priorityClassName: high", "topologyKey: rack",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the Deployment does not say %q:\n%s", want, text)
		}
	}
	if bytes.Contains(text, []byte("not-this")) {
		t.Error("a label that the selector needs was replaced")
	}
	if got := all["ServiceAccount/source-controller"].GetAnnotations()["eks.amazonaws.com/role-arn"]; got != "arn" {
		t.Errorf("the service account has the annotation %q", got)
	}
	if got := all["Deployment/kustomize-controller"].Object["spec"].(values)["replicas"]; fmt.Sprint(got) != "1" {
		t.Errorf("another controller has %v replicas", got)
	}
}

// A volume has one owner, so the next pod does not start before the last one is gone.
func TestClaimsAreNotShared(t *testing.T) {
	all := mustRender(t, values{"notificationController": values{"enabled": true, "claim": "queue"}})
	spec := all["Deployment/notification-controller"].Object["spec"].(values)
	if diff := cmp.Diff(any(values{"type": "Recreate"}), spec["strategy"]); diff != "" {
		t.Errorf("the strategy (-want +got):\n%s", diff)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for name, v := range map[string]values{
		"a misspelt key":       {"sourceControler": values{"enabled": false}},
		"a misspelt inner key": {"sourceController": values{"enable": false}},
		"a wrong type":         {"crds": values{"install": "yes"}},
		"a wrong level":        {"logLevel": "verbose"},
		"no argument":          {"kustomizeController": values{"args": []any{"concurrent=5"}}},

		"source-controllers that do not know each other": {"sourceController": values{"enabled": true, "replicas": 2}},
		"replicas that share a volume":                   {"imageAutomationController": values{"enabled": true, "replicas": 2, "claim": "data"}},
		"two source-controllers that share a volume":     {"components": []any{"high-availability"}, "sourceController": values{"enabled": true, "claim": "data"}},
		"a volume for what has none":                     {"kustomizeController": values{"enabled": true, "claim": "data"}},
	} {
		if _, err := render("flux-system", v); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Everything in values.yaml is in the schema, and the other way round.
func TestSchemaIsComplete(t *testing.T) {
	var v, schema values
	for path, into := range map[string]*values{"values.yaml": &v, "values.schema.json": &schema} {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err == nil {
			err = yaml.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range schema["properties"].(values) {
		if _, ok := v[name]; !ok && name != "global" {
			t.Errorf("values.yaml has no default for %s", name)
		}
	}
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	each := schema["$defs"].(values)["controller"].(values)["properties"].(values)
	if len(each) < 10 {
		t.Fatalf("the schema has only %v of a controller", each)
	}
	for name := range schema["properties"].(values) {
		if name != "global" && !bytes.Contains(page, []byte("`"+name)) {
			t.Errorf("docs/install.md does not have the value %s", name)
		}
	}
	for name := range each {
		if !bytes.Contains(page, []byte("."+name+"`")) {
			t.Errorf("docs/install.md does not have the value %s of a controller", name)
		}
	}
}

// The notes after an installation say what this one leaves open, and nothing else.
func TestNotes(t *testing.T) {
	const admin, nobody, label = "is cluster-admin", "Nobody takes events", "kubectl label namespace flux-system"
	for name, tt := range map[string]struct {
		v    values
		says []string
	}{
		"the defaults":   {nil, []string{admin, label}},
		"locked down":    {values{"components": []string{"tenancy-lockdown"}, "namespace": values{"create": true}}, nil},
		"nobody to tell": {values{"notificationController": values{"enabled": false}}, []string{admin, label, nobody}},
	} {
		texts, err := templates("flux-system", tt.v)
		if err != nil {
			t.Fatal(err)
		}
		notes := texts["weir/templates/NOTES.txt"]
		for _, part := range []string{admin, nobody, label} {
			if strings.Contains(notes, part) != slices.Contains(tt.says, part) {
				t.Errorf("%s: the notes are\n%s", name, notes)
			}
		}
		if strings.Contains(notes, "\n\n\n") || !strings.HasSuffix(strings.TrimRight(notes, " "), "\n") {
			t.Errorf("%s: the notes have gaps:\n%q", name, notes)
		}
	}
}

func TestReplicasOfTheSourceController(t *testing.T) {
	all := mustRender(t, values{
		"components":       []any{"high-availability"},
		"sourceController": values{"enabled": true, "replicas": 3, "topologySpreadConstraints": []any{values{"topologyKey": "rack"}}},
	})
	text, err := yaml.Marshal(all["Deployment/source-controller"])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("replicas: 3")) || !bytes.Contains(text, []byte("topologyKey: rack")) || bytes.Contains(text, []byte("kubernetes.io/hostname")) {
		t.Errorf("the values do not win over the component:\n%s", text)
	}
}

func TestTheSameSourceGivesTheSameChart(t *testing.T) {
	one, err := archive()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Build(dir, config, version)
	if err != nil {
		t.Fatal(err)
	}
	two, err := files.Archive(time.Unix(0, 0))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("two archives differ (%v)", err)
	}
	if !bytes.Contains(files["Chart.yaml"], []byte("\nversion: 9.8.7\nappVersion: v9.8.7\n")) {
		t.Errorf("the chart says\n%s", files["Chart.yaml"])
	}
	// A release is kept in a Secret, which has room for a megabyte.
	if len(one) > 500<<10 {
		t.Errorf("the chart has %d bytes", len(one))
	}
}
