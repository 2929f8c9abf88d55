// Package observe runs the programs, has them do a bit of everything, and looks
// at what they tell of themselves: metrics, traces, logs and state.
package observe

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

const (
	// patience bounds every wait. It says nothing about speed.
	patience = 120 * time.Second
	// never is an interval that no test lives to see.
	never = 10 * time.Hour
	// planted is a password that must not be seen anywhere.
	planted = "pl4nted-s3cret-of-observing"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{After: func() {
		if scene.tools != nil {
			if err := scene.tools.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		os.RemoveAll(scene.dir)
	}})
}

// scene is what all tests look at: the programs, after a commit that image
// automation made was rolled out, a drift corrected, and somebody told.
var scene struct {
	sync.Once
	dir     string
	tools   *toolkit.Toolkit
	spans   *collector
	git     *gitserver.Server
	ns      string
	commit  string // that the automation pushed
	image   string // that it chose
	webhook string // path of the Receiver
	done    bool
}

type stage struct {
	*testing.T
	client.Client
}

// begin returns the scene; the first to ask plays it.
func begin(t *testing.T) stage {
	t.Helper()
	s := stage{t, testenv.Client(t, sourcev1.AddToScheme, kustomizev1.AddToScheme, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, imagev1.AddToScheme)}
	scene.Do(func() {
		s.start()
		s.objects()
		s.play()
		scene.done = true
	})
	if !scene.done {
		t.Fatal("the scene failed in an earlier test")
	}
	return s
}

func (s stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s stage) start() {
	var err error
	scene.dir, err = os.MkdirTemp("", "weir-observe-")
	s.must(err)
	bin, err := filepath.Abs("../../bin")
	s.must(err)
	scene.spans = newCollector()
	flags := map[string][]string{}
	for _, name := range toolkit.All {
		flags[name] = []string{"--otlp-traces-endpoint=" + scene.spans.URL, "--enable-leader-election"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	scene.tools, err = toolkit.Start(ctx, toolkit.Options{BinDir: bin, WorkDir: scene.dir, Kubeconfig: testenv.Kubeconfig(s.T), Namespace: "default", Flags: flags})
	s.must(err)
	scene.git, err = gitserver.Start(gitserver.Options{Username: "weir", Password: planted})
	s.must(err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "observed"}} // it outlives the first test
	s.must(s.Create(s.Context(), namespace))
	scene.ns = namespace.Name
}

func (s stage) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: scene.ns}
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: IMAGE:1.0.0 # {"$imagepolicy": "observed:web"}
`

func (s stage) objects() {
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	scene.image = strings.TrimPrefix(reg.URL, "http://") + "/org/web"
	s.push("1.0.0")
	chat := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.must(scene.git.Init("app", map[string]string{"app/web.yaml": strings.ReplaceAll(deployment, "IMAGE", scene.image), "app/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {value: one}\n"}))
	source := kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"}
	kustomization := func(name, path string, suspend bool) *kustomizev1.Kustomization {
		return &kustomizev1.Kustomization{ObjectMeta: s.meta(name), Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(never), Prune: true, Wait: true, Path: path, Suspend: suspend, TargetNamespace: scene.ns, SourceRef: source,
		}}
	}
	every := func(kind string) notificationv1.CrossNamespaceObjectReference {
		return notificationv1.CrossNamespaceObjectReference{Kind: kind, Name: "*"}
	}
	for _, obj := range []client.Object{
		&corev1.Secret{ObjectMeta: s.meta("git"), StringData: map[string]string{"username": "weir", "password": planted}},
		&corev1.Secret{ObjectMeta: s.meta("hook"), StringData: map[string]string{"token": planted}},
		&notificationv1beta3.Provider{ObjectMeta: s.meta("chat"), Spec: notificationv1beta3.ProviderSpec{Type: "generic", Address: chat.URL + "/?token=" + planted}},
		&notificationv1beta3.Alert{ObjectMeta: s.meta("all"), Spec: notificationv1beta3.AlertSpec{
			ProviderRef: meta.LocalObjectReference{Name: "chat"}, EventSeverity: "info",
			EventSources: []notificationv1.CrossNamespaceObjectReference{every("GitRepository"), every("Kustomization"), every("ImageUpdateAutomation")},
		}},
		&sourcev1.GitRepository{ObjectMeta: s.meta("app"), Spec: sourcev1.GitRepositorySpec{
			URL: scene.git.URL("app"), Interval: duration.New(time.Second), Reference: &sourcev1.GitRepositoryRef{Branch: "main"}, SecretRef: &meta.LocalObjectReference{Name: "git"},
		}},
		kustomization("app", "./app", false), kustomization("bad", "./nowhere", false), kustomization("idle", "./app", true),
		&notificationv1.Receiver{ObjectMeta: s.meta("hook"), Spec: notificationv1.ReceiverSpec{
			Type: "generic", SecretRef: &meta.LocalObjectReference{Name: "hook"},
			Resources: []notificationv1.ReceiverResource{{CrossNamespaceObjectReference: notificationv1.CrossNamespaceObjectReference{Kind: "GitRepository", Name: "app"}}},
		}},
		&imagev1.ImageRepository{ObjectMeta: s.meta("web"), Spec: imagev1.ImageRepositorySpec{Image: scene.image, Interval: duration.New(time.Second), Insecure: true}},
		&imagev1.ImagePolicy{ObjectMeta: s.meta("web"), Spec: imagev1.ImagePolicySpec{
			ImageRepositoryRef: meta.NamespacedObjectReference{Name: "web"}, Policy: imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: ">=1.0.0"}},
		}},
		&imagev1.ImageUpdateAutomation{ObjectMeta: s.meta("web"), Spec: imagev1.ImageUpdateAutomationSpec{
			Interval: duration.New(never), SourceRef: imagev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
			GitSpec: &imagev1.GitSpec{
				Checkout: &imagev1.GitCheckoutSpec{Reference: sourcev1.GitRepositoryRef{Branch: "main"}},
				Commit:   imagev1.CommitSpec{Author: imagev1.CommitUser{Name: "Weir", Email: "weir@example.com"}},
			},
			Update: &imagev1.UpdateStrategy{Path: "./app", Strategy: imagev1.UpdateStrategySetters},
		}},
	} {
		s.must(s.Create(s.Context(), obj))
	}
}

func (s stage) push(tag string) {
	ref, err := name.ParseReference(scene.image + ":" + tag)
	s.must(err)
	s.must(remote.Write(ref, empty.Image))
}

// play has a tag become a commit and the commit a rollout, and changes an object
// behind the controllers' back.
func (s stage) play() {
	app := &kustomizev1.Kustomization{ObjectMeta: s.meta("app")}
	update := &imagev1.ImageUpdateAutomation{ObjectMeta: s.meta("web")}
	hook := &notificationv1.Receiver{ObjectMeta: s.meta("hook")}
	s.await(app, func() bool { return true })
	s.await(update, func() bool { return true })
	s.await(hook, func() bool { return hook.Status.WebhookPath != "" })
	scene.webhook = hook.Status.WebhookPath
	s.push("1.1.0")
	s.await(update, func() bool { return update.Status.LastPushCommit != "" })
	scene.commit = update.Status.LastPushCommit
	s.await(app, func() bool { return strings.HasSuffix(app.Status.LastAppliedRevision, scene.commit) })
	cm := &corev1.ConfigMap{ObjectMeta: s.meta("cm")}
	s.must(s.Patch(s.Context(), cm, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"value":"edited"}}`)), client.FieldOwner("kubectl-edit")))
	s.eventually("the drift is corrected", func() string {
		s.must(s.Get(s.Context(), client.ObjectKeyFromObject(cm), cm))
		return strings.TrimPrefix(cm.Data["value"], "one")
	})
	for _, path := range []string{scene.webhook, "/nowhere"} {
		resp, err := http.Post("http://"+scene.tools.Address(toolkit.Notification, "webhooks")+path, "application/json", strings.NewReader("{}"))
		s.must(err)
		resp.Body.Close()
	}
}

type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// await waits until obj is ready and more holds; obj is left as read last.
func (s stage) await(obj conditioned, more func() bool) {
	s.Helper()
	s.eventually(fmt.Sprintf("%T %s is ready", obj, obj.GetName()), func() string {
		s.must(s.Get(s.Context(), client.ObjectKeyFromObject(obj), obj))
		if c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition); c == nil || c.Status != metav1.ConditionTrue || !more() {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
}

// eventually waits until check returns "", which is otherwise what is missing.
func (s stage) eventually(what string, check func() string) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			for _, name := range toolkit.All {
				s.Logf("log of %s:\n%s", name, scene.tools.Process(name).Tail(10))
			}
			s.Fatalf("%s: not after %s: %s", what, patience, missing)
		}
	}
}

// get reads from the metrics port of a program.
func (s stage) get(program, path string) string {
	s.Helper()
	resp, err := http.Get("http://" + scene.tools.Address(program, "metrics") + path)
	s.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	s.must(err)
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("%s of %s: %s", path, program, resp.Status)
	}
	return string(data)
}
