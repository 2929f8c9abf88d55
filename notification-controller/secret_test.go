package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/testenv"
)

const plantedToken = "pl4nted/t0ken+of=this test"

// forms are the ways in which the planted token might be written.
func forms() []string {
	return []string{
		plantedToken, url.QueryEscape(plantedToken), url.PathEscape(plantedToken),
		base64.StdEncoding.EncodeToString([]byte(plantedToken)), base64.URLEncoding.EncodeToString([]byte(plantedToken)),
	}
}

// within returns a form of the token that is in text, or "". The last bytes of
// base64 say nothing of the token, and may be left.
func within(text string) string {
	for _, form := range forms() {
		if form = form[:24]; strings.Contains(text, form) {
			return form
		}
	}
	return ""
}

// A destination that answers with all that it was sent, in every form, cannot
// make the program tell a secret: not in its log, not in an event. Nor can who
// calls a webhook.
func TestPlantedSecretIsNotTold(t *testing.T) {
	c := testenv.Client(t, notificationv1.AddToScheme, notificationv1beta3.AddToScheme, sourcev1.AddToScheme)
	ns := testenv.Namespace(t)
	asked := make(chan struct{}, 100)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "%s %v %s", r.RequestURI, r.Header, strings.Join(forms(), " "))
		asked <- struct{}{}
	}))
	t.Cleanup(echo.Close)
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	create(t, c, &corev1.Secret{ObjectMeta: in("demo"), StringData: map[string]string{
		"token": plantedToken, "password": plantedToken, "username": "me", "headers": "Authorization: " + plantedToken,
		"address": echo.URL + "/" + url.PathEscape(plantedToken) + "?token=" + url.QueryEscape(plantedToken),
	}})
	types := []string{"generic", "generic-hmac", "slack", "discord", "msteams", "webex", "grafana", "alertmanager", "gitlab", "opsgenie"}
	for _, kind := range types {
		p := &notificationv1beta3.Provider{ObjectMeta: in(kind), Spec: notificationv1beta3.ProviderSpec{Type: kind, Channel: "x", SecretRef: &meta.LocalObjectReference{Name: "demo"}}}
		create(t, c, p, alertOf(in(kind)))
	}
	create(t, c, receiverOf(in("demo"), "gitlab"))
	addr, hooks := freeAddr(t), freeAddr(t)
	cmd := runProgram(t, t.TempDir(), addr, "--receiverAddr", hooks, "--log-level", "debug")
	if code := post(t, "http://"+addr+"/", failure(t, ns, "about nothing secret"), nil); code != http.StatusAccepted {
		t.Fatalf("got %d", code)
	}
	path := ""
	watchFor(t, c, &notificationv1.ReceiverList{}, ns, func(obj runtime.Object) bool {
		r, ok := obj.(*notificationv1.Receiver)
		if ok && apimeta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
			path = r.Status.WebhookPath
		}
		return path != ""
	})
	for _, header := range []string{"", plantedToken + "x", "x" + plantedToken} {
		post(t, "http://"+hooks+path, []byte(plantedToken), map[string]string{"X-Gitlab-Token": header, "X-Gitlab-Event": "Push Hook"})
	}
	told := map[string]bool{}
	watchFor(t, c, &corev1.EventList{}, ns, func(obj runtime.Object) bool {
		e, ok := obj.(*corev1.Event)
		if !ok || e.InvolvedObject.Kind != "Alert" || e.Reason != notificationv1beta3.NotificationDispatchFailedReason {
			return false
		}
		told[e.InvolvedObject.Name] = true
		if within(e.Message) != "" {
			t.Errorf("an event of %s holds the secret: %s", e.InvolvedObject.Name, e.Message)
		}
		return len(told) >= 5 // enough of the types have failed; the log has all
	})
	if len(asked) == 0 {
		t.Error("the destination was never asked")
	}
	log, err := os.ReadFile(cmd.Stdout.(*os.File).Name())
	if err != nil {
		t.Fatal(err)
	}
	if form := within(string(log)); form != "" {
		t.Errorf("the log holds %q of the secret", form)
	}
}

// With the flag, the endpoint takes the events of those senders that show the
// token of an account on the list, and of nobody else.
func TestSendersShowTokens(t *testing.T) {
	c := testenv.Client(t, notificationv1.AddToScheme, notificationv1beta3.AddToScheme)
	ns := testenv.Namespace(t)
	sink := newOutage(t)
	sink.end()
	in := metav1.ObjectMeta{Namespace: ns, Name: "demo"}
	create(t, c,
		&notificationv1beta3.Provider{ObjectMeta: in, Spec: notificationv1beta3.ProviderSpec{Type: "generic", Address: sink.URL}},
		alertOf(in))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{events.TokenAudience}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(request.Status.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	runProgram(t, t.TempDir(), addr, "--require-event-token", "--event-senders", ns+"/default")
	for header, want := range map[string]int{"": 401, "Bearer x": 401} {
		if code := post(t, "http://"+addr+"/", failure(t, ns, "forged"), map[string]string{"Authorization": header}); code != want {
			t.Errorf("with the header %q: got %d, want %d", header, code, want)
		}
	}
	r := events.New(events.Options{Controller: "kustomize-controller", Scheme: c.Scheme(), Address: "http://" + addr + "/", TokenFile: file, Log: ctrl.Log})
	go func() { _ = r.Start(t.Context()) }()
	about := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "apps"}}
	about.APIVersion, about.Kind = "kustomize.toolkit.fluxcd.io/v1", "Kustomization"
	var obj client.Object = about
	r.Warning(obj, "BuildFailed", "true", nil)
	select {
	case message := <-sink.taken:
		if message != "true" {
			t.Errorf("%q was told", message)
		}
	case <-time.After(time.Minute):
		t.Error("the event of a sender with a token was not told")
	}
}
