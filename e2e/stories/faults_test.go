package stories

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/e2e/cluster"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

var full = flag.Bool("full", false, "let faults last as long as they may last, not only a few seconds")

// lasting is how long a fault lasts.
func lasting(short, long time.Duration) time.Duration {
	if *full {
		return long
	}
	return short
}

const (
	faultyKustomizations = 8
	faultyObjects        = 4 // of each
)

// troubled is a stage whose programs reach the API server through a proxy.
type troubled struct {
	*story
	local   *toolkit.Toolkit
	proxy   *testenv.Proxy
	audited int
	repo    *sourcev1.GitRepository
	round   int
}

// onProcesses skips a story that needs the programs as processes of its own.
func onProcesses(t *testing.T) {
	t.Helper()
	if cluster.Wanted() {
		t.Skip("it stands between programs and the API server, or stops them, which a cluster's Pods do not allow")
	}
}

// standAside stops the programs of all stories, if they run, until the story is
// over: two of a kind without a leader would work against each other.
func standAside(t *testing.T) {
	t.Helper()
	local, ok := shared.tools.(*toolkit.Toolkit)
	if !ok {
		return
	}
	both := []string{toolkit.Source, toolkit.Kustomize}
	for _, name := range both {
		if err := local.Process(name).Stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, name := range both {
			if err := local.Run(name); err != nil {
				t.Fatal(err)
			}
			if err := local.WaitReady(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// beginTroubled installs some Kustomizations while there is no trouble yet.
func beginTroubled(t *testing.T) *troubled {
	t.Helper()
	onProcesses(t)
	standAside(t)
	git, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	proxy := testenv.StartProxy(t, testenv.Config(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	local, err := toolkit.Start(ctx, toolkit.Options{
		BinDir: bin(t), WorkDir: t.TempDir(), Kubeconfig: proxy.Kubeconfig(t), Programs: []string{toolkit.Source, toolkit.Kustomize},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		proxy.Make(testenv.Trouble{})
		if err := local.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := &troubled{local: local, proxy: proxy, story: &story{T: t, Client: testenv.Client(t, addToScheme...), ns: testenv.Namespace(t),
		git: git, tools: local, plan: map[string]bool{}}}
	s.audited = len(testenv.Audit(t))
	if err := git.Init("app", s.files()); err != nil {
		t.Fatal(err)
	}
	s.repo = &sourcev1.GitRepository{ObjectMeta: s.meta("app"), Spec: sourcev1.GitRepositorySpec{
		URL: git.URL("app"), Interval: duration.New(time.Second), Reference: &sourcev1.GitRepositoryRef{Branch: "main"}}}
	s.create(s.repo)
	retry := duration.New(2 * time.Second)
	for i := range faultyKustomizations {
		s.create(&kustomizev1.Kustomization{ObjectMeta: s.meta(fmt.Sprintf("app-%d", i)), Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(10 * time.Minute), RetryInterval: &retry, Prune: true, Path: fmt.Sprintf("./app-%d", i), TargetNamespace: s.ns,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"}}})
	}
	s.converges(s.head())
	return s
}

// files is the content of the repository in the current round: all objects
// have its number, and one of each Kustomization is of that round only.
func (s *troubled) files() map[string]string {
	files := map[string]string{}
	for i := range faultyKustomizations {
		for j := range faultyObjects {
			name := fmt.Sprintf("cm-%d-%d", i, j)
			files[fmt.Sprintf("app-%d/%s.yaml", i, name)] = configMap(name, fmt.Sprint(s.round))
		}
		files[fmt.Sprintf("app-%d/passing.yaml", i)] = configMap(s.passing(i), fmt.Sprint(s.round))
	}
	return files
}

// passing names the object of Kustomization i that only this round has.
func (s *troubled) passing(i int) string { return fmt.Sprintf("passing-%d-%d", i, s.round) }

// next commits another round.
func (s *troubled) next() string {
	s.Helper()
	for i := range faultyKustomizations {
		s.plan["configmaps/"+s.passing(i)] = true
	}
	s.round++
	return s.commit(fmt.Sprintf("Round %d", s.round), s.files())
}

func (s *troubled) head() string {
	s.Helper()
	hash, err := s.git.Git("app", "rev-parse", "main")
	if err != nil {
		s.Fatal(err)
	}
	return hash[:40]
}

// converges waits until everything is as the commit says, and nothing else.
func (s *troubled) converges(hash string) {
	s.Helper()
	want := map[string]bool{}
	for i := range faultyKustomizations {
		for j := range faultyObjects {
			want[fmt.Sprintf("cm-%d-%d", i, j)] = true
		}
		want[s.passing(i)] = true
	}
	s.eventually("all is as the last commit says", func() string {
		var all kustomizev1.KustomizationList
		if err := s.List(s.Context(), &all, client.InNamespace(s.ns)); err != nil {
			return err.Error()
		}
		for _, k := range all.Items {
			if k.Status.LastAppliedRevision != "main@sha1:"+hash || s.current(&k) != "" {
				return fmt.Sprintf("%s: %+v", k.Name, k.Status.Conditions)
			}
			if len(k.Status.Inventory.Entries) != faultyObjects+1 {
				return fmt.Sprintf("%s: inventory %+v", k.Name, k.Status.Inventory)
			}
		}
		var maps corev1.ConfigMapList
		if err := s.List(s.Context(), &maps, client.InNamespace(s.ns), client.HasLabels{kustomizev1.GroupVersion.Group + "/name"}); err != nil {
			return err.Error()
		}
		for _, cm := range maps.Items {
			if !want[cm.Name] || cm.Data["value"] != fmt.Sprint(s.round) || len(cm.Data) != 1 {
				return fmt.Sprintf("%s is there with %q", cm.Name, cm.Data)
			}
		}
		if len(maps.Items) != len(want) {
			return fmt.Sprintf("%d objects, want %d", len(maps.Items), len(want))
		}
		return ""
	})
}

// over checks what must be true after every fault.
func (s *troubled) over() {
	s.Helper()
	for _, name := range []string{toolkit.Source, toolkit.Kustomize} {
		select {
		case <-s.local.Process(name).Ended():
			s.Errorf("%s ended:\n%s", name, s.local.Process(name).Tail(20))
		default:
		}
	}
	s.deletedOnlyPlanned(s.audited)
	s.inventoriesAreComplete()
}

// byHand edits one object of a Kustomization and deletes another one.
func (s *troubled) byHand(i int) {
	s.Helper()
	edit := &corev1.ConfigMap{ObjectMeta: s.meta(fmt.Sprintf("cm-%d-0", i))}
	if err := s.Patch(s.Context(), edit, client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"by hand","more":"by hand"}}`)), client.FieldOwner("kubectl-edit")); err != nil {
		s.Fatal(err)
	}
	if err := s.Delete(s.Context(), &corev1.ConfigMap{ObjectMeta: s.meta(fmt.Sprintf("cm-%d-1", i))}); err != nil {
		s.Fatal(err)
	}
}

// A tenth of all answers are errors or broken connections, and all are slow:
// commits and edits by hand go on meanwhile.
func TestErrorsOfTheAPIServer(t *testing.T) {
	s := beginTroubled(t)
	s.proxy.Make(testenv.Trouble{Share: .1, Latency: lasting(100*time.Millisecond, 2*time.Second)})
	for end := time.Now().Add(lasting(6*time.Second, 2*time.Minute)); time.Now().Before(end); time.Sleep(lasting(time.Second, 10*time.Second)) {
		s.next()
	}
	last := s.head()
	s.proxy.Make(testenv.Trouble{})
	s.converges(last)
	s.byHand(2)
	s.converges(last)
	s.over()
	if made := s.proxy.Made(); len(made) < 4 {
		t.Errorf("only these faults were made: %v", made)
	}
}

// The API server says nothing at all for a while.
func TestFrozenAPIServer(t *testing.T) {
	s := beginTroubled(t)
	s.proxy.Freeze()
	last := s.next()
	s.byHand(1)
	time.Sleep(lasting(4*time.Second, time.Minute))
	s.proxy.Thaw()
	s.converges(last)
	s.over()
}

// Watches are silent though their connections stand; what happens meanwhile is
// put right when they speak again.
func TestStalledWatches(t *testing.T) {
	s := beginTroubled(t)
	s.proxy.StallWatches()
	last := s.next()
	s.byHand(0)
	time.Sleep(lasting(3*time.Second, time.Minute))
	s.proxy.ResumeWatches()
	s.converges(last)
	s.proxy.CutConnections()
	s.byHand(3)
	s.converges(last)
	s.over()
}

// etcd is away: the API server answers, and refuses everything.
func TestWithoutEtcd(t *testing.T) {
	s := beginTroubled(t)
	s.proxy.Make(testenv.Trouble{Refuse: func(r *http.Request) bool { return r.URL.Query().Get("watch") != "true" }})
	s.proxy.CutConnections()
	s.byHand(1)
	last := s.next()
	time.Sleep(lasting(3*time.Second, 30*time.Second))
	s.proxy.Make(testenv.Trouble{})
	s.converges(last)
	s.over()
}
