package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/toolkit"
)

// operatorGroup is that of the Prometheus operator.
const operatorGroup = "monitoring.coreos.com"

func isComponent(t *testing.T, path string) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^kind: Component$`).Match(data)
}

// Each folder is accepted by an API server, field by field.
func TestFoldersAreAccepted(t *testing.T) {
	c := install(t) // what is installed into a namespace needs it
	whole, components := folders(t)
	tried := map[string]bool{} // most folders have objects of others
	try := func(name string, objects []*unstructured.Unstructured) {
		t.Run(name, func(t *testing.T) {
			if len(objects) == 0 {
				t.Fatal("it has no objects")
			}
			for _, obj := range objects {
				if obj.GroupVersionKind().Group == operatorGroup {
					continue // the definitions come with the Prometheus operator; e2e/observe looks at these
				}
				text, err := obj.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if tried[string(text)] {
					continue
				}
				tried[string(text)] = true
				if err := send(t.Context(), c, obj, client.DryRunAll); err != nil {
					t.Errorf("%s %q: %v", obj.GetKind(), obj.GetName(), err)
				}
			}
		})
	}
	for _, name := range whole {
		try(name, render(t, name))
	}
	for _, name := range components {
		try(name, render(t, "default", name))
	}
}

// The pods come up in a namespace that takes restricted ones only.
func TestDeploymentsBecomeAvailable(t *testing.T) {
	c := install(t)
	for _, name := range toolkit.All {
		eventually(t, name+" is available", func() string {
			d := &appsv1.Deployment{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
				return err.Error()
			}
			if d.Status.ObservedGeneration != d.Generation || d.Status.AvailableReplicas != 1 {
				return fmt.Sprintf("%+v", d.Status)
			}
			return ""
		})
	}
	ns := &corev1.Namespace{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: namespace}, ns); err != nil {
		t.Fatal(err)
	}
	if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces %q: the pods were not put to the test", got)
	}
}

// Command lines find the objects by these labels.
func TestObjectsAreLabelled(t *testing.T) {
	for _, folder := range append([]string{"default"}, standalone()...) {
		for _, obj := range render(t, folder) {
			labels := obj.GetLabels()
			for key, want := range map[string]string{
				"app.kubernetes.io/instance": namespace, "app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": "v0.1.0",
			} {
				if labels[key] != want {
					t.Errorf("%s: %s %q has the label %s=%q, want %q", folder, obj.GetKind(), obj.GetName(), key, labels[key], want)
				}
			}
			belongs := slices.Contains([]string{"CustomResourceDefinition", "Deployment", "Service", "ServiceAccount", "Role", "RoleBinding"}, obj.GetKind())
			if component := labels["app.kubernetes.io/component"]; belongs && !slices.Contains(toolkit.All, component) {
				t.Errorf("%s: %s %q has the component %q", folder, obj.GetKind(), obj.GetName(), component)
			}
		}
	}
}

func standalone() []string {
	var out []string
	for _, name := range toolkit.All {
		out = append(out, "standalone/"+name)
	}
	return out
}

// A controller alone brings the definitions of its own kinds and nothing of its
// neighbours.
func TestStandaloneIsAlone(t *testing.T) {
	definitions := map[string]int{toolkit.Source: 6, toolkit.Kustomize: 1, toolkit.Notification: 3, toolkit.ImageAutomation: 3}
	for _, name := range toolkit.All {
		objects := render(t, "standalone/"+name)
		n := 0
		for _, obj := range objects {
			if obj.GetKind() == "CustomResourceDefinition" {
				n++
			}
			if component, ok := obj.GetLabels()["app.kubernetes.io/component"]; ok && component != name {
				t.Errorf("%s: %s %q belongs to %s", name, obj.GetKind(), obj.GetName(), component)
			}
		}
		if n != definitions[name] {
			t.Errorf("%s brings %d definitions, want %d", name, n, definitions[name])
		}
		if first := deployments(t, objects)[name].Spec.Template.Spec.Containers[0].Args[0]; name != toolkit.Notification && first != "--events-addr=" {
			t.Errorf("%s: the first argument is %q: events would go nowhere", name, first)
		}
	}
}

func deployments(t *testing.T, objects []*unstructured.Unstructured) map[string]*appsv1.Deployment {
	t.Helper()
	out := map[string]*appsv1.Deployment{}
	for _, obj := range objects {
		if obj.GetKind() != "Deployment" {
			continue
		}
		d := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, d); err != nil {
			t.Fatal(err)
		}
		out[d.Name] = d
	}
	return out
}

// Patches written for Flux name arguments by index, and ports and volumes by
// name.
func TestDeploymentsKeepTheirShape(t *testing.T) {
	const events = "--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./"
	shared := []string{events, "--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json", "--enable-leader-election"}
	type shape struct {
		Args, Ports, Volumes []string
		Ready                string
		Grace                int64
	}
	want := map[string]shape{
		toolkit.Source: {append(slices.Clone(shared), "--storage-path=/data", "--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.cluster.local."),
			[]string{"http 9090", "http-prom 8080", "healthz 9440"}, []string{"data /data", "tmp /tmp"}, "/ http", 10},
		toolkit.Kustomize: {shared, []string{"http-prom 8080", "healthz 9440"}, []string{"temp /tmp"}, "/readyz healthz", 60},
		toolkit.Notification: {append(slices.Clone(shared[1:]), "--storage-path=/data"),
			[]string{"http 9090", "http-webhook 9292", "http-prom 8080", "healthz 9440"}, []string{"data /data", "temp /tmp"}, "/readyz healthz", 10},
		toolkit.ImageAutomation: {append(slices.Clone(shared), "--storage-path=/data"),
			[]string{"http-prom 8080", "healthz 9440"}, []string{"data /data", "temp /tmp"}, "/readyz healthz", 10},
	}
	got := map[string]shape{}
	for name, d := range deployments(t, render(t, "default")) {
		pod := d.Spec.Template.Spec
		if len(pod.Containers) != 1 || pod.Containers[0].Name != "manager" {
			t.Fatalf("%s: its container is not manager", name)
		}
		m := pod.Containers[0]
		s := shape{Args: m.Args, Ready: m.ReadinessProbe.HTTPGet.Path + " " + m.ReadinessProbe.HTTPGet.Port.String(), Grace: *pod.TerminationGracePeriodSeconds}
		for _, p := range m.Ports {
			s.Ports = append(s.Ports, fmt.Sprintf("%s %d", p.Name, p.ContainerPort))
		}
		for _, v := range m.VolumeMounts {
			s.Volumes = append(s.Volumes, v.Name+" "+v.MountPath)
		}
		got[name] = s
		if diff := cmp.Diff(&metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, d.Spec.Selector); diff != "" {
			t.Errorf("%s: its selector cannot be changed later (-want +got):\n%s", name, diff)
		}
		if d.Labels["control-plane"] != "controller" || d.Spec.Template.Labels["app.kubernetes.io/part-of"] != "flux" {
			t.Errorf("%s: its labels are %v, those of its pods %v", name, d.Labels, d.Spec.Template.Labels)
		}
		if want := manifests.Registry + "/" + name + ":v0.1.0"; m.Image != want {
			t.Errorf("%s: the image is %q, want %q", name, m.Image, want)
		}
		if !*m.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: it can write to its image", name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestServicesKeepTheirPorts(t *testing.T) {
	want := map[string]string{
		"source-controller":       "80→http of source-controller",
		"notification-controller": "80→http of notification-controller",
		"webhook-receiver":        "80→http-webhook of notification-controller",
	}
	got := map[string]string{}
	for _, obj := range render(t, "default") {
		if obj.GetKind() != "Service" {
			continue
		}
		s := &corev1.Service{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, s); err != nil {
			t.Fatal(err)
		}
		got[s.Name] = fmt.Sprintf("%d→%s of %s", s.Spec.Ports[0].Port, s.Spec.Ports[0].TargetPort.String(), s.Spec.Selector["app"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the manifests say to a program, the program knows.
func TestArgumentsAreFlags(t *testing.T) {
	for _, components := range [][]string{nil, {"tenancy-lockdown"}, {"artifact-auth", "high-availability"}} {
		for name, d := range deployments(t, render(t, "default", components...)) {
			help, err := exec.Command(filepath.Join("../../bin", name), "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("%s --help: %v (make build builds the programs)", name, err)
			}
			for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
				flag, _, _ := strings.Cut(arg, "=")
				if !regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(flag) + `\b`).Match(help) {
					t.Errorf("%s has no flag %s", name, flag)
				}
			}
		}
	}
}

// The component for several source-controllers makes two, which are replaced one after
// the other and know each other, and changes nothing else.
func TestHighAvailability(t *testing.T) {
	plain, several := deployments(t, render(t, "default")), deployments(t, render(t, "default", "high-availability"))
	if len(several) != len(plain) || plain["source-controller"] == nil {
		t.Fatalf("there are %d Deployments, want %d", len(several), len(plain))
	}
	for name, d := range several {
		if name != "source-controller" {
			if diff := cmp.Diff(plain[name].Spec, d.Spec); diff != "" {
				t.Errorf("%s changes (-without +with):\n%s", name, diff)
			}
			continue
		}
		if d.Spec.Replicas == nil || *d.Spec.Replicas != 2 {
			t.Errorf("replicas are %v", d.Spec.Replicas)
		}
		if s := d.Spec.Strategy; s.Type != "RollingUpdate" || s.RollingUpdate == nil || s.RollingUpdate.MaxSurge.IntValue() != 0 || s.RollingUpdate.MaxUnavailable.IntValue() != 1 {
			t.Errorf("the strategy is %+v", s)
		}
		spread := map[string]string{}
		for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
			spread[c.TopologyKey] = c.LabelSelector.MatchLabels["app"]
		}
		if diff := cmp.Diff(map[string]string{"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": name}, spread); diff != "" {
			t.Errorf("the replicas are spread otherwise (-want +got):\n%s", diff)
		}
		args, before := d.Spec.Template.Spec.Containers[0].Args, plain[name].Spec.Template.Spec.Containers[0].Args
		if last := args[len(args)-1]; !strings.HasPrefix(last, "--storage-peers=source-controller-replicas.") {
			t.Errorf("the last argument is %q", last)
		}
		if diff := cmp.Diff(before, args[:len(args)-1]); diff != "" {
			t.Errorf("the other arguments change (-without +with):\n%s", diff)
		}
	}
}
