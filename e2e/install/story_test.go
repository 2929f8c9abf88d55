package install

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// An interval that no story lives to see.
const never = 10 * time.Hour

const password = "password-of-the-install-story"

// stage is a namespace with a Git repository "app", and a client that knows the
// toolkit's kinds.
type stage struct {
	*testing.T
	client.Client
	ns    string
	git   *gitserver.Server
	tools *toolkit.Toolkit
}

func newStage(t *testing.T, files map[string]string, components ...string) *stage {
	t.Helper()
	install(t)
	git, err := gitserver.Start(gitserver.Options{Username: "weir", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	c := testenv.Client(t, sourcev1.AddToScheme, kustomizev1.AddToScheme, notificationv1.AddToScheme,
		notificationv1beta3.AddToScheme, imagev1.AddToScheme)
	s := &stage{T: t, Client: c, ns: testenv.Namespace(t), git: git}
	if err := git.Init("app", files); err != nil {
		t.Fatal(err)
	}
	s.tools = run(t, c, components...)
	s.create(&corev1.Secret{ObjectMeta: s.meta("git"), StringData: map[string]string{"username": "weir", "password": password}})
	repo := &sourcev1.GitRepository{ObjectMeta: s.meta("app"), Spec: sourcev1.GitRepositorySpec{
		URL: git.URL("app"), Interval: duration.New(never), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		SecretRef: &meta.LocalObjectReference{Name: "git"},
	}}
	s.create(repo)
	s.ready(repo)
	return s
}

func (s *stage) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.ns}
}

func (s *stage) create(obj client.Object) {
	s.Helper()
	if err := s.Create(s.Context(), obj); err != nil {
		s.Fatal(err)
	}
}

type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// is waits for the condition Ready of the latest spec.
func (s *stage) is(obj conditioned, want metav1.ConditionStatus) (message string) {
	s.Helper()
	eventually(s.T, fmt.Sprintf("%T %s has Ready=%s", obj, obj.GetName(), want), func() string {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
		if c == nil || c.Status != want || c.ObservedGeneration != obj.GetGeneration() {
			return fmt.Sprintf("%+v", c)
		}
		message = c.Message
		return ""
	})
	return message
}

func (s *stage) ready(obj conditioned) { s.Helper(); s.is(obj, metav1.ConditionTrue) }

// value waits until the ConfigMap app has a value.
func (s *stage) value(want string) {
	s.Helper()
	eventually(s.T, fmt.Sprintf("the ConfigMap has the value %q", want), func() string {
		cm := &corev1.ConfigMap{}
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.ns, Name: "app"}, cm); err != nil {
			return err.Error()
		}
		if cm.Data["value"] != want {
			return fmt.Sprintf("it has %q", cm.Data["value"])
		}
		return ""
	})
}

func (s *stage) kustomization(change func(*kustomizev1.KustomizationSpec)) *kustomizev1.Kustomization {
	s.Helper()
	k := &kustomizev1.Kustomization{ObjectMeta: s.meta("app"), Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(never), Prune: true, Path: "./app", TargetNamespace: s.ns,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}}
	if change != nil {
		change(&k.Spec)
	}
	s.create(k)
	return k
}

func configMap(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  value: " + value + "\n"
}

// webhook makes the receiver and calls it.
func (s *stage) webhook() {
	s.Helper()
	s.create(&corev1.Secret{ObjectMeta: s.meta("webhook"), StringData: map[string]string{"token": "a-token-of-the-install-story"}})
	receiver := &notificationv1.Receiver{ObjectMeta: s.meta("app"), Spec: notificationv1.ReceiverSpec{
		Type: "generic", SecretRef: &meta.LocalObjectReference{Name: "webhook"},
		Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{
			Kind: sourcev1.GitRepositoryKind, Name: "*", MatchLabels: map[string]string{"webhook": "yes"},
		}}},
	}}
	s.create(receiver)
	s.ready(receiver)
	repo := &sourcev1.GitRepository{ObjectMeta: s.meta("app")}
	if err := s.Patch(s.Context(), repo, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"webhook":"yes"}}}`))); err != nil {
		s.Fatal(err)
	}
	resp, err := http.Post("http://"+s.tools.Address(toolkit.Notification, "webhooks")+receiver.Status.WebhookPath, "application/json", strings.NewReader("{}"))
	if err != nil {
		s.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("the webhook was answered %s", resp.Status)
	}
}

// From a commit to what runs, with no right too few and, as far as the story
// goes, none too many.
func TestRightsAreEnough(t *testing.T) {
	skip := len(testenv.Audit(t))
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	image := strings.TrimPrefix(reg.URL, "http://") + "/org/app"
	push(t, image+":1.0.0")
	s := newStage(t, map[string]string{"app/app.yaml": configMap("one")})
	told := make(chan struct{}, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told <- struct{}{} }))
	t.Cleanup(hook.Close)
	s.alert(hook.URL)
	k := s.kustomization(func(spec *kustomizev1.KustomizationSpec) {
		spec.Wait = true
		spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "ConfigMap", Name: "variables", Optional: true}}}
	})
	s.ready(k)
	s.value("one")

	if _, err := s.git.Commit("app", "main", "Change it", map[string]string{"app/app.yaml": configMap("two")}); err != nil {
		t.Fatal(err)
	}
	s.webhook()
	s.value("two")
	select {
	case <-told:
	case <-time.After(patience):
		t.Error("nobody was told")
	}

	marked := configMap(image + `:1.0.0 # {"$imagepolicy": "` + s.ns + `:app"}`)
	if _, err := s.git.Commit("app", "main", "Mark it", map[string]string{"app/app.yaml": marked}); err != nil {
		t.Fatal(err)
	}
	push(t, image+":1.1.0")
	s.images(image)
	s.ask(&sourcev1.GitRepository{ObjectMeta: s.meta("app")})
	s.value(image + ":1.1.0")
	if err := s.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Kustomization is gone", func() string {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(k), k); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Sprintf("it has the finalizers %v (%v)", k.Finalizers, err)
		}
		return ""
	})
	checkRights(t, requests(t, skip))
}

func push(t *testing.T, image string) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) alert(address string) {
	s.Helper()
	s.create(&corev1.Secret{ObjectMeta: s.meta("address"), StringData: map[string]string{"address": address}})
	s.create(&notificationv1beta3.Provider{ObjectMeta: s.meta("app"), Spec: notificationv1beta3.ProviderSpec{
		Type: "generic", SecretRef: &meta.LocalObjectReference{Name: "address"},
	}})
	s.create(&notificationv1beta3.Alert{ObjectMeta: s.meta("app"), Spec: notificationv1beta3.AlertSpec{
		ProviderRef: meta.LocalObjectReference{Name: "app"}, EventSeverity: "info",
		EventSources: []notificationv1.CrossNamespaceObjectReference{{Kind: kustomizev1.KustomizationKind, Name: "*"}},
	}})
}

// images lets the tags of an image be followed, and waits for the commit.
func (s *stage) images(image string) {
	s.Helper()
	s.create(&imagev1.ImageRepository{ObjectMeta: s.meta("app"), Spec: imagev1.ImageRepositorySpec{
		Image: image, Interval: duration.New(never), Insecure: true, ServiceAccountName: "default",
	}})
	s.create(&imagev1.ImagePolicy{ObjectMeta: s.meta("app"), Spec: imagev1.ImagePolicySpec{
		ImageRepositoryRef: meta.NamespacedObjectReference{Name: "app"},
		Policy:             imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: ">=1.0.0"}},
	}})
	update := &imagev1.ImageUpdateAutomation{ObjectMeta: s.meta("app"), Spec: imagev1.ImageUpdateAutomationSpec{
		Interval:  duration.New(never),
		SourceRef: imagev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
		GitSpec: &imagev1.GitSpec{
			Checkout: &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "main"}},
			Commit:   imagev1.CommitSpec{Author: imagev1.CommitUser{Name: "Weir", Email: "weir@example.com"}},
		},
		Update: &imagev1.UpdateStrategy{Path: "./app", Strategy: imagev1.UpdateStrategySetters},
	}}
	s.create(update)
	eventually(s.T, "the new tag is committed", func() string {
		s.ready(update)
		if update.Status.LastPushCommit == "" {
			return "nothing was pushed"
		}
		return ""
	})
}

// ask lets an object be looked at.
func (s *stage) ask(obj client.Object) {
	s.Helper()
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	if err := s.Patch(s.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(body))); err != nil {
		s.Fatal(err)
	}
}

// tried tells whether a program only finds out whether it may do something that
// it can do without: see changes of the Secrets of Receivers at once.
func tried(e testenv.AuditEvent) bool {
	return e.User == accounts+toolkit.Notification && e.Verb == "list" && e.Group == "" && e.Resource == "secrets" && e.Namespace == ""
}

// spare says why a role has a right that the story does not use; "" is no
// reason.
func spare(user, verb string, r schema.GroupResource, watched bool) string {
	switch {
	case watched && (verb == "get" || verb == "list"):
		return "caches list where the server cannot stream, and reads pass the cache by when it may be old"
	case r.Resource == "leases" && verb == "update":
		return "a lease is renewed every few seconds, which is longer than a fast machine needs for the story"
	case r.Resource == "events" && verb == "patch":
		return "an event that repeats is counted"
	case user == toolkit.Notification && slices.Contains([]string{"get", "list", "patch"}, verb) && strings.HasSuffix(r.Group, ".fluxcd.io"):
		return "an Alert or a Receiver may name any kind"
	case user == toolkit.Source && r.Group == sourcev1.GroupVersion.Group && (verb == "watch" || verb == "patch"):
		return "a kind of source like the one in the story"
	}
	return map[string]string{
		"source-controller: get serviceaccounts":                                 "pull secrets of registries",
		"kustomize-controller: get secrets":                                      "variables, keys and kubeconfigs",
		"kustomize-controller: impersonate serviceaccounts":                      "TestTenantsHaveTheirOwnRights",
		"kustomize-controller: watch externalartifacts.source.toolkit.fluxcd.io": "a source like the others",
		"image-automation-controller: get namespaces":                            "labels that spec.accessFrom selects by",
	}[user+": "+verb+" "+r.String()]
}

// right is what a rule grants and a request uses.
type right struct {
	user, verb string
	resource   schema.GroupResource
}

// checkRights reports requests that were refused, and rights of the controllers
// that nobody used and that no reason is known for.
func checkRights(t *testing.T, events []testenv.AuditEvent) {
	t.Helper()
	used := map[right]bool{}
	for _, e := range events {
		if (e.Code == http.StatusForbidden || e.Code == http.StatusUnauthorized) && !tried(e) {
			t.Errorf("refused: %s", describe(e))
		}
		resource := e.Resource
		if e.Subresource != "" {
			resource += "/" + e.Subresource
		}
		used[right{strings.TrimPrefix(e.User, accounts), e.Verb, schema.GroupResource{Group: e.Group, Resource: resource}}] = true
	}
	if len(used) < 30 {
		t.Errorf("the controllers used %d rights: the audit log says little", len(used))
	}
	watched := map[right]bool{}
	rules(t, func(role string, r schema.GroupResource, verb string) {
		watched[right{strings.TrimSuffix(role, "-"+namespace), verb, r}] = true
	})
	rules(t, func(role string, r schema.GroupResource, verb string) {
		user := strings.TrimSuffix(role, "-"+namespace)
		if strings.HasPrefix(user, "flux-") || used[right{user, verb, r}] {
			return // those of people are not for programs
		}
		if spare(user, verb, r, watched[right{user, "watch", r}]) == "" {
			t.Errorf("%s may %s %s and never did: take the right away, or say what it is for", user, verb, r)
		}
	})
}
