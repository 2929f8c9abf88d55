package sourcetest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// Promise is an object of one kind, which is not reconciled yet and will be ready, and
// what it takes to hold its kind to what all kinds promise.
type Promise struct {
	T         *testing.T
	C         client.Client
	Resource  string // of the kind, as in URLs
	Storage   string // the folder of the store
	Reconcile func() Source
	Change    func(n int) // gives the source something new
	Break     func(broken bool)
	Asked     func() int // of the source, since the last call
	Told      func() []string
	Restart   func() // is a new process over the same storage
	Files     func() http.Handler
}

// Hold asserts what all kinds promise, of one object each that prepare makes.
func Hold(t *testing.T, prepare func(t *testing.T) Promise) {
	t.Helper()
	for name, promise := range map[string]func(Promise){
		"writes": Promise.countWrites, "tampering": Promise.tellTampering, "suspended": Promise.loseWhileSuspended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(prepare(t))
		})
	}
}

// told returns the events since the last call, but for those of old artifacts that
// were removed, which other controllers are not sent.
func (p Promise) told() []string {
	return slices.DeleteFunc(p.Told(), func(e string) bool {
		return strings.HasPrefix(e, "Normal "+sourcev1.GarbageCollectionSucceededReason+" ")
	})
}

func (p Promise) ready() Source {
	p.T.Helper()
	obj := p.Reconcile()
	checkReady(p.T, obj)
	return obj
}

// costs asserts what the next reconciliation writes, which may be nothing.
func (p Promise) costs(what, namespace string, want ...string) {
	p.T.Helper()
	if got := writes(p.T, namespace, func() { p.Reconcile() }); !slices.Equal(got, want) {
		p.T.Errorf("%s costs the writes %q, want %q", what, got, want)
	}
}

// countWrites asserts that there is one write of the status for each change, also for
// one to the worse, and none when there was nothing new.
func (p Promise) countWrites() {
	p.T.Helper()
	namespace := p.Reconcile().GetNamespace() // claims, and publishes
	p.ready()
	status := "patch " + p.Resource + "/status"
	for range 3 {
		p.costs("a timed look with nothing new", namespace)
	}
	if told := p.told(); len(told) != 1 {
		p.T.Errorf("the events of all that are %q, want the first artifact", told)
	}
	for n := range 3 {
		p.Change(n)
		p.costs(fmt.Sprintf("change %d", n), namespace, status)
		p.costs("nothing new after it", namespace)
		if told := p.told(); len(told) != 1 {
			p.T.Errorf("change %d is told as %q", n, told)
		}
	}
	p.patch(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	p.costs("a request that finds nothing new", namespace, status)
	p.costs("the same request again", namespace)
	if told := p.told(); len(told) != 0 {
		p.T.Errorf("a request that finds nothing new is told as %q", told)
	}
	p.Break(true)
	p.costs("a failure", namespace, status)
	p.costs("the same failure", namespace)
	if told := p.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Warning ") {
		p.T.Errorf("a failure, twice, is told as %q", told)
	}
	p.Break(false)
	p.costs("a recovery", namespace, status)
	p.costs("nothing new after it", namespace)
	if told := p.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Normal ") {
		p.T.Errorf("the recovery is told as %q", told)
	}
}

func (p Promise) patch(json string) {
	p.T.Helper()
	Must(p.T, p.C.Patch(p.T.Context(), p.Reconcile(), client.RawPatch(types.MergePatchType, []byte(json))))
}

// tellTampering asserts that an artifact which somebody changed is not served, is made
// again with the same bytes, and that people are told; and that a lost one is put back
// silently.
func (p Promise) tellTampering() {
	p.T.Helper()
	want := p.ready().GetArtifact()
	p.told()
	file := filepath.Join(p.Storage, filepath.FromSlash(want.Path))
	Must(p.T, os.Remove(file)) // not in place: the file shares its bytes with the store's
	Must(p.T, os.WriteFile(file, []byte("something else"), 0o600))
	checkGone(p.T, p.Files(), want.Path)
	if got := p.ready().GetArtifact(); got.Digest != want.Digest || got.Revision != want.Revision {
		p.T.Errorf("it was replaced by %+v", got)
	}
	download(p.T, p.Files(), want.Path)
	if told := p.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Warning "+sourcev1.ArtifactVerificationFailedReason+" ") || !strings.Contains(told[0], want.Revision) {
		p.T.Errorf("the events are %q", told)
	}
	Must(p.T, os.Remove(file))
	p.ready()
	download(p.T, p.Files(), want.Path)
	if told := p.told(); len(told) != 0 {
		p.T.Errorf("a lost file is told as a changed one: %q", told)
	}
}

// loseWhileSuspended asserts what a suspended object says whose artifact is lost with
// the volume: the truth, once, without looking for anything new; and that it recovers
// when the volume is back, and when it is resumed.
func (p Promise) loseWhileSuspended() {
	p.T.Helper()
	want := p.ready().GetArtifact()
	p.patch(`{"spec":{"suspend":true}}`)
	p.Change(0)
	p.told()
	p.Asked()
	before := p.Reconcile()
	kept := p.T.TempDir()
	p.swap(kept)
	lost := p.lost(want)
	if again := p.Reconcile(); again.GetResourceVersion() != lost.GetResourceVersion() || len(p.told()) != 0 {
		p.T.Error("that it is lost was told twice")
	}

	p.swap(kept)
	download(p.T, p.Files(), want.Path)
	back := p.Reconcile()
	for _, kind := range []string{meta.ReadyCondition, sourcev1.ArtifactInStorageCondition} {
		was, is := apimeta.FindStatusCondition(before.GetConditions(), kind), apimeta.FindStatusCondition(back.GetConditions(), kind)
		if is == nil || is.Status != metav1.ConditionTrue || is.Reason != was.Reason || is.Message != was.Message {
			p.T.Errorf("%s was %+v and came back as %+v", kind, was, is)
		}
	}
	if n := p.Asked(); n != 0 || Stalled(back) || back.GetArtifact().Digest != want.Digest {
		p.T.Errorf("the volume is back, %d questions were asked, status is %+v %+v", n, back.GetArtifact(), back.GetConditions())
	}

	p.swap(p.T.TempDir())
	p.told()
	p.lost(want)
	p.patch(`{"spec":{"suspend":false}}`)
	now := p.ready().GetArtifact()
	if now.Revision == want.Revision {
		p.T.Error("it was resumed, and did not see the change")
	}
	download(p.T, p.Files(), now.Path)
}

// swap changes the content of the storage for that of another folder, as a new process
// on another volume finds it.
func (p Promise) swap(other string) {
	p.T.Helper()
	aside := p.T.TempDir()
	for _, move := range [][2]string{{p.Storage, aside}, {other, p.Storage}, {aside, other}} {
		entries, err := os.ReadDir(move[0])
		Must(p.T, err)
		for _, e := range entries {
			Must(p.T, os.Rename(filepath.Join(move[0], e.Name()), filepath.Join(move[1], e.Name())))
		}
	}
	p.Restart()
}

// lost reconciles once and asserts that status tells of the loss.
func (p Promise) lost(want *meta.Artifact) Source {
	p.T.Helper()
	obj := p.Reconcile()
	checkGone(p.T, p.Files(), want.Path)
	if a := obj.GetArtifact(); a == nil || a.Revision != want.Revision {
		p.T.Errorf("it is forgotten at which revision it was suspended: %+v", a)
	}
	for kind, status := range map[string]metav1.ConditionStatus{
		meta.ReadyCondition: metav1.ConditionFalse, sourcev1.ArtifactInStorageCondition: metav1.ConditionFalse, meta.StalledCondition: metav1.ConditionTrue,
	} {
		c := apimeta.FindStatusCondition(obj.GetConditions(), kind)
		if c == nil || c.Status != status || c.Reason != sourcev1.NoArtifactReason || !strings.Contains(c.Message, want.Revision) {
			p.T.Errorf("%s is %+v", kind, c)
		}
	}
	if told := p.told(); len(told) != 1 || !strings.HasPrefix(told[0], "Warning "+sourcev1.NoArtifactReason+" ") {
		p.T.Errorf("the loss is told as %q", told)
	}
	if n := p.Asked(); n != 0 {
		p.T.Errorf("%d questions were asked for a suspended object", n)
	}
	return obj
}

// Attacked asserts that an object which a hostile server has answered failed for one of
// the reasons, in the time that it had when the server is silent, and that nothing of the
// answer was published or is left in the store's temporary files.
func Attacked(t *testing.T, obj Source, a Attack, storage string, reasons ...string) {
	t.Helper()
	c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse || !slices.Contains(reasons, c.Reason) {
		t.Fatalf("Ready is %+v, want False with one of the reasons %v", c, reasons)
	}
	if a.Silent && !strings.Contains(c.Message, "timeout") {
		t.Errorf("the message does not tell of the timeout: %s", c.Message)
	}
	if Stalled(obj) {
		t.Errorf("what a server does stalls the object: %s", c.Message)
	}
	if obj.GetArtifact() != nil {
		t.Errorf("published %+v", obj.GetArtifact())
	}
	if left, err := os.ReadDir(filepath.Join(storage, ".weir", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
}
