package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/testenv"
)

// tokenOf asks the API server for a token of a new service account.
func tokenOf(t *testing.T, c client.Client, namespace, name string, audience string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// TestEventTokens requires tokens of the senders, as the component event-tokens does:
// the real program asks the API server whose they are.
func TestEventTokens(t *testing.T) {
	c := testenv.Client(t, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, kustomizev1.AddToScheme)
	ns := testenv.Namespace(t)
	got := make(chan string, 10)
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got <- string(body)
		}
	}))
	t.Cleanup(sink.Close)
	in := metav1.ObjectMeta{Namespace: ns, Name: "tokens"}
	create(t, c, &notificationv1beta3.Provider{ObjectMeta: in, Spec: notificationv1beta3.ProviderSpec{Type: "generic", Address: sink.URL}}, alertOf(in))
	addr := freeAddr(t)
	runProgram(t, t.TempDir(), addr, "--require-event-token", "--event-senders="+ns+"/kustomize-controller")
	sender := tokenOf(t, c, ns, "kustomize-controller", events.TokenAudience)
	for name, tt := range map[string]struct {
		authorization string
		want          int
	}{
		"nothing":            {"", http.StatusUnauthorized},
		"no token":           {"Bearer nonsense", http.StatusUnauthorized},
		"for somebody else":  {"Bearer " + tokenOf(t, c, ns, "elsewhere", "vault"), http.StatusUnauthorized},
		"of somebody else":   {"Bearer " + tokenOf(t, c, ns, "tenant", events.TokenAudience), http.StatusForbidden},
		"of a sender":        {"Bearer " + sender, http.StatusAccepted},
		"of a sender, again": {"bearer " + sender, http.StatusAccepted},
	} {
		body, err := json.Marshal(eventv1.Event{
			InvolvedObject: corev1.ObjectReference{APIVersion: "kustomize.toolkit.fluxcd.io/v1", Kind: "Kustomization", Namespace: ns, Name: "apps"},
			Severity:       "info", Timestamp: metav1.Now(), Message: name, Reason: "Test", ReportingController: "kustomize-controller",
		})
		if err != nil {
			t.Fatal(err)
		}
		header := map[string]string{}
		if tt.authorization != "" {
			header["Authorization"] = tt.authorization
		}
		if code := post(t, "http://"+addr+"/", body, header); code != tt.want {
			t.Errorf("%s: got %d, want %d", name, code, tt.want)
		}
	}
	for range 2 {
		if told := <-got; !strings.Contains(told, "of a sender") {
			t.Errorf("an event that was refused is told: %s", told)
		}
	}

	// The other controllers show the token of their file.
	file := filepath.Join(t.TempDir(), "token")
	recorder := events.New(events.Options{Controller: "kustomize-controller", Scheme: c.Scheme(), Kubernetes: record.NewFakeRecorder(10), Address: "http://" + addr + "/", TokenFile: file})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- recorder.Start(ctx) }()
	k := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "apps"}}
	if err := os.WriteFile(file, []byte(sender+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recorder.Normal(k, "Test", "from the recorder", nil)
	select {
	case told := <-got:
		if !strings.Contains(told, "from the recorder") {
			t.Errorf("got %s", told)
		}
	case <-time.After(30 * time.Second):
		t.Error("the event of a controller with a token did not arrive")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
