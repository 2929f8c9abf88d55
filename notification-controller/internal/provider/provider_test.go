package provider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	planted = "planted-secret-value"
	sha     = "0123456789012345678901234567890123456789"
)

func sample() *eventv1.Event {
	return &eventv1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Kustomization", Namespace: "ns", Name: "apps"},
		Severity:       "error", Message: "no", Reason: "HealthCheckFailed", ReportingController: "kustomize-controller",
		Metadata: map[string]string{"revision": "main@sha1:" + sha},
	}
}

// sink is a real endpoint that gives the answers in turn, then 200.
type sink struct {
	*httptest.Server
	seen   []*http.Request
	bodies []string
}

func newSink(t *testing.T, answers ...http.HandlerFunc) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(body))
		if len(s.seen) <= len(answers) {
			answers[len(s.seen)-1](w, r)
			return
		}
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, "[]")
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func senderTo(t *testing.T, name, address string) Sender {
	t.Helper()
	s, err := types[name].New(Target{
		Address: address + "/owner/" + planted, Token: planted, UID: "abcd-1", Channel: "ops",
		Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnswers(t *testing.T) {
	secrets.Register(planted)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	tests := map[string]struct {
		answer http.HandlerFunc
		fails  bool
		final  bool
		after  time.Duration
	}{
		"ok":          {answer: nil},
		"500":         {answer: status(500), fails: true},
		"429":         {answer: status(429, "Retry-After", "7"), fails: true, after: 7 * time.Second},
		"403 limited": {answer: status(403, "Retry-After", "9"), fails: true, after: 9 * time.Second},
		"404":         {answer: status(404), fails: true, final: true},
		"redirect":    {answer: status(307, "Location", "http://127.0.0.1:1/"), fails: true, final: true},
		"no answer":   {answer: hang, fails: true},
		"quotes secrets": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "bad "+r.URL.Path+r.Header.Get("Authorization"), 500)
		}, fails: true},
	}
	for name, typ := range types {
		if typ.New == nil {
			continue
		}
		for what, tt := range tests {
			t.Run(name+"/"+what, func(t *testing.T) {
				var answers []http.HandlerFunc
				if tt.answer != nil {
					answers = append(answers, tt.answer)
				}
				s := senderTo(t, name, newSink(t, answers...).URL)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				if what == "no answer" {
					cancel()
					ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
				}
				defer cancel()
				err := s.Send(ctx, sample())
				if (err != nil) != tt.fails || IsFinal(err) != tt.final || RetryAfter(err) != tt.after {
					t.Fatalf("got %v (final %t, after %s)", err, IsFinal(err), RetryAfter(err))
				}
				if err != nil && strings.Contains(err.Error(), planted) {
					t.Errorf("the secret is in the error: %v", err)
				}
				if tt.fails && !tt.final { // the next attempt succeeds
					if err := s.Send(context.Background(), sample()); err != nil {
						t.Errorf("second attempt: %v", err)
					}
				}
			})
		}
	}
}

func TestGenericSendsTheEvent(t *testing.T) {
	to := newSink(t)
	for _, name := range []string{"generic", "generic-hmac"} {
		if err := senderTo(t, name, to.URL).Send(context.Background(), sample()); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range to.seen {
		got := &eventv1.Event{}
		if err := json.Unmarshal([]byte(to.bodies[i]), got); err != nil || got.Message != "no" || r.Header.Get("gotk-component") != "kustomize-controller" {
			t.Errorf("request %d: %s, %v", i, to.bodies[i], err)
		}
	}
	if got, want := to.seen[1].Header.Get("X-Signature"), "sha256="+sign([]byte(to.bodies[1]), planted); got != want {
		t.Errorf("X-Signature %q, want %q", got, want)
	}
}

func TestGitHubStatus(t *testing.T) {
	to := newSink(t)
	s := senderTo(t, "github", to.URL)
	if err := s.Send(context.Background(), sample()); err != nil {
		t.Fatal(err)
	}
	const want = `{"state":"failure","context":"kustomization/apps/abcd","description":"health check failed"}`
	if len(to.bodies) != 2 || to.bodies[1] != want || to.seen[1].URL.Path != "/api/v3/repos/owner/"+planted+"/statuses/"+sha {
		t.Fatalf("got %q", to.bodies)
	}
	to = newSink(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "["+want+"]") })
	if err := senderTo(t, "github", to.URL).Send(context.Background(), sample()); err != nil || len(to.seen) != 1 {
		t.Errorf("a status that is there already: %d requests, %v", len(to.seen), err)
	}
	progressing := sample()
	progressing.Reason = "Progressing"
	if err := senderTo(t, "github", to.URL).Send(context.Background(), progressing); err != nil || len(to.seen) != 1 {
		t.Errorf("Progressing: %d requests, %v", len(to.seen), err)
	}
}

func TestSlackAPIRefusal(t *testing.T) {
	for said, final := range map[string]bool{"channel_not_found": true, "ratelimited": false} {
		to := newSink(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"ok":false,"error":"`+said+`"}`)
		})
		err := senderTo(t, "slack", to.URL).Send(context.Background(), sample())
		if err == nil || IsFinal(err) != final || to.seen[0].Header.Get("Authorization") != "Bearer "+planted {
			t.Errorf("%s: %v (final %t)", said, err, IsFinal(err))
		}
	}
}

func TestGitHubAPI(t *testing.T) {
	tests := map[string]string{
		"https://github.com/o/r":        "https://api.github.com/repos/o/r",
		"https://github.com/o/r.git":    "https://api.github.com/repos/o/r",
		"https://ghe.example.com/o/r":   "https://ghe.example.com/api/v3/repos/o/r",
		"https://ghe.example.com/o/r/x": "",
		"git@github.com:o/r":            "",
		"https://github.com/o":          "",
	}
	for address, want := range tests {
		got, err := githubAPI(address)
		if want == "" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", address, err)
			}
			continue
		}
		if u, _ := url.Parse(want); err != nil || got.String() != u.String() {
			t.Errorf("%s: got %v, %v", address, got, err)
		}
	}
}
