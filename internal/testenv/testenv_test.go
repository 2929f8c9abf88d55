package testenv

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { Main(m) }

func TestNamespaceIsReadyForPods(t *testing.T) {
	c, ns := Client(t), Namespace(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if pod.Spec.ServiceAccountName != "default" {
		t.Errorf("service account = %q, want the admission plugin to have set %q", pod.Spec.ServiceAccountName, "default")
	}
}

func TestRequestsCountsWhatTheTestAsks(t *testing.T) {
	c, ns := Client(t), Namespace(t)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kube-root-ca.crt"}, cm); err != nil {
		t.Fatal(err) // also makes the client discover the kind, which is a request or two of its own
	}
	cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a"}}
	before := Requests(t)
	if err := c.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(cm), cm); err != nil {
			t.Fatal(err)
		}
	}
	if got := Requests(t) - before; got != 3 {
		t.Errorf("requests = %d, want 3: one create and two gets", got)
	}
	if got := Requests(t) - before; got != 3 {
		t.Errorf("requests = %d, want 3: counting is not to be counted", got)
	}
}

func TestAuditTellsWhoDidWhat(t *testing.T) {
	ns := Namespace(t)
	cfg := Config(t)
	cfg.Impersonate.UserName = "system:serviceaccount:" + ns + ":default"
	as, err := client.New(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = as.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "b"}})
	if err == nil {
		t.Fatal("a service account without a role was allowed to create a ConfigMap")
	}
	var got []AuditEvent
	for _, event := range Audit(t) {
		if event.Namespace == ns && event.Impersonated != "" {
			event.UserAgent, event.URI = "", ""
			got = append(got, event)
		}
	}
	want := []AuditEvent{{
		Verb: "create", Resource: "configmaps", Namespace: ns, Code: 403,
		User: "weir:admin", Impersonated: cfg.Impersonate.UserName,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}
