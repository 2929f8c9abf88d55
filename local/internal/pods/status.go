package pods

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotation makes a Pod go wrong in the way that its value names.
const Annotation = "weir.dev/simulate"

// Values of Annotation.
const (
	Fail      = "fail"      // the image cannot be pulled; a Pod that runs once exits with 1 instead
	Stall     = "stall"     // the containers are being created, forever
	CrashLoop = "crashloop" // the containers exit with 1 again and again
)

// Next returns the status that a kubelet would report next for pod; the same as it has when there is
// nothing new. A Pod that runs once (restart policy Never or OnFailure) goes from Pending to Running to
// Succeeded, all others end with Running and Ready. Addresses are not set here.
func Next(pod *corev1.Pod, now metav1.Time) corev1.PodStatus {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return pod.Status
	}
	n := next{pod: pod, status: *pod.Status.DeepCopy(), now: now}
	if n.status.StartTime == nil {
		n.status.StartTime = &now
	}
	once := pod.Spec.RestartPolicy == corev1.RestartPolicyNever || pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
	running := pod.Status.Phase == corev1.PodRunning
	switch mode := pod.Annotations[Annotation]; {
	case mode == Stall:
		n.waiting(corev1.PodPending, "ContainerCreating", "", nil)
	case mode == CrashLoop:
		n.waiting(corev1.PodRunning, "CrashLoopBackOff", "back-off 5m0s restarting failed container", n.terminated("Error", 1))
	case mode == Fail && !once:
		n.waiting(corev1.PodPending, "ImagePullBackOff", "back-off pulling image", nil)
	case mode != "" && mode != Fail:
		n.waiting(corev1.PodPending, "CreateContainerConfigError",
			fmt.Sprintf("annotation %s is %q: use %q, %q or %q", Annotation, mode, Fail, Stall, CrashLoop), nil)
	case once && running && mode == Fail:
		n.ended(corev1.PodFailed, "Error", 1)
	case once && running:
		n.ended(corev1.PodSucceeded, "Completed", 0)
	default:
		n.running()
	}
	return n.status
}

// next builds a status.
type next struct {
	pod    *corev1.Pod
	status corev1.PodStatus
	now    metav1.Time
}

func (n *next) running() {
	n.status.Phase = corev1.PodRunning
	n.status.InitContainerStatuses = n.initContainers()
	n.status.ContainerStatuses = n.containers(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *n.status.StartTime}})
	ready := true
	for i := range n.status.ContainerStatuses {
		n.status.ContainerStatuses[i].Ready = true
		n.status.ContainerStatuses[i].Started = &ready
	}
	n.conditions(true, "")
}

func (n *next) waiting(phase corev1.PodPhase, reason, message string, last *corev1.ContainerStateTerminated) {
	n.status.Phase = phase
	n.status.InitContainerStatuses = n.initContainers()
	n.status.ContainerStatuses = n.containers(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
	if last != nil {
		for i := range n.status.ContainerStatuses {
			n.status.ContainerStatuses[i].RestartCount = 5
			n.status.ContainerStatuses[i].LastTerminationState.Terminated = last
		}
	}
	n.conditions(false, "ContainersNotReady")
}

func (n *next) ended(phase corev1.PodPhase, reason string, code int32) {
	n.status.Phase = phase
	n.status.ContainerStatuses = n.containers(corev1.ContainerState{Terminated: n.terminated(reason, code)})
	why := "PodCompleted"
	if phase == corev1.PodFailed {
		why = "PodFailed"
	}
	n.conditions(false, why)
}

// terminated is the end of a container's run. Its times are those of the Pod's start where the status
// has to stay the same from call to call.
func (n *next) terminated(reason string, code int32) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: *n.status.StartTime, FinishedAt: *n.status.StartTime,
	}
}

func (n *next) containers(state corev1.ContainerState) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for _, c := range n.pod.Spec.Containers {
		statuses = append(statuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: *state.DeepCopy()})
	}
	return statuses
}

// initContainers have all completed, but for those that run beside the others.
func (n *next) initContainers() []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for _, c := range n.pod.Spec.InitContainers {
		s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: true}
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			s.State.Running = &corev1.ContainerStateRunning{StartedAt: *n.status.StartTime}
		} else {
			s.State.Terminated = n.terminated("Completed", 0)
		}
		statuses = append(statuses, s)
	}
	return statuses
}

// conditions sets those that a kubelet keeps. Ready also waits for the readiness gates, which others set.
func (n *next) conditions(containersReady bool, reason string) {
	n.condition(corev1.PodScheduled, true, "")
	n.condition(corev1.PodReadyToStartContainers, true, "")
	n.condition(corev1.PodInitialized, true, "")
	n.condition(corev1.ContainersReady, containersReady, reason)
	ready := containersReady
	for _, gate := range n.pod.Spec.ReadinessGates {
		if !n.isTrue(gate.ConditionType) {
			ready = false
			if containersReady {
				reason = "ReadinessGatesNotReady"
			}
		}
	}
	n.condition(corev1.PodReady, ready, reason)
}

func (n *next) isTrue(kind corev1.PodConditionType) bool {
	for _, c := range n.status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (n *next) condition(kind corev1.PodConditionType, value bool, reason string) {
	want := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: n.now}
	if value {
		want.Status = corev1.ConditionTrue
	}
	for i, have := range n.status.Conditions {
		if have.Type != kind {
			continue
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		want.ObservedGeneration = have.ObservedGeneration
		n.status.Conditions[i] = want
		return
	}
	n.status.Conditions = append(n.status.Conditions, want)
}
