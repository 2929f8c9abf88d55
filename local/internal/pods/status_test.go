package pods

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seen is what people look at in a Pod's status.
type seen struct {
	Phase   corev1.PodPhase
	Ready   corev1.ConditionStatus
	Waiting string
	Exit    int32
	Image   string
}

func look(s corev1.PodStatus) seen {
	v := seen{Phase: s.Phase, Exit: -1}
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			v.Ready = c.Status
		}
	}
	for _, c := range s.ContainerStatuses {
		v.Image = c.Image
		if c.State.Waiting != nil {
			v.Waiting = c.State.Waiting.Reason
		}
		if c.State.Terminated != nil {
			v.Exit = c.State.Terminated.ExitCode
		}
	}
	return v
}

func TestNext(t *testing.T) {
	ready := seen{Phase: corev1.PodRunning, Ready: corev1.ConditionTrue, Exit: -1, Image: "web:1"}
	tests := map[string]struct {
		simulate string
		once     bool
		gates    []corev1.PodReadinessGate
		want     []seen // after each step, to the last that changes something
	}{
		"serves":    {want: []seen{ready}},
		"runs once": {once: true, want: []seen{ready, {Phase: corev1.PodSucceeded, Ready: corev1.ConditionFalse, Image: "web:1"}}},
		"fails once": {once: true, simulate: Fail, want: []seen{ready,
			{Phase: corev1.PodFailed, Ready: corev1.ConditionFalse, Exit: 1, Image: "web:1"}}},
		"image cannot be pulled": {simulate: Fail, want: []seen{
			{Phase: corev1.PodPending, Ready: corev1.ConditionFalse, Waiting: "ImagePullBackOff", Exit: -1, Image: "web:1"}}},
		"stalls": {simulate: Stall, want: []seen{
			{Phase: corev1.PodPending, Ready: corev1.ConditionFalse, Waiting: "ContainerCreating", Exit: -1, Image: "web:1"}}},
		"crashes": {simulate: CrashLoop, want: []seen{
			{Phase: corev1.PodRunning, Ready: corev1.ConditionFalse, Waiting: "CrashLoopBackOff", Exit: -1, Image: "web:1"}}},
		"unknown value": {simulate: "explode", want: []seen{
			{Phase: corev1.PodPending, Ready: corev1.ConditionFalse, Waiting: "CreateContainerConfigError", Exit: -1, Image: "web:1"}}},
		"readiness gate is closed": {gates: []corev1.PodReadinessGate{{ConditionType: "example.com/open"}}, want: []seen{
			{Phase: corev1.PodRunning, Ready: corev1.ConditionFalse, Exit: -1, Image: "web:1"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				RestartPolicy:  corev1.RestartPolicyAlways,
				Containers:     []corev1.Container{{Name: "web", Image: "web:1"}},
				InitContainers: []corev1.Container{{Name: "init", Image: "init:1"}},
				ReadinessGates: test.gates,
			}}
			if test.once {
				pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			}
			if test.simulate != "" {
				pod.Annotations = map[string]string{Annotation: test.simulate}
			}
			var got []seen
			for now := metav1.Now(); len(got) <= len(test.want); now = metav1.NewTime(now.Add(time.Minute)) {
				status := Next(pod, now)
				if cmp.Equal(status, pod.Status) {
					break
				}
				pod.Status = status
				got = append(got, look(status))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}
