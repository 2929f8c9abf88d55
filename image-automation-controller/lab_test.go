package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/buildtime"
	"github.com/weirhq/weir/image-automation-controller/internal/imagepolicy"
	"github.com/weirhq/weir/image-automation-controller/internal/imagerepository"
	"github.com/weirhq/weir/image-automation-controller/internal/imageupdate"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.Options{KeepNamespaces: true, After: cloudtest.Trust()})
}

const (
	user     = "robot"
	password = "correct-horse-battery" // of registries and Git servers alike
)

// lab is a namespace, a registry, a Git server and the three reconcilers, which
// run when a test calls them.
type lab struct {
	t        *testing.T
	c        client.WithWatch
	ns       string
	registry *imageServer
	git      *gitserver.Server
	events   *record.FakeRecorder

	tags         *tagdb.Store
	chooser      *imagepolicy.Reconciler
	repositories *loop.Reconciler[*imagev1.ImageRepository]
	policies     *loop.Reconciler[*imagev1.ImagePolicy]
	automations  *loop.Reconciler[*imagev1.ImageUpdateAutomation]
}

type labOptions struct {
	noCrossNamespace bool
	noForce          bool
	git              gitserver.Options
	storage          string
	between          *interceptor.Funcs // the reconcilers and the API server
}

func newLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	l := &lab{t: t, c: testenv.Client(t, imagev1.AddToScheme, sourcev1.AddToScheme), ns: testenv.Namespace(t), events: record.NewFakeRecorder(1000)}
	l.registry = newImageServer(t)
	if o.git.Username == "" && o.git.Bearer == "" {
		o.git.Username, o.git.Password = user, password
	}
	git, err := gitserver.Start(o.git)
	if err != nil {
		t.Fatal(err)
	}
	l.git = git
	t.Cleanup(func() { git.Close() })
	if o.storage == "" {
		o.storage = t.TempDir()
	}
	tags, err := tagdb.Open(o.storage + "/tags")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := gitrepo.NewPool(gitrepo.Options{Dir: o.storage + "/git"})
	if err != nil {
		t.Fatal(err)
	}
	c := l.c
	if o.between != nil {
		c = interceptor.NewClient(c, *o.between)
	}
	env := &process.Env{
		Name: "test", FieldOwner: "test", Manager: testenv.Direct(c), RequeueDependency: 30 * time.Second,
		Recorder: events.New(events.Options{Controller: "test", Scheme: l.c.Scheme(), Kubernetes: l.events}),
	}
	registryClient := &registry.Client{}
	built, err := buildtime.Open(o.storage+"/built", registryClient)
	if err != nil {
		t.Fatal(err)
	}
	logins, err := cloudlogin.New(cloudlogin.Options{Client: l.c})
	if err != nil {
		t.Fatal(err)
	}
	access := imagerepository.Access{Reader: l.c, Logins: logins}
	l.repositories = loop.New(env, &imagerepository.Reconciler{Access: access, Registry: registryClient, Tags: tags, Now: time.Now})
	l.chooser = &imagepolicy.Reconciler{
		Client: l.c, Live: l.c, Access: access, Registry: registryClient, Tags: tags, Built: built,
		NoCrossNamespaceRefs: o.noCrossNamespace, RequeueDependency: env.RequeueDependency,
	}
	l.tags = tags
	l.policies = loop.New(env, l.chooser)
	l.automations = loop.New(env, &imageupdate.Reconciler{
		Client: l.c, Live: l.c, Git: pool, Auth: gitauth.New(gitauth.Options{Secrets: l.c, Logins: logins, Apps: githubapp.NewTokens(githubapp.TokensOptions{})}), Now: time.Now, NoCrossNamespaceRefs: o.noCrossNamespace, ForcePush: !o.noForce,
	})
	l.create(&corev1.Secret{ObjectMeta: l.meta("registry"), Type: corev1.SecretTypeDockerConfigJson, Data: dockerConfig(l.registry.host, password)})
	l.create(&corev1.Secret{ObjectMeta: l.meta("git"), Data: map[string][]byte{"username": []byte(user), "password": []byte(password)}})
	return l
}

func dockerConfig(host, password string) map[string][]byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth)}
}

func (l *lab) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.ns, Name: name}
}

func (l *lab) create(obj client.Object) {
	l.t.Helper()
	if err := l.c.Create(l.t.Context(), obj); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) update(obj client.Object, change func()) {
	l.t.Helper()
	if err := l.c.Get(l.t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		l.t.Fatal(err)
	}
	change()
	if err := l.c.Update(l.t.Context(), obj); err != nil {
		l.t.Fatal(err)
	}
}

// repository makes an ImageRepository and pushes its first tags.
func (l *lab) repository(name string, tags ...string) *imagev1.ImageRepository {
	l.t.Helper()
	l.registry.push(name, tags...)
	repo := &imagev1.ImageRepository{ObjectMeta: l.meta(name), Spec: imagev1.ImageRepositorySpec{
		Image: l.registry.image(name), Interval: duration.New(time.Hour), Timeout: ptr(duration.New(20 * time.Second)),
		SecretRef: &meta.LocalObjectReference{Name: "registry"},
	}}
	l.create(repo)
	return repo
}

func (l *lab) policy(name, repository, versions string) *imagev1.ImagePolicy {
	l.t.Helper()
	p := &imagev1.ImagePolicy{ObjectMeta: l.meta(name), Spec: imagev1.ImagePolicySpec{
		ImageRepositoryRef: meta.NamespacedObjectReference{Name: repository},
		Policy:             imagev1.ImagePolicyChoice{SemVer: &imagev1.SemVerPolicy{Range: versions}},
	}}
	l.create(p)
	return p
}

// automation makes a Git repository with files, its GitRepository and an
// ImageUpdateAutomation.
func (l *lab) automation(name string, files map[string]string, change func(*imagev1.ImageUpdateAutomation)) *imagev1.ImageUpdateAutomation {
	l.t.Helper()
	if err := l.git.Init(name, files); err != nil {
		l.t.Fatal(err)
	}
	l.create(&sourcev1.GitRepository{ObjectMeta: l.meta(name), Spec: sourcev1.GitRepositorySpec{
		URL: l.git.URL(name), Interval: duration.New(time.Hour), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		SecretRef: &meta.LocalObjectReference{Name: "git"},
	}})
	auto := &imagev1.ImageUpdateAutomation{ObjectMeta: l.meta(name), Spec: imagev1.ImageUpdateAutomationSpec{
		SourceRef: imagev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: name}, Interval: duration.New(time.Hour),
		GitSpec: &imagev1.GitSpec{Commit: imagev1.CommitSpec{Author: imagev1.CommitUser{Name: "Bot", Email: "bot@example.com"}}},
	}}
	if change != nil {
		change(auto)
	}
	l.create(auto)
	return auto
}

// scan, choose and commit run the reconciler of an object once and return it as
// it is afterwards.
func (l *lab) scan(repo *imagev1.ImageRepository) error { return run(l, l.repositories, repo) }

func (l *lab) choose(p *imagev1.ImagePolicy) error { return run(l, l.policies, p) }

func (l *lab) commit(auto *imagev1.ImageUpdateAutomation) error { return run(l, l.automations, auto) }

func run[T loop.Object](l *lab, r *loop.Reconciler[T], obj T) error {
	l.t.Helper()
	_, err := r.Reconcile(l.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
	if err := client.IgnoreNotFound(l.c.Get(l.t.Context(), client.ObjectKeyFromObject(obj), obj)); err != nil {
		l.t.Fatal(err)
	}
	return err
}

// ready asserts the Ready condition of an object.
func (l *lab) ready(obj loop.Object, status metav1.ConditionStatus, reason string, texts ...string) {
	l.t.Helper()
	ready := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
	if ready == nil || ready.Status != status || ready.Reason != reason {
		l.t.Fatalf("%T: Ready is %+v, want %s with reason %s", obj, ready, status, reason)
	}
	for _, text := range texts {
		if !strings.Contains(ready.Message, text) {
			l.t.Errorf("%T: the message %q lacks %q", obj, ready.Message, text)
		}
	}
	if strings.Contains(ready.Message, password) {
		l.t.Errorf("%T: the message holds the password", obj)
	}
}

func stalled(obj loop.Object) bool {
	return apimeta.IsStatusConditionTrue(obj.GetConditions(), meta.StalledCondition)
}

// told drains the events recorded so far.
func (l *lab) told() []string {
	var out []string
	for {
		select {
		case e := <-l.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func (l *lab) file(repo, branch, path string) string {
	l.t.Helper()
	content, err := l.git.File(repo, branch, path)
	if err != nil {
		l.t.Fatal(err)
	}
	return content
}

// log lists the subjects of a branch, newest first.
func (l *lab) log(repo, branch string) []string {
	l.t.Helper()
	out, err := l.git.Git(repo, "log", "--format=%s", branch)
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// imageServer is a registry behind basic authentication.
type imageServer struct {
	t        *testing.T
	host     string
	requests atomic.Int64

	mu   sync.Mutex
	many map[string][]string // tags by repository, of images that are not there
}

// pretend makes a repository list tags without images behind them.
func (s *imageServer) pretend(repository string, tags ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.many == nil {
		s.many = map[string][]string{}
	}
	s.many["/v2/org/"+repository+"/tags/list"] = tags
}

// list answers for a repository of pretended tags.
func (s *imageServer) list(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags, ok := s.many[r.URL.Path]
	if ok {
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": tags})
	}
	return ok
}

func newImageServer(t *testing.T) *imageServer {
	s := &imageServer{t: t}
	quiet := log.New(io.Discard, "", 0)
	inner := ggcr.New(ggcr.Logger(quiet))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if !s.list(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.host = u.Host
	return s
}

func (s *imageServer) image(name string) string { return s.host + "/org/" + name }

// push pushes an image under each tag, and returns the digest of the last.
func (s *imageServer) push(repository string, tags ...string) (digest string) {
	s.t.Helper()
	for _, tag := range tags {
		digest = s.pushBuilt(repository, tag, nil)
	}
	return digest
}

// pushBuilt pushes an image that says when it was built.
func (s *imageServer) pushBuilt(repository, tag string, at *time.Time) (digest string) {
	s.t.Helper()
	ref, err := name.NewTag(s.image(repository) + ":" + tag)
	if err != nil {
		s.t.Fatal(err)
	}
	image, err := random.Image(16, 1)
	if err == nil && at != nil {
		image, err = mutate.CreatedAt(image, v1.Time{Time: *at})
	}
	if err == nil {
		err = remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password}), remote.WithContext(context.Background()))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	hash, err := image.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	digest = hash.String()
	return digest
}

func ptr[T any](v T) *T { return &v }
