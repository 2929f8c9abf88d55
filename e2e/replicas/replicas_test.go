package replicas

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/testenv"
)

// token returns one for artifacts, of a service account that may read those of the
// namespace.
func (g *rig) token() string {
	g.t.Helper()
	ctx := g.t.Context()
	must(g.t, g.c.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "reader"}}))
	must(g.t, g.c.Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"source.toolkit.fluxcd.io"}, Resources: []string{"helmrepositories/artifact"}, Verbs: []string{"get"}}},
	}))
	must(g.t, g.c.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: g.ns, Name: "reader"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
	}))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"weir-artifacts"}}}
	must(g.t, g.c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "reader"}}, request))
	return request.Status.Token
}

// copied waits until the replica has the artifact in its own folder.
func (g *rig) copied(r *replica, a *meta.Artifact) {
	g.t.Helper()
	g.eventually("the artifact is copied", func() string {
		if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(a.Path))); err != nil {
			return "it is not there"
		}
		return ""
	})
}

// Replicas share nothing: the one that waits is ready, serves what the other made,
// and has it when it takes over; one with an empty folder gets it from the others.
// All of that with authentication, which replicas need as anybody else.
func TestReplicas(t *testing.T) {
	t.Parallel()
	g := newRig(t, "--storage-auth", "--leader-election-lease-duration=60s", "--leader-election-renew-deadline=50s", "--leader-election-retry-period=5s")
	token := g.token()
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(token), 0o600))
	g.flags = append(g.flags, "--artifact-token-file="+file)

	first := g.start(0, t.TempDir())
	leader := g.taken("")
	second := g.start(1, t.TempDir()) // start waits until it is ready
	repo := g.create("app")
	g.ready(repo, "")
	a := repo.Status.Artifact
	for name, r := range map[string]*replica{"the leader": first, "the standby": second} {
		if code, body := g.get(r, a.Path, token); code != http.StatusOK || body != index("1.0.0") {
			t.Errorf("%s answers %d %q", name, code, body)
		}
		if code, _ := g.get(r, a.Path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s answers %d without a token", name, code)
		}
	}
	g.copied(second, a)
	g.eventually("the standby has the stable name", func() string {
		if _, err := os.Lstat(filepath.Join(second.dir, "helmrepository", g.ns, "app", "index.yaml")); err != nil {
			return "not there"
		}
		return ""
	})

	// The leader goes, in the middle of a download that takes its time. Who waited takes
	// over at once, with everything it needs.
	big := index("1.0.0") + strings.Repeat("  - name: app\n    version: 0.1.0\n    urls:\n    - app.tgz\n    description: "+strings.Repeat("x", 50_000)+"\n", 400)
	g.up.set(big, nil)
	g.request(repo, "big")
	g.ready(repo, "big")
	a = repo.Status.Artifact
	g.copied(second, a)
	slow := g.open(first, a.Path, token)
	defer slow.Close()
	var asked atomic.Int64
	g.up.set(big, func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		http.Error(w, "closed", http.StatusInternalServerError)
		return true
	})
	began := time.Now()
	first.signal(syscall.SIGTERM)
	next := g.taken(leader)
	took := time.Since(began)
	t.Logf("taken over %s after SIGTERM, with a download open", took.Round(10*time.Millisecond))
	if took > 30*time.Second { // the lease is for 60 s
		t.Errorf("the lease was not given back: %s", took)
	}
	// The download goes on meanwhile. On a machine that is slower than the seconds
	// that it has, it has been cut off.
	rest, err := io.ReadAll(slow)
	if took < 3*time.Second && (err != nil || len(rest) != len(big)) {
		t.Errorf("the download ended after %d of %d bytes: %v", len(rest), len(big), err)
	}
	first.wait()
	g.eventually("the new leader looks at the source", func() string {
		if asked.Load() == 0 {
			return "it did not"
		}
		return ""
	})
	if code, body := g.get(second, a.Path, token); code != http.StatusOK || body != big {
		t.Errorf("the new leader answers %d with %d bytes", code, len(body))
	}
	if got := g.read(repo).Status.Artifact; got == nil || got.Digest != a.Digest || !got.LastUpdateTime.Equal(&a.LastUpdateTime) {
		t.Errorf("the artifact changed from %+v to %+v", a, got)
	}

	// A new node with an empty volume.
	third := g.start(0, t.TempDir())
	g.copied(third, a)
	g.up.set(index("2.0.0"), nil)
	g.request(repo, "two")
	g.ready(repo, "two")
	if code, body := g.get(third, repo.Status.Artifact.Path, token); code != http.StatusOK || body != index("2.0.0") {
		t.Errorf("the standby answers %d %q for what is new", code, body)
	}
	g.copied(third, repo.Status.Artifact)

	// What is lost while it is suspended comes back from another replica.
	before := g.read(repo).DeepCopy()
	repo.Spec.Suspend = true
	must(t, g.c.Patch(t.Context(), repo, client.MergeFrom(before)))
	g.wipe(second.dir)
	g.copied(second, repo.Status.Artifact)
	if got := g.read(repo).Status; !apimeta.IsStatusConditionTrue(got.Conditions, meta.ReadyCondition) {
		t.Errorf("it is not lost, and status says %+v", got.Conditions)
	}
	must(t, g.c.Delete(t.Context(), repo))
	g.eventually("the standby removes what is gone", func() string {
		if _, err := os.Stat(filepath.Join(third.dir, "helmrepository", g.ns, "app")); !os.IsNotExist(err) {
			return "it is there"
		}
		return ""
	})
	_ = next
}

// A leader that is killed is followed when its lease has run out.
func TestKilledLeader(t *testing.T) {
	t.Parallel()
	g := newRig(t, "--leader-election-lease-duration=5s", "--leader-election-renew-deadline=4s", "--leader-election-retry-period=1s")
	first := g.start(0, t.TempDir())
	leader := g.taken("")
	second := g.start(1, t.TempDir())
	repo := g.create("app")
	g.ready(repo, "")
	g.copied(second, repo.Status.Artifact)
	began := time.Now()
	first.signal(syscall.SIGKILL)
	first.wait()
	g.taken(leader)
	t.Logf("taken over %s after SIGKILL, with a lease of 5 s", time.Since(began).Round(10*time.Millisecond))
	g.up.set(index("2.0.0"), nil)
	g.request(repo, "two")
	g.ready(repo, "two")
	if code, body := g.get(second, repo.Status.Artifact.Path, ""); code != http.StatusOK || body != index("2.0.0") {
		t.Errorf("the new leader answers %d %q", code, body)
	}
}

// A leader that was stopped in the middle of its work, and does not know that another
// has taken over, writes nothing when it goes on.
func TestStaleLeader(t *testing.T) {
	t.Parallel()
	g := newRig(t, "--leader-election-lease-duration=5s", "--leader-election-renew-deadline=4s", "--leader-election-retry-period=1s")
	first := g.start(0, t.TempDir())
	leader := g.taken("")
	reached, release := make(chan struct{}), make(chan struct{})
	var stale atomic.Bool
	g.up.set(index("1.0.0"), func(w http.ResponseWriter, _ *http.Request) bool {
		if stale.Swap(true) {
			return false // the other replica gets an answer
		}
		close(reached)
		<-release
		_, _ = w.Write([]byte(index("0.9.0")))
		return true
	})
	repo := g.create("app")
	<-reached
	g.start(1, t.TempDir())
	first.signal(syscall.SIGSTOP)
	g.taken(leader)
	_, since := g.holder()
	g.ready(repo, "")
	want := repo.Status.Artifact.Revision
	close(release) // the answer for which the stale leader waits is there when it wakes up
	first.signal(syscall.SIGCONT)
	first.wait()
	if got := g.read(repo).Status.Artifact.Revision; got != want {
		t.Errorf("the revision is %s, the leader had written %s", got, want)
	}
	writes := 0
	for _, e := range testenv.Audit(t) {
		if e.Impersonated != g.user(0) || !e.Writes() || e.Resource == "leases" {
			continue
		}
		if writes++; e.Code < 300 && strings.HasSuffix(e.Resource, "repositories") && e.Subresource == "status" {
			t.Logf("%s %s/%s by the first leader, which lost the lease at %s", e.Verb, e.Resource, e.Subresource, since)
		}
	}
	// The claim of the finalizer and, as the work took longer than a second, that it
	// goes on: both from before the other took over.
	if writes > 2 {
		t.Errorf("the first leader wrote %d times", writes)
	}
	if conditions := g.read(repo).Status.Conditions; !apimeta.IsStatusConditionTrue(conditions, meta.ReadyCondition) {
		t.Errorf("the status was overwritten: %+v", conditions)
	}
}

// A volume that was lost is said to be lost until everything is there again.
func TestEmptyVolume(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	dir := t.TempDir()
	only := g.start(0, dir)
	repo := g.create("app")
	g.ready(repo, "")
	a := repo.Status.Artifact

	// While the program runs, within a health tick.
	g.wipe(dir)
	g.eventually("what was wiped is made again", func() string {
		if code, body := g.get(only, a.Path, ""); code != http.StatusOK || body != index("1.0.0") {
			return body
		}
		return ""
	})

	// While it is down, and the source is, too.
	only.signal(syscall.SIGTERM)
	only.wait()
	g.up.set("", func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "closed", http.StatusInternalServerError)
		return true
	})
	only = g.start(0, t.TempDir())
	g.eventually("the status tells the truth", func() string {
		if s := g.read(repo).Status; s.Artifact != nil || apimeta.IsStatusConditionTrue(s.Conditions, meta.ReadyCondition) {
			return "it names what is lost"
		}
		return ""
	})
	g.up.set(index("1.0.0"), nil)
	g.request(repo, "again")
	g.ready(repo, "again")
	if code, body := g.get(only, repo.Status.Artifact.Path, ""); code != http.StatusOK || body != index("1.0.0") {
		t.Errorf("ready, and the file server answers %d %q", code, body)
	}
	if repo.Status.Artifact.Digest != a.Digest {
		t.Errorf("the digest became another: %s, was %s", repo.Status.Artifact.Digest, a.Digest)
	}
}

// wipe takes the artifacts of a program away that may be writing some at the moment.
func (g *rig) wipe(dir string) {
	g.t.Helper()
	g.eventually("the artifacts are gone", func() string {
		for _, folder := range []string{"helmrepository", filepath.Join(".weir", "blobs")} {
			if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}
