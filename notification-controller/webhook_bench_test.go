package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// BenchmarkPush measures the way from a signed push of GitHub to the
// annotation on the GitRepository, which is there before the answer is.
func BenchmarkPush(b *testing.B) {
	const token = "a-token-of-thirty-two-characters"
	c := testenv.Client(b, notificationv1.AddToScheme, sourcev1.AddToScheme)
	ns := testenv.Namespace(b)
	in := metav1.ObjectMeta{Namespace: ns, Name: "demo"}
	create(b, c, &corev1.Secret{ObjectMeta: in, StringData: map[string]string{"token": token}},
		&sourcev1.GitRepository{ObjectMeta: in, Spec: sourcev1.GitRepositorySpec{URL: "https://example.com/x"}}, receiverOf(in, "github"))
	hooks := freeAddr(b)
	runProgram(b, b.TempDir(), freeAddr(b), "--receiverAddr", hooks, "--webhook-rate-limit", "0")
	path := ""
	watchFor(b, c, &notificationv1.ReceiverList{}, ns, func(obj runtime.Object) bool {
		r, ok := obj.(*notificationv1.Receiver)
		if ok && apimeta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
			path = r.Status.WebhookPath
		}
		return path != ""
	})
	body := []byte(`{"ref":"refs/heads/main","repository":{"full_name":"org/app"}}`)
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write(body)
	header := map[string]string{"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}
	for post(b, "http://"+hooks+path, body, header) != http.StatusOK { // the cache shows the path a moment later
		time.Sleep(10 * time.Millisecond)
	}
	var took []time.Duration
	before := annotated(b, c, ns)
	for b.Loop() {
		began := time.Now()
		if code := post(b, "http://"+hooks+path, body, header); code != http.StatusOK {
			b.Fatalf("got %d", code)
		}
		took = append(took, time.Since(began))
		now := annotated(b, c, ns)
		if now == before {
			b.Fatal("the object was not annotated")
		}
		before = now
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func annotated(b *testing.B, c client.Client, ns string) string {
	b.Helper()
	g := &sourcev1.GitRepository{}
	if err := c.Get(b.Context(), client.ObjectKey{Namespace: ns, Name: "demo"}, g); err != nil {
		b.Fatal(err)
	}
	return g.Annotations[meta.ReconcileRequestAnnotation]
}
