package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/testenv"
)

const (
	release, namespace = "weir", "flux-system"
	older              = "v9.8.6"
	// patience bounds every wait. It says nothing about speed.
	patience = 90 * time.Second
)

func TestMain(m *testing.M) { testenv.Main(m) }

// helm is Helm itself on a real API server.
type helm struct {
	*testing.T
	client.Client
	cfg *action.Configuration
}

func newHelm(t *testing.T) *helm {
	t.Helper()
	kubeconfig, ns, cache := testenv.Kubeconfig(t), namespace, t.TempDir()
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace, flags.CacheDir = &kubeconfig, &ns, &cache
	flags.WithWrapConfigFn(func(c *rest.Config) *rest.Config {
		c.QPS = -1 // five requests a second would make this a test of patience
		return c
	})
	cfg := action.NewConfiguration()
	if err := cfg.Init(flags, ns, "secret"); err != nil {
		t.Fatal(err)
	}
	return &helm{t, testenv.Client(t, sourcev1.AddToScheme, apiextensionsv1.AddToScheme), cfg}
}

// load reads a packaged chart; edit changes its files before.
func (h *helm) load(edit func(Files)) *chartv2.Chart {
	h.Helper()
	files, err := built()
	if err != nil {
		h.Fatal(err)
	}
	files = maps.Clone(files)
	edit(files)
	data, err := files.Archive(time.Unix(0, 0))
	if err != nil {
		h.Fatal(err)
	}
	c, err := loader.LoadArchive(bytes.NewReader(data))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// makeOlder makes it a version that does not know spec.sparseCheckout yet.
func makeOlder(files Files) {
	const file = "files/crds/source-controller.json"
	files["Chart.yaml"] = stamp(files["Chart.yaml"], older)
	field := regexp.MustCompile(`"sparseCheckout":\{[^}]*"items":\{[^}]*\}[^}]*\},`)
	files[file] = field.ReplaceAll(files[file], nil)
}

// install is `helm install --create-namespace --wait` with further flags.
func (h *helm) install(c *chartv2.Chart, v values, flags ...func(*action.Install)) error {
	a := action.NewInstall(h.cfg)
	a.ReleaseName, a.Namespace, a.CreateNamespace = release, namespace, true
	a.WaitStrategy, a.Timeout = kube.StatusWatcherStrategy, patience
	for _, set := range flags {
		set(a)
	}
	_, err := a.RunWithContext(h.Context(), c, v)
	return err
}

// upgrade is `helm upgrade --wait --server-side=true`.
func (h *helm) upgrade(c *chartv2.Chart, v values) {
	h.Helper()
	a := action.NewUpgrade(h.cfg)
	a.ServerSideApply = "true"
	a.Namespace, a.WaitStrategy, a.Timeout = namespace, kube.StatusWatcherStrategy, patience
	if _, err := a.RunWithContext(h.Context(), release, c, v); err != nil {
		h.Fatal(err)
	}
}

// rollback is `helm rollback --wait`.
func (h *helm) rollback(revision int) {
	h.Helper()
	a := action.NewRollback(h.cfg)
	a.Version, a.WaitStrategy, a.Timeout = revision, kube.StatusWatcherStrategy, patience
	if err := a.Run(release); err != nil {
		h.Fatal(err)
	}
}

// uninstall is `helm uninstall --wait`.
func (h *helm) uninstall() {
	h.Helper()
	a := action.NewUninstall(h.cfg)
	a.WaitStrategy, a.Timeout, a.DeletionPropagation = kube.StatusWatcherStrategy, patience, "foreground"
	if _, err := a.Run(release); err != nil {
		h.Fatal(err)
	}
	if _, err := h.cfg.Releases.History(release); !errors.Is(err, driver.ErrReleaseNotFound) {
		h.Errorf("Helm still knows the release: %v", err)
	}
}

// live returns the objects of the cluster that the chart may have, without what
// Kubernetes adds, for comparison with their manifests.
func (h *helm) live(of map[string]*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	h.Helper()
	out := map[string]*unstructured.Unstructured{}
	for name, obj := range of {
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(obj.GroupVersionKind())
		err := h.Get(h.Context(), client.ObjectKeyFromObject(obj), got)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			h.Fatal(err)
		}
		out[name] = got
	}
	return out
}

// has checks that the objects are there and say what their manifests say.
func (h *helm) has(want map[string]*unstructured.Unstructured) {
	h.Helper()
	got := h.live(want)
	for name, obj := range want {
		if got[name] == nil {
			h.Errorf("%s is missing", name)
		} else if missing := lacks("", obj.Object, got[name].Object); missing != "" {
			h.Errorf("%s: %s", name, missing)
		}
	}
}

// lacks says what of want is not in got, which may have more fields.
func lacks(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		have, _ := got.(map[string]any)
		for key, value := range want {
			if missing := lacks(path+"."+key, value, have[key]); missing != "" && !empty(value) {
				return missing
			}
		}
		return ""
	case []any:
		have, _ := got.([]any)
		if len(have) != len(want) {
			return fmt.Sprintf("%s has %d entries, want %d", path, len(have), len(want))
		}
		for i := range want {
			if missing := lacks(fmt.Sprintf("%s[%d]", path, i), want[i], have[i]); missing != "" {
				return missing
			}
		}
		return ""
	}
	one, two := fmt.Sprint(want), fmt.Sprint(got)
	if one == two {
		return ""
	}
	if q, err := resource.ParseQuantity(one); err == nil { // 1000m is stored as 1
		if r, err := resource.ParseQuantity(two); err == nil && q.Equal(r) {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s, want %s", path, two, one)
}

// empty reports whether a value is one that the API server does not store.
func empty(v any) bool { return v == nil || fmt.Sprint(v) == "map[]" || fmt.Sprint(v) == "[]" }

// is checks which version of the controllers and of the definitions is there.
func (h *helm) is(want string) {
	h.Helper()
	for _, name := range manifests.Controllers {
		d := &appsv1.Deployment{}
		err := h.Get(h.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d)
		if apierrors.IsNotFound(err) {
			continue // switched off
		}
		if err != nil {
			h.Fatal(err)
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != manifests.Registry+"/"+name+":"+want {
			h.Errorf("%s has the image %s", name, got)
		}
		if d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != 1 || d.Status.AvailableReplicas != 1 {
			h.Errorf("Helm did not wait for %s: %+v", name, d.Status)
		}
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := h.Get(h.Context(), client.ObjectKey{Name: "gitrepositories.source.toolkit.fluxcd.io"}, crd); err != nil {
		h.Fatal(err)
	}
	_, knows := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["sparseCheckout"]
	if knows != (want == version) {
		h.Errorf("the definition of version %s knows spec.sparseCheckout: %v", want, knows)
	}
}

// bare takes the definitions away that the test environment comes with.
func (h *helm) bare() {
	h.Helper()
	if err := h.DeleteAllOf(h.Context(), &apiextensionsv1.CustomResourceDefinition{}); err != nil {
		h.Fatal(err)
	}
	h.gone(&apiextensionsv1.CustomResourceDefinitionList{})
}

// gone waits until there are no objects of a kind.
func (h *helm) gone(list client.ObjectList) {
	h.Helper()
	deadline := time.Now().Add(patience)
	for {
		if err := h.List(h.Context(), list); err != nil {
			h.Fatal(err)
		}
		data, err := json.Marshal(list)
		if err != nil {
			h.Fatal(err)
		}
		if bytes.Contains(data, []byte(`"items":null`)) || bytes.Contains(data, []byte(`"items":[]`)) {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("%T is not empty after %s", list, patience)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// onlyDefinitionsAreLeft waits for what Helm did not wait for: an object of which it
// had not heard yet when the others were gone.
func (h *helm) onlyDefinitionsAreLeft(all map[string]*unstructured.Unstructured) {
	h.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := h.live(all)
		maps.DeleteFunc(left, func(name string, _ *unstructured.Unstructured) bool {
			return strings.HasPrefix(name, "CustomResourceDefinition/")
		})
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			h.Fatalf("left are %v", slices.Sorted(maps.Keys(left)))
		}
	}
}

// repository makes an object that must live through all that follows.
func (h *helm) repository() (same func(when string)) {
	h.Helper()
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "default"},
		Spec: sourcev1.GitRepositorySpec{URL: "https://example.com/app", Interval: duration.New(time.Hour)}}
	if err := h.Create(h.Context(), repo); err != nil {
		h.Fatal(err)
	}
	uid, version := repo.UID, repo.ResourceVersion
	return func(when string) {
		h.Helper()
		if err := h.Get(h.Context(), client.ObjectKeyFromObject(repo), repo); err != nil || repo.UID != uid || repo.ResourceVersion != version {
			h.Errorf("after the %s the object is another: %v", when, err)
		}
	}
}

// Helm installs the chart, upgrades it with its definitions, and removes it; the
// definitions, and objects of their kinds, live through it.
func TestHelm(t *testing.T) {
	h := newHelm(t)
	h.bare()
	newer, all := h.load(func(Files) {}), kustomized(t, "default")
	delete(all, "Namespace/"+namespace) // Helm makes it, and it stays
	// Client-side, as Helm 3 does it; the upgrade is server-side, as Helm 4 does it.
	if err := h.install(h.load(makeOlder), nil, func(a *action.Install) { a.ServerSideApply = false }); err != nil {
		t.Fatal(err)
	}
	h.is(older)
	same := h.repository()

	h.upgrade(newer, values{"imageAutomationController": values{"enabled": false}, "components": []any{"tenancy-lockdown"}})
	h.is(version)
	live := h.live(all)
	for name := range live {
		if strings.Contains(name, "image-automation") || strings.Contains(name, "cluster-reconciler") {
			t.Errorf("%s was switched off and is there", name)
		}
	}
	if live["CustomResourceDefinition/imagepolicies.image.toolkit.fluxcd.io"] == nil {
		t.Error("the definitions of a controller that was switched off went, and all objects with them")
	}
	same("upgrade")

	h.uninstall()
	h.onlyDefinitionsAreLeft(all)
	same("removal")
	t.Run("longer", func(t *testing.T) {
		if os.Getenv("WEIR_HELM") == "" {
			t.Skip("set WEIR_HELM=1, as `make e2e` does: each of Helm's actions takes seconds")
		}
		h.T = t
		h.returns(newer, all, same)
		h.takesOver(newer, all)
	})
}

// returns goes on where a release was removed: it is installed again, changed and
// rolled back, and at last takes its definitions with it.
func (h *helm) returns(newer *chartv2.Chart, all map[string]*unstructured.Unstructured, same func(when string)) {
	h.Helper()
	if err := h.install(h.load(makeOlder), nil); err != nil {
		h.Fatalf("over the definitions that were kept: %v", err)
	}
	h.is(older)
	same("second installation")
	h.upgrade(newer, values{"imageAutomationController": values{"enabled": false}})
	h.upgrade(newer, values{"imageAutomationController": values{"enabled": true}})
	h.has(all)
	same("upgrades")
	h.rollback(2)
	h.rollback(1)
	h.is(older)
	same("rollback")
	h.upgrade(newer, values{"crds": values{"keep": false}})
	same("last upgrade")
	h.uninstall()
	h.gone(&apiextensionsv1.CustomResourceDefinitionList{})
}

// takesOver makes sure that what kubectl installed, Helm does not touch unless it
// is told to, and that it then makes nothing anew.
func (h *helm) takesOver(c *chartv2.Chart, all map[string]*unstructured.Unstructured) {
	h.Helper()
	uids := map[string]types.UID{}
	for name, obj := range all {
		applied := obj.DeepCopy()
		if err := h.Apply(h.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
			h.Fatal(err)
		}
		uids[name] = applied.GetUID()
	}
	if err := h.install(c, nil); err == nil || !strings.Contains(err.Error(), "cannot be imported") {
		h.Fatalf("it was not refused: %v", err)
	}
	if err := h.install(c, nil, func(a *action.Install) { a.TakeOwnership, a.ForceConflicts = true, true }); err != nil {
		h.Fatal(err)
	}
	h.has(all)
	for name, obj := range h.live(all) {
		if uids[name] == "" || uids[name] != obj.GetUID() {
			h.Errorf("%s was made anew: its UID was %q", name, uids[name])
		}
	}
}
