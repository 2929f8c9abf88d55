package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/gitserver"
)

// patience bounds a rollout, a removal and everything else that is waited for.
const patience = 3 * time.Minute

func open(t *testing.T) *Cluster {
	t.Helper()
	if !Wanted() {
		t.Skip("no cluster: make e2e-cluster runs this against the one of KUBECONFIG")
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	addTypes(t, c)
	return c
}

func addTypes(t *testing.T, c *Cluster) {
	t.Helper()
	scheme := c.Scheme()
	for _, err := range []error{
		sourcev1.AddToScheme(scheme), kustomizev1.AddToScheme(scheme), notificationv1.AddToScheme(scheme),
		notificationv1beta3.AddToScheme(scheme), imagev1.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until check returns "", which is otherwise what is missing.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(tick) {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s: %s", what, patience, missing)
		}
	}
}

// options are those of the images that make images has built.
func options(t *testing.T, c *Cluster) manifests.Options {
	t.Helper()
	version, err := c.Version()
	if err != nil {
		t.Fatal(err)
	}
	return manifests.Options{Version: version}
}

// TestInstall leaves everything installed, for the stories.
func TestInstall(t *testing.T) {
	c := open(t)
	ctx := patient(t)
	if err := c.LoadControllers(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	objects, err := c.Install(ctx, "default", options(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects applied and %d Deployments available in %s", len(objects), len(manifests.Controllers), time.Since(began).Round(100*time.Millisecond))
	c.checkOfFlux(t, options(t, c).Version)

	var policies networkingv1.NetworkPolicyList
	if err := c.List(ctx, &policies, client.InNamespace(Namespace)); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range policies.Items {
		names[p.Name] = true
	}
	for _, want := range []string{"allow-egress", "allow-scraping", "allow-webhooks"} {
		if !names[want] {
			t.Errorf("there is no NetworkPolicy %s", want)
		}
	}
	c.applies(t, "install")
	c.tellMemory(t)
}

// checkOfFlux looks at what `flux check` and `flux version` look at.
func (c *Cluster) checkOfFlux(t *testing.T, version string) {
	t.Helper()
	part := client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}
	var deployments appsv1.DeploymentList
	if err := c.List(t.Context(), &deployments, client.InNamespace(Namespace), part); err != nil {
		t.Fatal(err)
	}
	if len(deployments.Items) != len(manifests.Controllers) {
		t.Errorf("%d Deployments are labelled as a part of flux, want %d", len(deployments.Items), len(manifests.Controllers))
	}
	for _, d := range deployments.Items {
		if image := d.Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
			t.Errorf("%s runs %s, want version %s", d.Name, image, version)
		}
	}
	var definitions apiextensionsv1.CustomResourceDefinitionList
	if err := c.List(t.Context(), &definitions, part); err != nil {
		t.Fatal(err)
	}
	if len(definitions.Items) != 13 {
		t.Errorf("%d definitions are labelled as a part of flux, want 13", len(definitions.Items))
	}
	for _, d := range definitions.Items {
		if len(d.Status.StoredVersions) != 1 {
			t.Errorf("%s has the stored versions %v", d.Name, d.Status.StoredVersions)
		}
	}
}

// tellMemory logs what each pod uses at rest, beside its request and limit.
func (c *Cluster) tellMemory(t *testing.T) {
	t.Helper()
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(Namespace)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Second) // the kubelet looks every ten
	for _, pod := range pods.Items {
		r := pod.Spec.Containers[0].Resources
		t.Logf("%-28s %4d MiB working set, %s requested, %s at most", pod.Labels["app"], c.workingSet(t, pod)>>20,
			r.Requests.Memory(), r.Limits.Memory())
	}
}

// workingSet asks the kubelet; 0 where it does not tell.
func (c *Cluster) workingSet(t *testing.T, pod corev1.Pod) uint64 {
	t.Helper()
	resp, err := c.http.Get(strings.TrimSuffix(c.config.Host, "/") + "/api/v1/nodes/" + pod.Spec.NodeName + "/proxy/stats/summary")
	if err != nil {
		t.Log(err)
		return 0
	}
	defer resp.Body.Close()
	var summary struct {
		Pods []struct {
			PodRef struct{ Name, Namespace string }
			Memory struct{ WorkingSetBytes uint64 }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&summary); err != nil {
		t.Log(err)
		return 0
	}
	for _, p := range summary.Pods {
		if p.PodRef.Name == pod.Name && p.PodRef.Namespace == pod.Namespace {
			return p.Memory.WorkingSetBytes
		}
	}
	return 0
}

// workload is a Git repository with a Deployment and a ConfigMap, and what
// applies it to a namespace of its own.
type workload struct {
	git *gitserver.Server
	ns  string
	k   *kustomizev1.Kustomization
}

// applies begins a workload and waits until it is ready.
func (c *Cluster) applies(t *testing.T, name string) *workload {
	t.Helper()
	ctx := patient(t)
	w := &workload{ns: "weir-e2e-" + name}
	var err error
	if w.git, err = gitserver.Start(gitserver.Options{Addr: net.JoinHostPort(c.Host, "0")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.git.Close() })
	image := net.JoinHostPort(c.Host, "1") + "/weir/sleeper:1.0.0" // no registry is asked for it
	img, err := Sleeper(ctx, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Load(ctx, image, img); err != nil {
		t.Fatal(err)
	}
	if err := w.git.Init("app", map[string]string{"web.yaml": deployment(image), "config.yaml": configMap("one")}); err != nil {
		t.Fatal(err)
	}
	repo := &sourcev1.GitRepository{Spec: sourcev1.GitRepositorySpec{
		URL: w.git.URL("app"), Interval: duration.New(time.Second), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}}
	w.k = &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(time.Hour), Prune: true, Wait: true, TargetNamespace: w.ns, Path: "./",
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}}
	ns := &corev1.Namespace{}
	ns.Name = w.ns
	for _, obj := range []client.Object{ns, repo, w.k} {
		if obj != ns {
			obj.SetName("app")
			obj.SetNamespace(w.ns)
		}
		if err := c.Create(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { c.Delete(context.Background(), ns) })
	c.ready(t, w.k)
	return w
}

func (c *Cluster) ready(t *testing.T, obj interface {
	client.Object
	GetConditions() []metav1.Condition
}) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is ready", obj, obj.GetName()), func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		ready := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
		if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != obj.GetGeneration() {
			return fmt.Sprintf("%+v", ready)
		}
		return ""
	})
}

func deployment(image string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ` + image + "\n"
}

func configMap(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config\ndata:\n  value: " + value + "\n"
}

// commit changes the ConfigMap and waits until the change is in the cluster.
func (c *Cluster) commit(t *testing.T, w *workload, value string) {
	t.Helper()
	if _, err := w.git.Commit("app", "main", "Say "+value, map[string]string{"config.yaml": configMap(value)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the commit is applied", func() string {
		cm := &corev1.ConfigMap{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "config"}, cm); err != nil {
			return err.Error()
		}
		if cm.Data["value"] != value {
			return fmt.Sprintf("the ConfigMap says %q", cm.Data["value"])
		}
		return ""
	})
}

// uids returns the UIDs of what the workload applied.
func (c *Cluster) uids(t *testing.T, w *workload) string {
	t.Helper()
	d, cm := &appsv1.Deployment{}, &corev1.ConfigMap{}
	for name, obj := range map[string]client.Object{"web": d, "config": cm} {
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, obj); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprint(d.UID, d.Generation, cm.UID)
}

// An upgrade is another apply: the pods are new, what they have applied is not
// touched, and work goes on.
func TestUpgrade(t *testing.T) {
	c := open(t)
	ctx := patient(t)
	o := options(t, c)
	if _, err := c.Install(ctx, "default", o); err != nil {
		t.Fatal(err)
	}
	w := c.applies(t, "upgrade")
	before := c.uids(t, w)
	pods := c.pods(t)
	next := o
	next.Version += "-next"
	objects, err := Render("default", next)
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range objects {
		if obj.GetKind() == "Deployment" { // the labels are the next version's, the image there is no other of
			keepImage(t, obj, o.Version, next.Version)
		}
		if err := c.apply(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range manifests.Controllers {
		if err := c.Available(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	for name := range c.pods(t) {
		if pods[name] {
			t.Errorf("the pod %s is still the one from before", name)
		}
	}
	c.ready(t, w.k)
	c.commit(t, w, "upgraded")
	if after := c.uids(t, w); after != before {
		t.Errorf("the objects were made anew: %s, was %s", after, before)
	}
	if _, err := c.Install(ctx, "default", o); err != nil {
		t.Fatal(err)
	}
}

func keepImage(t *testing.T, obj *unstructured.Unstructured, old, next string) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(obj.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%s has %d containers (%v)", obj.GetName(), len(containers), err)
	}
	container := containers[0].(map[string]any)
	container["image"] = strings.TrimSuffix(container["image"].(string), next) + old
	if err := unstructured.SetNestedSlice(obj.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) pods(t *testing.T) map[string]bool {
	t.Helper()
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(Namespace)); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() {
			names[pod.Name] = true
		}
	}
	return names
}

// Events reach the notification-controller, and the artifacts are served, by
// the names of the Services.
func TestServices(t *testing.T) {
	c := open(t)
	w := c.applies(t, "services")
	told := make(chan string, 100)
	l, err := net.Listen("tcp", net.JoinHostPort(c.Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	sink := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- string(body)
	})}
	go sink.Serve(l)
	t.Cleanup(func() { sink.Close() })
	provider := &notificationv1beta3.Provider{Spec: notificationv1beta3.ProviderSpec{Type: "generic", Address: "http://" + l.Addr().String()}}
	alert := &notificationv1beta3.Alert{Spec: notificationv1beta3.AlertSpec{
		ProviderRef: meta.LocalObjectReference{Name: "app"}, EventSeverity: "info",
		EventSources: []notificationv1.CrossNamespaceObjectReference{{Kind: kustomizev1.KustomizationKind, Name: "*"}},
	}}
	for _, obj := range []client.Object{provider, alert} {
		obj.SetName("app")
		obj.SetNamespace(w.ns)
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second) // an Alert is heeded when it is in the controller's cache
	c.commit(t, w, "told")
	for deadline := time.After(patience); ; {
		select {
		case body := <-told:
			if strings.Contains(body, "ConfigMap/"+w.ns+"/config configured") {
				return
			}
		case <-deadline:
			t.Fatal("nobody was told of the commit")
		}
	}
}

// TestRemove takes everything away, in the order of docs/install.md, and what it
// leaves is what it should leave.
func TestRemove(t *testing.T) {
	c := open(t)
	ctx := patient(t)
	o := options(t, c)
	objects, err := c.Install(ctx, "default", o)
	if err != nil {
		t.Fatal(err)
	}
	pruned, kept := c.applies(t, "pruned"), c.applies(t, "kept")
	if err := c.Get(ctx, client.ObjectKeyFromObject(kept.k), kept.k); err != nil {
		t.Fatal(err)
	}
	kept.k.Spec.DeletionPolicy = "Orphan"
	if err := c.Update(ctx, kept.k); err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, kind := range kinds(objects) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := c.List(ctx, list); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	if len(all) < 4 {
		t.Errorf("there are %d objects of our kinds, want at least 4", len(all))
	}
	if err := c.Remove(ctx, all); err != nil {
		t.Fatal(err)
	}
	gone, stays := &appsv1.Deployment{}, &appsv1.Deployment{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: pruned.ns, Name: "web"}, gone); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment that was to be pruned: %v", err)
	}
	if err := c.Get(ctx, client.ObjectKey{Namespace: kept.ns, Name: "web"}, stays); err != nil {
		t.Errorf("the Deployment that was to be kept: %v", err)
	}
	if err := c.Remove(ctx, objects); err != nil {
		t.Fatal(err)
	}
}

// Each controller alone comes up with the definitions of its own kinds only, and
// goes away again.
func TestStandalone(t *testing.T) {
	c := open(t)
	for _, name := range manifests.Controllers {
		t.Run(name, func(t *testing.T) {
			ctx := patient(t)
			objects, err := c.Install(ctx, "standalone/"+name, options(t, c))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(c.pods(t)); n != 1 {
				t.Errorf("%d pods run, want 1", n)
			}
			programs, err := c.Programs()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := programs.Metrics(ctx, name); err != nil {
				t.Error(err)
			}
			if err := c.Remove(ctx, objects); err != nil {
				t.Fatal(err)
			}
		})
	}
}
