package apply

import (
	"context"
	"strconv"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// statusless are common kinds without a status: they are ready once they exist.
var statusless = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}:      true,
	{Kind: "Secret"}:         true,
	{Kind: "ServiceAccount"}: true,
	{Kind: "LimitRange"}:     true,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:                                true,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:                         true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:                         true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:                  true,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:                               true,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                                true,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                               true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                                   true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}:          true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   true,
}

// examine reads an object. again is when to look at it once more if it is
// pending and no event comes.
func (a *Applier) examine(ctx context.Context, p *patient, rule Rule) (st state, message string, rv uint64, again time.Duration) {
	u, err := a.full.Resource(p.gvr).Namespace(p.ref.Namespace).Get(ctx, p.ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && a.expired(p):
		return ready, "", 0, 0
	case apierrors.IsNotFound(err):
		return pending, "it does not exist", 0, a.lookAgain(p)
	case apierrors.IsForbidden(err):
		return failed, "it may not be read: " + serverText(p.ref, err), 0, 0
	case err != nil:
		return pending, "it could not be read: " + serverText(p.ref, err), 0, readBlind
	}
	rv, _ = strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	if rule != nil {
		st, message = judgeBy(ctx, u, rule)
	} else {
		st, message = judge(u)
	}
	return st, message, rv, a.lookAgain(p)
}

// lookAgain says after what time without an event a pending object is read.
func (a *Applier) lookAgain(p *patient) time.Duration {
	switch {
	case a.covered(p.item, p.owner) == unseen && !a.health.followed(p.item):
		return readBlind
	case p.ref.Group == "" && p.ref.Kind == "Pod":
		return readPod
	}
	return readIdle
}

// expired reports whether the object was one that deletes itself when it is done.
func (a *Applier) expired(p *patient) bool {
	a.mu.Lock()
	r := a.resources[p.item.GroupResource]
	a.mu.Unlock()
	if r == nil {
		return false
	}
	row, ok := r.table.Row(p.item.Key)
	return ok && row.Expires && row.Owner == number(p.owner)
}

// judge tells how an object is by its content.
func judge(u *unstructured.Unstructured) (state, string) {
	if gvk := u.GroupVersionKind(); gvk.Group == "batch" && gvk.Kind == "Job" {
		return judgeJob(u)
	}
	res, err := status.Compute(u)
	if err != nil {
		return failed, "its status cannot be understood: " + err.Error()
	}
	switch res.Status {
	case status.CurrentStatus:
		return ready, ""
	case status.FailedStatus:
		return failed, res.Message
	}
	return pending, res.Message
}

// judgeJob waits for completion; kstatus is content with a Job that was started.
func judgeJob(u *unstructured.Unstructured) (state, string) {
	if u.GetDeletionTimestamp() != nil {
		return pending, "it is being deleted"
	}
	if s, _ := condition(u, "Complete"); s == "True" {
		return ready, ""
	}
	if s, why := condition(u, "Failed"); s == "True" {
		return failed, "the Job failed: " + why
	}
	if s, _ := condition(u, "Suspended"); s == "True" {
		return pending, "the Job is suspended"
	}
	return pending, "the Job has not completed"
}
