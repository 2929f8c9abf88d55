package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{After: func() {
		if path, err := program(); err == nil { // built by now, or the test that would have is not run
			os.RemoveAll(filepath.Dir(path))
		}
	}})
}

// freeAddr returns an address that nobody listens at.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startProgram runs the whole program in the test's process.
func startProgram(t *testing.T, o *options) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, notificationv1.AddToScheme, notificationv1beta3.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mgr, err := ctrl.NewManager(testenv.Config(t), ctrl.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	env := &process.Env{Name: "notification-controller", FieldOwner: "notification-controller", Manager: mgr, Concurrent: 1, Log: ctrl.Log}
	env.Recorder = events.New(events.Options{
		Controller: env.Name, Scheme: scheme, Log: ctrl.Log,
		Kubernetes: mgr.GetEventRecorderFor(env.Name), //nolint:staticcheck // as internal/process does
	})
	ctx, stop := context.WithCancel(context.Background())
	if err := o.setup(ctx, env); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// watchFor returns the first state of the objects in list that satisfies ok.
func watchFor(t testing.TB, c client.WithWatch, list client.ObjectList, ns string, ok func(runtime.Object) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	w, err := c.Watch(ctx, list, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if ok(e.Object) {
			return
		}
	}
	t.Fatalf("what %T was to show never came", list)
}

// post sends a request, again while nobody listens yet, and returns the code.
func post(t testing.TB, url string, body []byte, header map[string]string) int {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func create(t testing.TB, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProgram(t *testing.T) {
	c := testenv.Client(t, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, sourcev1.AddToScheme)
	ns := testenv.Namespace(t)
	got := make(chan []byte, 10)
	slack := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			got <- b
		}
	}))
	t.Cleanup(slack.Close)
	const token = "a-token-of-thirty-two-characters"
	in := metav1.ObjectMeta{Namespace: ns, Name: "demo"}
	bad := in
	bad.Name = "unbuilt"
	create(t, c,
		&corev1.Secret{ObjectMeta: in, StringData: map[string]string{"token": token, "address": slack.URL}},
		&notificationv1beta3.Provider{ObjectMeta: in, Spec: notificationv1beta3.ProviderSpec{Type: "slack", Channel: "ops", SecretRef: &meta.LocalObjectReference{Name: "demo"}}},
		&notificationv1beta3.Provider{ObjectMeta: bad, Spec: notificationv1beta3.ProviderSpec{Type: "nats"}},
		alertOf(in), alertOf(bad),
		&sourcev1.GitRepository{ObjectMeta: in, Spec: sourcev1.GitRepositorySpec{URL: "https://example.com/x"}},
		receiverOf(in, "github"), receiverOf(bad, "gcr"))
	o := &options{eventsAddr: freeAddr(t), receiverAddr: freeAddr(t), storagePath: t.TempDir(), rateLimit: time.Minute, tokenCacheSize: 10, tokenCacheDuration: time.Minute}
	startProgram(t, o)

	t.Run("an event becomes a Slack message, once", func(t *testing.T) { eventToSlack(t, o, ns, got) })
	t.Run("a type that is not built is told on the Alert", func(t *testing.T) {
		watchFor(t, c, &corev1.EventList{}, ns, func(obj runtime.Object) bool {
			e, ok := obj.(*corev1.Event)
			return ok && e.InvolvedObject.Name == "unbuilt" && e.InvolvedObject.Kind == "Alert" &&
				e.Reason == "NotificationDispatchFailed" && strings.Contains(e.Message, `"nats"`)
		})
	})
	t.Run("a receiver says what its Secret lacks", func(t *testing.T) {
		watchFor(t, c, &notificationv1.ReceiverList{}, ns, func(obj runtime.Object) bool {
			r, ok := obj.(*notificationv1.Receiver)
			if !ok || r.Name != "unbuilt" {
				return false
			}
			ready := apimeta.FindStatusCondition(r.Status.Conditions, "Ready")
			return ready != nil && ready.Reason == "TokenNotFound" && strings.Contains(ready.Message, `"email"`)
		})
	})
	t.Run("a signed webhook pokes its target", func(t *testing.T) { webhookToPoke(t, c, o, ns, token) })
	t.Run("a new token makes a new path at once", func(t *testing.T) {
		s := &corev1.Secret{ObjectMeta: in}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"token":"another-token-of-thirty-two-chars"}}`))
		if err := c.Patch(t.Context(), s, patch); err != nil {
			t.Fatal(err)
		}
		want := receiverOf(in, "github").GetWebhookPath("another-token-of-thirty-two-chars")
		watchFor(t, c, &notificationv1.ReceiverList{}, ns, func(obj runtime.Object) bool {
			r, ok := obj.(*notificationv1.Receiver)
			return ok && r.Name == "demo" && r.Status.WebhookPath == want
		})
	})
}

func alertOf(m metav1.ObjectMeta) *notificationv1beta3.Alert {
	return &notificationv1beta3.Alert{ObjectMeta: m, Spec: notificationv1beta3.AlertSpec{
		ProviderRef: meta.LocalObjectReference{Name: m.Name}, Summary: "staging",
		EventSources: []notificationv1.CrossNamespaceObjectReference{{Kind: "Kustomization", Name: "*"}},
	}}
}

func receiverOf(m metav1.ObjectMeta, kind string) *notificationv1.Receiver {
	return &notificationv1.Receiver{ObjectMeta: m, Spec: notificationv1.ReceiverSpec{
		Type: kind, SecretRef: &meta.LocalObjectReference{Name: "demo"}, Events: []string{"push"},
		Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{Kind: "GitRepository", Name: "demo"}}},
	}}
}

func eventToSlack(t *testing.T, o *options, ns string, got <-chan []byte) {
	body, err := json.Marshal(eventv1.Event{
		InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: ns, Name: "apps"},
		Severity:       "error", Timestamp: metav1.Now(), Message: "apply failed <now>", Reason: "BuildFailed",
		Metadata:            map[string]string{"kustomize.toolkit.fluxcd.io/revision": "main@sha1:abc"},
		ReportingController: "kustomize-controller",
	})
	if err != nil {
		t.Fatal(err)
	}
	if code := post(t, "http://"+o.eventsAddr+"/", body, nil); code != http.StatusAccepted {
		t.Fatalf("got %d, want 202", code)
	}
	message := string(<-got)
	for _, want := range []string{`"channel":"ops"`, `"color":"danger"`, `"author_name":"kustomization/apps.` + ns + `"`, `apply failed &lt;now&gt;`, `"title":"revision","value":"main@sha1:abc"`, `"title":"summary","value":"staging"`} {
		if !strings.Contains(message, want) {
			t.Errorf("%s\nis not in\n%s", want, message)
		}
	}
	if code := post(t, "http://"+o.eventsAddr+"/", body, nil); code != http.StatusTooManyRequests {
		t.Errorf("a repeat got %d, want 429", code)
	}
}

func webhookToPoke(t *testing.T, c client.WithWatch, o *options, ns, token string) {
	path := ""
	watchFor(t, c, &notificationv1.ReceiverList{}, ns, func(obj runtime.Object) bool {
		r, ok := obj.(*notificationv1.Receiver)
		if !ok || r.Name != "demo" || !apimeta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
			return false
		}
		path = r.Status.WebhookPath
		return true
	})
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write(body)
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	url := "http://" + o.receiverAddr + path
	// The cache shows the path a moment after the API server does.
	code := http.StatusNotFound
	for deadline := time.Now().Add(30 * time.Second); code == http.StatusNotFound && time.Now().Before(deadline); {
		code = post(t, url, body, map[string]string{"X-GitHub-Event": "push"})
	}
	annotation := func() string {
		g := &sourcev1.GitRepository{}
		if err := c.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: "demo"}, g); err != nil {
			t.Fatal(err)
		}
		return g.Annotations[meta.ReconcileRequestAnnotation]
	}
	if code != http.StatusBadRequest || annotation() != "" {
		t.Fatalf("without a signature: got %d and annotation %q, want 400 and none", code, annotation())
	}
	if code := post(t, url, body, map[string]string{"X-GitHub-Event": "ping", "X-Hub-Signature-256": signature}); code != http.StatusOK || annotation() != "" {
		t.Errorf("ping: got %d and annotation %q, want 200 and none", code, annotation())
	}
	if code := post(t, url, body, map[string]string{"X-GitHub-Event": "issues", "X-Hub-Signature-256": signature}); code != http.StatusBadRequest {
		t.Errorf("an event that is not listed: got %d, want 400", code)
	}
	if code := post(t, url, body, map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": signature}); code != http.StatusOK || annotation() == "" {
		t.Errorf("push: got %d and annotation %q, want 200 and one", code, annotation())
	}
	if code := post(t, "http://"+o.receiverAddr+"/hook/00", body, nil); code != http.StatusNotFound {
		t.Errorf("an unknown path: got %d, want 404", code)
	}
}
