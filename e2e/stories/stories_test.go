package stories

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/cluster"
	"github.com/weirhq/weir/internal/toolkit"
)

// An interval that no story lives to see: whatever happens was not polled for.
const never = 10 * time.Hour

func TestCommitIsApplied(t *testing.T) {
	s := begin(t)
	repo := s.repository(time.Second, map[string]string{
		"app/a.yaml": configMap("a", "one"), "app/b.yaml": configMap("b", "one"),
	})
	s.ready(repo)
	k := s.kustomization(never, nil)
	s.ready(k)
	s.value("a", "one")

	s.plan["configmaps/b"] = true
	hash := s.commit("Change a, remove b, add c", map[string]string{
		"app/a.yaml": configMap("a", "two"), "app/c.yaml": configMap("c", "new"),
	}, "app/b.yaml")
	s.value("a", "two")
	s.value("c", "new")
	s.eventually("b is pruned", func() string {
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "b"}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("reading it: %v", err)
		}
		return ""
	})
	s.eventually("the revision is on record", func() string {
		s.ready(k)
		if want := "main@sha1:" + hash; k.Status.LastAppliedRevision != want {
			return fmt.Sprintf("lastAppliedRevision is %q, want %q", k.Status.LastAppliedRevision, want)
		}
		return ""
	})
	if n := len(k.Status.Inventory.Entries); n != 2 {
		t.Errorf("the inventory has %d entries, want 2: %+v", n, k.Status.Inventory.Entries)
	}

	// Everything goes with the Kustomization.
	s.plan["configmaps/a"], s.plan["configmaps/c"] = true, true
	if err := s.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	s.eventually("the objects are gone", func() string {
		for _, n := range []string{"a", "c"} {
			if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: n}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
				return fmt.Sprintf("%s: %v", n, err)
			}
		}
		return ""
	})
}

func TestWebhookBringsCommit(t *testing.T) {
	s := begin(t)
	repo := s.repository(never, map[string]string{"app/a.yaml": configMap("a", "one")})
	s.ready(repo)
	k := s.kustomization(never, nil)
	s.ready(k)
	const token = "a-webhook-token-of-some-length"
	s.create(&corev1.Secret{ObjectMeta: s.meta("webhook"), StringData: map[string]string{"token": token}})
	receiver := &notificationv1.Receiver{ObjectMeta: s.meta("github"), Spec: notificationv1.ReceiverSpec{
		Type: "github", Events: []string{"ping", "push"}, SecretRef: &meta.LocalObjectReference{Name: "webhook"},
		Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{
			Kind: sourcev1.GitRepositoryKind, Name: "app",
		}}},
	}}
	s.create(receiver)
	s.ready(receiver)

	s.commit("Change a", map[string]string{"app/a.yaml": configMap("a", "two")})
	post := func(key string) int {
		body := []byte(`{"ref":"refs/heads/main","repository":{"full_name":"org/app"}}`)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(body)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			s.tools.URL(toolkit.Notification, "webhooks")+receiver.Status.WebhookPath, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-GitHub-Event", "push")
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		resp, err := s.tools.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if code := post("a-token-that-is-wrong-but-as-long"); code < 400 || code > 499 {
		t.Errorf("a forged delivery was answered %d", code)
	}
	if code := post(token); code != http.StatusOK {
		t.Fatalf("a signed delivery was answered %d", code)
	}
	s.value("a", "two")
}

func TestDriftIsCorrected(t *testing.T) {
	s := begin(t)
	s.ready(s.repository(never, map[string]string{"app/a.yaml": configMap("a", "one"), "app/b.yaml": configMap("b", "one")}))
	s.ready(s.kustomization(never, nil))
	edit := &corev1.ConfigMap{ObjectMeta: s.meta("a")}
	if err := s.Patch(t.Context(), edit, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"value":"edited"}}`)),
		client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	s.value("a", "one")
	if err := s.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: s.meta("b")}); err != nil {
		t.Fatal(err)
	}
	s.value("b", "one")
	s.eventually("an event names who had changed it", func() string {
		var all corev1.EventList
		if err := s.List(t.Context(), &all, client.InNamespace(s.ns)); err != nil {
			return err.Error()
		}
		for _, e := range all.Items {
			if e.Reason == "DriftCorrected" && strings.Contains(e.Message, "kubectl-edit") {
				return ""
			}
		}
		return fmt.Sprintf("none among %d events", len(all.Items))
	})
}

func deployment(image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: %s # {"$imagepolicy": "NAMESPACE:web"}
`, image)
}

// program is an image for pods to run. Those of the embedded control plane run
// nothing, so there it is empty.
func (s *story) program(reference, version string) v1.Image {
	s.Helper()
	if shared.where == nil {
		return empty.Image
	}
	img, err := cluster.Sleeper(s.Context(), version)
	if err == nil {
		err = shared.where.Load(s.Context(), reference, img)
	}
	if err != nil {
		s.Fatal(err)
	}
	return img
}

func TestImageTagIsRolledOut(t *testing.T) {
	s := begin(t)
	image := strings.TrimPrefix(s.serve(registry.New(registry.Logger(log.New(io.Discard, "", 0)))), "http://") + "/org/web"
	push := func(tag string) {
		ref, err := name.ParseReference(image+":"+tag, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, s.program(image+":"+tag, tag)); err != nil {
			t.Fatal(err)
		}
	}
	push("1.0.0")
	manifest := strings.ReplaceAll(deployment(image+":1.0.0"), "NAMESPACE", s.ns)
	s.ready(s.repository(time.Second, map[string]string{"app/web.yaml": manifest, "app/a.yaml": configMap("a", "one")}))
	s.ready(s.kustomization(never, func(spec *kustomizev1.KustomizationSpec) { spec.Wait = true }))

	s.create(&imagev1.ImageRepository{ObjectMeta: s.meta("web"), Spec: imagev1.ImageRepositorySpec{
		Image: image, Interval: duration.New(time.Second), Insecure: true,
	}})
	s.create(&imagev1.ImagePolicy{ObjectMeta: s.meta("web"), Spec: imagev1.ImagePolicySpec{
		ImageRepositoryRef: meta.NamespacedObjectReference{Name: "web"},
		Policy:             imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: ">=1.0.0"}},
	}})
	update := &imagev1.ImageUpdateAutomation{ObjectMeta: s.meta("web"), Spec: imagev1.ImageUpdateAutomationSpec{
		Interval:  duration.New(never),
		SourceRef: imagev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
		GitSpec: &imagev1.GitSpec{
			Checkout: &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "main"}},
			Commit:   imagev1.CommitSpec{Author: imagev1.CommitUser{Name: "Weir", Email: "weir@example.com"}},
		},
		Update: &imagev1.UpdateStrategy{Path: "./app", Strategy: imagev1.UpdateStrategySetters},
	}}
	s.create(update)
	s.ready(update)

	push("1.1.0")
	s.eventually("the tag becomes a commit", func() string {
		file, err := s.git.File("app", "main", "app/web.yaml")
		if err != nil {
			return err.Error()
		}
		if want := strings.ReplaceAll(manifest, ":1.0.0", ":1.1.0"); file != want {
			return "the file is\n" + file
		}
		return ""
	})
	s.eventually("the commit is rolled out", func() string {
		d := &appsv1.Deployment{}
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: s.ns, Name: "web"}, d); err != nil {
			return err.Error()
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != image+":1.1.0" || d.Status.UpdatedReplicas != 2 || d.Status.ReadyReplicas != 2 {
			return fmt.Sprintf("image %s, %d updated, %d ready", got, d.Status.UpdatedReplicas, d.Status.ReadyReplicas)
		}
		return ""
	})
	if log, err := s.git.Git("app", "rev-list", "--count", "main"); err != nil || strings.TrimSpace(log) != "2" {
		t.Errorf("the branch has %s commits (%v), want 2: the first and one for the tag", strings.TrimSpace(log), err)
	}
}

func TestFailureReachesSlack(t *testing.T) {
	s := begin(t)
	messages := make(chan []byte, 100)
	slack := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		messages <- body
	}))
	s.create(&notificationv1beta3.Provider{ObjectMeta: s.meta("slack"), Spec: notificationv1beta3.ProviderSpec{
		Type: "slack", Channel: "general", Address: slack,
	}})
	s.create(&notificationv1beta3.Alert{ObjectMeta: s.meta("alerts"), Spec: notificationv1beta3.AlertSpec{
		ProviderRef: meta.LocalObjectReference{Name: "slack"}, EventSeverity: "error",
		EventSources: []notificationv1.CrossNamespaceObjectReference{{Kind: kustomizev1.KustomizationKind, Name: "*"}},
	}})
	s.ready(s.repository(time.Second, map[string]string{"app/a.yaml": configMap("a", "one")}))
	k := s.kustomization(never, nil)
	s.ready(k)

	s.commit("Break it", map[string]string{"app/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata: [not, a, map]\n"})
	message := s.failed(k, meta.ReconciliationFailedReason)
	if !strings.Contains(message, "ConfigMap/"+s.ns+"/a") {
		t.Errorf("the condition does not name the object: %s", message)
	}
	select {
	case body := <-messages:
		var payload struct {
			Channel     string
			Attachments []struct{ Color, AuthorName, Text string }
		}
		if err := json.Unmarshal(bytes.ReplaceAll(body, []byte("author_name"), []byte("AuthorName")), &payload); err != nil {
			t.Fatal(err)
		}
		if payload.Channel != "general" || len(payload.Attachments) != 1 || payload.Attachments[0].Color != "danger" ||
			!strings.Contains(payload.Attachments[0].AuthorName, "kustomization/app."+s.ns) ||
			!strings.Contains(payload.Attachments[0].Text, "ConfigMap/"+s.ns+"/a") {
			t.Errorf("Slack got %s", body)
		}
		if bytes.Contains(body, []byte(planted)) {
			t.Errorf("I3: the planted secret is in a message to Slack")
		}
	case <-time.After(patience):
		t.Fatal("no message reached Slack")
	}
	s.value("a", "one") // nothing was deleted or changed

	s.commit("Revert", map[string]string{"app/a.yaml": configMap("a", "two")})
	s.value("a", "two")
	s.ready(k)
}

// Whatever is wrong, the object says what and what to do, and nothing that was
// applied before goes away.
func TestBadInputIsExplained(t *testing.T) {
	s := begin(t)
	s.ready(s.repository(time.Second, map[string]string{"app/a.yaml": configMap("a", "one")}))
	k := s.kustomization(never, nil)
	s.ready(k)
	good := map[string]string{"app/a.yaml": configMap("a", "one")}
	for _, tt := range []struct {
		name   string
		files  map[string]string
		reason string
		says   []string
	}{
		{"yaml that does not parse", map[string]string{"app/a.yaml": "a: b: c\n"}, meta.BuildFailedReason, []string{"app/a.yaml"}},
		{"an unknown kind", map[string]string{"app/a.yaml": configMap("a", "one") + "---\napiVersion: example.com/v1\nkind: Widget\nmetadata:\n  name: w\n"},
			meta.ReconciliationFailedReason, []string{"Widget", "CustomResourceDefinition"}},
		{"refused by the API server", map[string]string{"app/a.yaml": strings.Replace(configMap("a", "one"), "name: a", "name: NotAName", 1)},
			meta.ReconciliationFailedReason, []string{"NotAName"}},
	} {
		s.commit(tt.name, tt.files)
		message := s.failed(k, tt.reason)
		for _, part := range tt.says {
			if !strings.Contains(message, part) {
				t.Errorf("%s: the message does not say %q: %s", tt.name, part, message)
			}
		}
		s.value("a", "one")
		s.commit("Revert", good)
		s.ready(k)
	}
	k.Spec.Path = "./nowhere"
	if err := s.Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if message := s.failed(k, meta.ArtifactFailedReason); !strings.Contains(message, "nowhere") || !strings.Contains(message, "app") {
		t.Errorf("a path that is not there: the message names neither it nor what is there: %s", message)
	}

	for _, tt := range []struct {
		name, url, branch, secret, reason string
		says                              []string
	}{
		{"unreachable", "http://127.0.0.1:1/app.git", "main", "", "GitOperationFailed", []string{"127.0.0.1:1"}},
		{"wrong-password", s.git.URL("app"), "main", "wrong", "AuthenticationFailed", []string{"app", "authentication failed"}},
		{"unknown-branch", s.git.URL("app"), "nope", "git", "GitOperationFailed", []string{"nope"}},
	} {
		if tt.secret == "wrong" {
			s.create(&corev1.Secret{ObjectMeta: s.meta("wrong"), StringData: map[string]string{"username": "weir", "password": "not-it-at-all"}})
		}
		repo := &sourcev1.GitRepository{ObjectMeta: s.meta(tt.name), Spec: sourcev1.GitRepositorySpec{
			URL: tt.url, Interval: duration.New(never), Reference: &sourcev1.GitRepositoryRef{Branch: tt.branch},
		}}
		if tt.secret != "" {
			repo.Spec.SecretRef = &meta.LocalObjectReference{Name: tt.secret}
		}
		s.create(repo)
		message := s.failed(repo, tt.reason)
		for _, part := range tt.says {
			if !strings.Contains(message, part) {
				t.Errorf("%s: the message does not say %q: %s", tt.name, part, message)
			}
		}
	}
	s.value("a", "one")
}
