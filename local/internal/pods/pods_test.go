package pods_test

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/local/internal/pods"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// until reads obj again and again until done says so.
func until[T client.Object](t *testing.T, c client.Client, obj T, done func(T) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			t.Fatal(err)
		}
		if done(obj) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%T %q did not get there: %+v", obj, obj.GetName(), obj)
		case <-tick.C:
		}
	}
}

func create(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func template(restart corev1.RestartPolicy, simulate string) corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
		Spec: corev1.PodSpec{
			RestartPolicy: restart,
			Containers:    []corev1.Container{{Name: "x", Image: "registry.example/x:1"}},
		},
	}
	if simulate != "" {
		template.Annotations = map[string]string{pods.Annotation: simulate}
	}
	return template
}

func meta(ns, name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }

var selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}

func TestWorkloadsBecomeAvailable(t *testing.T) {
	c, ns := testenv.Client(t), testenv.Namespace(t)
	two := int32(2)
	serve := template(corev1.RestartPolicyAlways, "")
	deployment := &appsv1.Deployment{ObjectMeta: meta(ns, "d"), Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: selector, Template: serve}}
	daemons := &appsv1.DaemonSet{ObjectMeta: meta(ns, "ds"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: serve}}
	stateful := &appsv1.StatefulSet{ObjectMeta: meta(ns, "ss"), Spec: appsv1.StatefulSetSpec{Replicas: &two, Selector: selector, Template: serve}}
	job := &batchv1.Job{ObjectMeta: meta(ns, "j"), Spec: batchv1.JobSpec{Template: template(corev1.RestartPolicyNever, "")}}
	for _, obj := range []client.Object{deployment, daemons, stateful, job} {
		create(t, c, obj)
	}
	until(t, c, deployment, func(d *appsv1.Deployment) bool { return d.Status.AvailableReplicas == two })
	until(t, c, daemons, func(d *appsv1.DaemonSet) bool { return d.Status.NumberAvailable == 1 })
	until(t, c, stateful, func(s *appsv1.StatefulSet) bool { return s.Status.AvailableReplicas == two })
	until(t, c, job, func(j *batchv1.Job) bool { return j.Status.Succeeded == 1 && j.Status.CompletionTime != nil })
}

func TestAnnotationMakesWorkloadsGoWrong(t *testing.T) {
	c, ns := testenv.Client(t), testenv.Namespace(t)
	none := int32(0)
	job := &batchv1.Job{ObjectMeta: meta(ns, "j"), Spec: batchv1.JobSpec{
		BackoffLimit: &none, Template: template(corev1.RestartPolicyNever, pods.Fail)}}
	pod := &corev1.Pod{ObjectMeta: meta(ns, "p"), Spec: template(corev1.RestartPolicyAlways, "").Spec}
	pod.Annotations = map[string]string{pods.Annotation: pods.CrashLoop}
	create(t, c, job)
	create(t, c, pod)
	until(t, c, job, func(j *batchv1.Job) bool { return j.Status.Failed == 1 })
	until(t, c, pod, func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
}

func TestPodWithNodeGoesAway(t *testing.T) {
	c, ns := testenv.Client(t), testenv.Namespace(t)
	pod := &corev1.Pod{ObjectMeta: meta(ns, "p"), Spec: template(corev1.RestartPolicyAlways, "").Spec}
	pod.Spec.NodeName = pods.NodeName
	create(t, c, pod)
	until(t, c, pod, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" })
	if err := c.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		if apierrors.IsNotFound(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestClaimsAndBalancersAreServed(t *testing.T) {
	c, ns := testenv.Client(t), testenv.Namespace(t)
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: meta(ns, "c"), Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: size}}}
	service := &corev1.Service{ObjectMeta: meta(ns, "s"), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}
	create(t, c, claim)
	create(t, c, service)
	until(t, c, claim, func(p *corev1.PersistentVolumeClaim) bool { return p.Status.Phase == corev1.ClaimBound })
	until(t, c, service, func(s *corev1.Service) bool { return len(s.Status.LoadBalancer.Ingress) == 1 })
}
