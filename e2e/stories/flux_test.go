package stories

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/toolkit"
)

// livingFlux names a folder with Flux's own programs.
const livingFlux = "WEIR_FLUX_BIN"

// Flux's own source-controller and kustomize-controller, running, hand a cluster
// over one after the other, and the second gets it back: Weir writes nothing to
// what Flux had applied, prunes by Flux's inventory, and Flux deletes by Weir's.
func TestTakeOverFromALivingFlux(t *testing.T) {
	onProcesses(t)
	if os.Getenv(livingFlux) == "" {
		t.Skipf("%s is not set: tools/flux.sh builds Flux's programs, and says how", livingFlux)
	}
	git, err := gitserver.Start(gitserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { git.Close() })
	if err := git.Init("app", map[string]string{"app/all.yaml": managed, "app/extra.yaml": extra}); err != nil {
		t.Fatal(err)
	}
	m := &migration{}
	var c client.Client
	m.kubeconfig, m.audit, c = bareCluster(t, "")
	m.story = &story{T: t, Client: c, ns: "default", git: git, plan: map[string]bool{}}
	if m.applied, err = utils.ReadObjects(strings.NewReader(managed)); err != nil {
		t.Fatal(err)
	}
	repo := &sourcev1.GitRepository{ObjectMeta: m.meta("app"), Spec: sourcev1.GitRepositorySpec{
		URL: git.URL("app"), Interval: duration.New(never), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
	}}
	m.create(repo)
	k := &kustomizev1.Kustomization{ObjectMeta: m.meta("app"), Spec: kustomizev1.KustomizationSpec{
		Interval: duration.New(never), Prune: true, Path: "./app",
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "app"},
	}}
	m.create(k)
	handled := func() string { return k.Status.LastHandledReconcileAt }

	oldSource, old := m.startFlux(toolkit.Source), m.startFlux(toolkit.Kustomize)
	m.ready(repo)
	m.ready(k)
	before, uid, generation := identities(t, c, m.applied), k.UID, k.Generation
	inventory := m.inventory(k)
	if managers(k, "gotk-kustomize-controller") == 0 || !slices.Contains(k.Finalizers, kustomizev1.KustomizationFinalizer) || len(inventory) != len(m.applied)+1 {
		t.Fatalf("Flux was not at work here: %+v", k)
	}
	m.takeSource(oldSource, repo)
	m.request(k, handled) // Flux's kustomize-controller works with our sources
	m.stop(old)

	// Weir takes over and finds nothing to do.
	weir := m.startWeir(toolkit.Kustomize)
	m.request(k, handled)
	if diff := cmp.Diff(before, identities(t, c, m.applied)); diff != "" {
		t.Errorf("applied objects (-Flux +Weir):\n%s", diff)
	}
	if diff := cmp.Diff(inventory, m.inventory(k)); diff != "" {
		t.Errorf("inventory (-Flux +Weir):\n%s", diff)
	}
	if k.UID != uid || k.Generation != generation {
		t.Errorf("the Kustomization was made anew or changed")
	}
	// What leaves the source is pruned, although Flux had applied it.
	if _, err := git.Commit("app", "main", "Leave", map[string]string{"app/extra.yaml": strings.Replace(extra, "extra", "other", 1)}); err != nil {
		t.Fatal(err)
	}
	m.request(repo, func() string { return repo.Status.LastHandledReconcileAt })
	m.request(k, handled)
	m.there("extra", false)
	m.there("other", true)
	before = identities(t, c, m.applied)
	inventory = m.inventory(k)
	m.stop(weir)

	// Flux is back, finds nothing to do either, and deletes all that Weir left.
	old = m.startFlux(toolkit.Kustomize)
	m.request(k, handled)
	if diff := cmp.Diff(before, identities(t, c, m.applied)); diff != "" {
		t.Errorf("applied objects (-Weir +Flux):\n%s", diff)
	}
	if diff := cmp.Diff(inventory, m.inventory(k)); diff != "" {
		t.Errorf("inventory (-Weir +Flux):\n%s", diff)
	}
	if err := c.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	m.eventually("the Kustomization is gone", func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(k), k); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("%v, finalizers %v", err, k.Finalizers)
		}
		return ""
	})
	m.there("other", false)
	m.there("settings", false)
	m.stop(old)
}

// extra is an object that leaves the source.
const extra = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra, namespace: default}\n"

// takeSource lets Weir's source-controller take the place of Flux's.
func (m *migration) takeSource(old *toolkit.Process, repo *sourcev1.GitRepository) {
	m.Helper()
	if managers(repo, "source-controller") == 0 || !slices.Contains(repo.Finalizers, sourcev1.SourceFinalizer) {
		m.Fatalf("Flux was not at work here: %+v", repo)
	}
	before := repo.DeepCopy()
	m.stop(old)
	weir := m.startWeir(toolkit.Source)
	m.eventually("the artifact is ours", func() string {
		if err := m.Get(m.Context(), client.ObjectKeyFromObject(repo), repo); err != nil {
			return err.Error()
		}
		if repo.Status.Artifact == nil || !strings.Contains(repo.Status.Artifact.URL, weir.Address(toolkit.Source, "artifacts")) {
			return fmt.Sprintf("%+v", repo.Status.Artifact)
		}
		return ""
	})
	m.ready(repo)
	if repo.UID != before.UID || repo.Generation != before.Generation || repo.Status.Artifact.Revision != before.Status.Artifact.Revision {
		m.Errorf("the GitRepository was %+v and is %+v", before, repo)
	}
}

// startFlux starts a program of Flux's, which knows other flags.
func (m *migration) startFlux(name string) *toolkit.Process {
	m.Helper()
	address := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			m.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	args := []string{"--metrics-addr=" + address(), "--health-addr=" + address()}
	if name == toolkit.Source {
		files := address()
		args = append(args, "--storage-path="+m.TempDir(), "--storage-addr="+files, "--storage-adv-addr="+files)
	}
	p, err := toolkit.StartProcess(toolkit.ProcessOptions{
		Name: "flux-" + name, Path: filepath.Join(os.Getenv(livingFlux), name), LogDir: m.TempDir(), Args: args,
		Env: []string{"KUBECONFIG=" + m.kubeconfig, "RUNTIME_NAMESPACE=default", "TMPDIR=" + m.TempDir()},
	})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if m.Failed() {
			m.Logf("Flux's %s said:\n%s", name, p.Tail(30))
		}
		_ = p.Stop()
	})
	return p
}

// startWeir starts a program of Weir's.
func (m *migration) startWeir(name string) *toolkit.Toolkit {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), patience)
	defer cancel()
	tools, err := toolkit.Start(ctx, toolkit.Options{BinDir: bin(m.T), WorkDir: m.TempDir(), Kubeconfig: m.kubeconfig, Programs: []string{name}})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = tools.Stop() })
	return tools
}

func (m *migration) stop(p interface{ Stop() error }) {
	m.Helper()
	if err := p.Stop(); err != nil {
		m.Error(err)
	}
}

// inventory returns the entries of the inventory, in order.
func (m *migration) inventory(k *kustomizev1.Kustomization) (out []string) {
	m.Helper()
	if k.Status.Inventory == nil {
		m.Fatal("there is no inventory")
	}
	for _, e := range k.Status.Inventory.Entries {
		out = append(out, e.ID+" "+e.Version)
	}
	slices.Sort(out)
	return out
}

// there checks whether a ConfigMap is there.
func (m *migration) there(name string, want bool) {
	m.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("ConfigMap")
	err := m.Get(m.Context(), client.ObjectKey{Namespace: "default", Name: name}, u)
	if client.IgnoreNotFound(err) != nil || (err == nil) != want {
		m.Errorf("the ConfigMap %s: %v, want it there: %v", name, err, want)
	}
}

// managers counts the entries of a field manager.
func managers(obj client.Object, name string) (n int) {
	for _, e := range obj.GetManagedFields() {
		if e.Manager == name {
			n++
		}
	}
	return n
}
