// Package sourcetest is what the tests of all kinds of sources share: a reconciler
// that is called by hand on a real API server, archives, a registry, and servers that
// mean harm.
package sourcetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/go-logr/logr/funcr"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The logs of a reconciler are of no interest, but for its panics.
var logPanics = sync.OnceFunc(func() {
	ctrl.SetLogger(funcr.New(func(_, line string) {
		if strings.Contains(line, "panic in a ") {
			fmt.Fprintln(os.Stderr, strings.ReplaceAll(line, `\n`, "\n"))
		}
	}, funcr.Options{}))
})

// newEnv returns what a reconciler runs in that the test calls itself, with c as its
// client, and where its events arrive.
func newEnv(c client.Client) (*process.Env, *record.FakeRecorder) {
	logPanics()
	told := record.NewFakeRecorder(1000)
	recorder := events.New(events.Options{Controller: "source-controller", Scheme: c.Scheme(), Kubernetes: told})
	return &process.Env{Name: "source-controller", FieldOwner: "source-controller", Manager: testenv.Direct(c), Recorder: recorder, Concurrent: 1}, told
}

// Told returns the events since the last call, as "<type> <reason> <message> …".
func Told(r *record.FakeRecorder) (out []string) {
	for {
		select {
		case e := <-r.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// Source is an object that publishes artifacts.
type Source interface {
	client.Object
	GetArtifact() *meta.Artifact
	GetConditions() []metav1.Condition
	GetObservedGeneration() int64
}

// checkReady ends the test unless obj is ready, in its present generation.
func checkReady(t testing.TB, obj Source) {
	t.Helper()
	c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionTrue || obj.GetObservedGeneration() != obj.GetGeneration() {
		t.Fatalf("%s is not ready: %+v", obj.GetName(), obj.GetConditions())
	}
}

// checkFailed ends the test unless Ready is False for the reason, and asserts that the
// message has all the texts in it, and nothing of what is secret.
func checkFailed(t testing.TB, obj Source, reason string, texts []string, secret ...string) {
	t.Helper()
	c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
		t.Fatalf("%s: Ready is %+v, want False with reason %s", obj.GetName(), c, reason)
	}
	for _, text := range texts {
		if !strings.Contains(c.Message, text) {
			t.Errorf("the message %q does not name %q", c.Message, text)
		}
	}
	for _, word := range secret {
		if strings.Contains(c.Message, word) {
			t.Errorf("the message tells too much: %s", c.Message)
		}
	}
}

// Stalled tells whether only an edit helps obj.
func Stalled(obj Source) bool {
	return apimeta.IsStatusConditionTrue(obj.GetConditions(), meta.StalledCondition)
}

// download gets a path of a file server.
func download(t testing.TB, h http.Handler, path string) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s answers %d", path, w.Code)
	}
	return w.Body.Bytes()
}

// checkGone asserts that a file server has nothing at path.
func checkGone(t testing.TB, h http.Handler, path string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+path, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("GET %s answers %d", path, w.Code)
	}
}

// unpacked returns what is in a tar.gz archive, but for folders.
func unpacked(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	Must(t, err)
	out := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		Must(t, err)
		data, err := io.ReadAll(tr)
		Must(t, err)
		if h.Typeflag != tar.TypeDir {
			out[h.Name] = string(data)
		}
	}
}

// Archive is a tar.gz archive of what write writes.
func Archive(t testing.TB, write func(*tar.Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	write(tw)
	Must(t, tw.Close())
	Must(t, zw.Close())
	return out.Bytes()
}

// Tarball is a tar.gz archive of files, whose names get the prefix.
func Tarball(t testing.TB, prefix string, files map[string]string) []byte {
	t.Helper()
	return Archive(t, func(tw *tar.Writer) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			Must(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: prefix + name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Now()}))
			_, err := io.WriteString(tw, files[name])
			Must(t, err)
		}
	})
}

// Authority is the certificate that a server is known by, as PEM.
func Authority(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// TLS serves h over TLS for the time of the test. Handshakes that clients break off are
// not logged.
func TLS(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// Registry is a registry without authentication.
func Registry() http.Handler {
	return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))
}

// writes returns what fn changed, or wanted to, in the namespace, as
// testenv.AuditEvent writes it, in order.
func writes(t testing.TB, namespace string, fn func()) (out []string) {
	t.Helper()
	before := len(testenv.Audit(t))
	fn()
	for _, e := range testenv.Audit(t)[before:] {
		if e.Namespace == namespace && e.Writes() && e.User != "system:serviceaccount:kube-system:namespace-controller" {
			out = append(out, e.String())
		}
	}
	return out
}
