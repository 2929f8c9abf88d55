package custody

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

// TestCollectFails asserts that people are told when old artifacts cannot be removed.
func TestCollectFails(t *testing.T) {
	dir := t.TempDir()
	store, err := artifact.NewStore(artifact.StoreOptions{Dir: dir, Host: "source-controller.test"})
	sourcetest.Must(t, err)
	scheme := runtime.NewScheme()
	sourcetest.Must(t, sourcev1.AddToScheme(scheme))
	told := record.NewFakeRecorder(10)
	c := &Custodian{Kind: sourcev1.BucketKind, Store: store, Recorder: events.New(events.Options{Controller: "test", Scheme: scheme, Kubernetes: told})}
	b := &sourcev1.Bucket{}
	b.Namespace, b.Name = "ns", "app"
	b.Status.Artifact = &meta.Artifact{Path: "bucket/ns/app/x.tar.gz"}

	c.Collect(b, nil)
	if got := sourcetest.Told(told); len(got) > 0 {
		t.Errorf("nothing to remove is told as %q", got)
	}
	records := filepath.Join(dir, ".weir", "records", "bucket", "ns")
	sourcetest.Must(t, os.MkdirAll(records, 0o700))
	sourcetest.Must(t, os.WriteFile(filepath.Join(records, "app"), nil, 0o600)) // where a folder should be
	c.Collect(b, nil)
	got := sourcetest.Told(told)
	if len(got) != 1 || !strings.HasPrefix(got[0], "Warning "+sourcev1.GarbageCollectionFailedReason+" ") || strings.Contains(got[0], dir) {
		t.Errorf("got the events %q", got)
	}
}
