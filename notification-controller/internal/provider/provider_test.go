package provider

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.Options{After: cloudtest.Trust()}) }

const (
	planted = "planted-secret-value"
	sha     = "0123456789012345678901234567890123456789"
)

// sample is an error with everything that an event can have.
func sample() *eventv1.Event {
	return &eventv1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Kustomization", Namespace: "ns", Name: "apps", UID: "uid-1"},
		Severity:       "error", Message: "no <way>", Reason: "HealthCheckFailed", ReportingController: "kustomize-controller",
		Timestamp: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		Metadata:  map[string]string{"revision": "main@sha1:" + sha, "summary": "staging", "change_request": "7"},
	}
}

// sampleJSON is sample as it stands on the wire.
const sampleJSON = `{
 "involvedObject": {
  "kind": "Kustomization",
  "namespace": "ns",
  "name": "apps",
  "uid": "uid-1"
 },
 "severity": "error",
 "timestamp": "2026-01-02T03:04:05Z",
 "message": "no <way>",
 "reason": "HealthCheckFailed",
 "metadata": {
  "change_request": "7",
  "revision": "main@sha1:0123456789012345678901234567890123456789",
  "summary": "staging"
 },
 "reportingController": "kustomize-controller"
}`

// recovery is the event that ends what sample began.
func recovery() *eventv1.Event {
	e := sample()
	e.Severity, e.Message, e.Reason = "info", "fine again", "ReconciliationSucceeded"
	return e
}

func progressing() *eventv1.Event {
	e := recovery()
	e.Reason = "Progressing"
	return e
}

// sink is a real endpoint that gives the answers in turn, then 200.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
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
		if r.URL.Path == googleTokenPath {
			googleToken(w)
			return
		}
		s.mu.Lock()
		s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(body))
		n := len(s.seen)
		s.mu.Unlock()
		if n <= len(answers) {
			answers[n-1](w, r)
			return
		}
		switch {
		case strings.Contains(r.URL.Path, "/builds") || strings.Contains(r.URL.Path, "/statuses/build/"):
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusNotFound) // Bitbucket has no status yet
			}
		case strings.Contains(r.URL.Path, "/_apis/"):
			_, _ = io.WriteString(w, `{"value":[]}`)
		case r.Method == http.MethodGet:
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

// detour sends every request to the sink, whatever its host, so that types
// whose service has one address can be tested too.
type detour struct{ to string }

func (d detour) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(d.to)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
	return http.DefaultTransport.RoundTrip(r)
}

// targetAt is a complete target for a type, with the sink as its service.
func targetAt(name, address string) Target {
	t := Target{
		Address: address + "/owner/" + planted, Token: planted, UID: "abcd-1", Channel: "ops", Login: "me", Password: planted,
		Client: &http.Client{
			Transport:     detour{address},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	switch name {
	case "zulip":
		t.Channel = "ops/flux"
	case "bitbucket":
		t.Token = "me:" + planted
	case "bitbucketserver":
		t.Address = address + "/git/scm/owner/" + planted + ".git"
	case "azuredevops":
		t.Address = address + "/org/owner/_git/" + planted
	case "sentry":
		t.Address = strings.Replace(address, "://", "://"+planted+"@", 1) + "/42"
	case "googlepubsub":
		t.Address, t.Token = "my-project", googleKey(address+googleTokenPath)
	case "azureeventhub":
		t.Address = "hub"
	case "nats":
		t.Address = "nats://" + planted + "@127.0.0.1:1"
	}
	t.Memory = &memory{}
	return t
}

// anAlert is the Alert that wants the events of tests.
func anAlert() *notificationv1beta3.Alert {
	a := &notificationv1beta3.Alert{}
	a.Namespace, a.Name, a.UID = "ns", "all", "alert-uid"
	return a
}

// send sends as Loaded does.
func send(ctx context.Context, s Sender, event *eventv1.Event) error {
	return (&Loaded{sender: s, Timeout: time.Minute}).Send(ctx, anAlert(), event)
}

func senderTo(t *testing.T, name, address string) Sender {
	t.Helper()
	s, err := byName[name].New(targetAt(name, address))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is one that a provider has to make, and what it is answered.
type request struct {
	method, uri string
	header      map[string]string
	body        string // JSON; compared by what it says
	code        int    // 0 is 200
	answer      string
}

// expect sends an event and compares every request that is made for it.
func expect(t *testing.T, name string, event *eventv1.Event, wants ...request) {
	t.Helper()
	made := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == googleTokenPath {
			googleToken(w)
			return
		}
		made++
		if made > len(wants) {
			t.Errorf("one request too many: %s %s", r.Method, r.RequestURI)
			return
		}
		want := wants[made-1]
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.Method != want.method || r.RequestURI != want.uri {
			t.Errorf("request %d: got %s %s\nwant %s %s", made, r.Method, r.RequestURI, want.method, want.uri)
		}
		for k, v := range want.header {
			if got := r.Header.Get(k); got != v {
				t.Errorf("request %d: header %s is %q, want %q", made, k, got, v)
			}
		}
		if diff := cmp.Diff(meaning(strings.ReplaceAll(want.body, "{base}", "http://"+r.Host)), meaning(string(body))); diff != "" {
			t.Errorf("request %d: body %s (-want +got):\n%s", made, body, diff)
		}
		if want.code != 0 {
			w.WriteHeader(want.code)
		}
		_, _ = io.WriteString(w, want.answer)
	}))
	defer server.Close()
	if err := send(t.Context(), senderTo(t, name, server.URL), event); err != nil {
		t.Fatal(err)
	}
	if made != len(wants) {
		t.Errorf("%d requests, want %d", made, len(wants))
	}
}

// words are those of a failure, each followed by that of a recovery.
type words []string

// expectBoth is expect for a failure; and for the recovery, which has to make the same
// requests but for the words of the event and those that the type has for such things.
func expectBoth(t *testing.T, name string, own words, wants ...request) {
	t.Helper()
	expect(t, name, sample(), wants...)
	other := strings.NewReplacer(append(slices.Clone(own),
		"no <way>", "fine again", "no &lt;way&gt;", "fine again", `"severity": "error"`, `"severity": "info"`,
		"HealthCheckFailed", "ReconciliationSucceeded", "healthcheckfailed", "reconciliationsucceeded", "health check failed", "reconciliation succeeded",
	)...)
	var recovered []request
	for _, want := range wants {
		want.uri, want.body, want.header = other.Replace(want.uri), other.Replace(want.body), maps.Clone(want.header)
		for name, value := range want.header {
			want.header[name] = other.Replace(value)
		}
		recovered = append(recovered, want)
	}
	expect(t, name, recovery(), recovered...)
}

// meaning decodes JSON; what is none stays a string.
func meaning(body string) any {
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return body
	}
	return v
}

// refuses checks that a change of the target is not accepted.
func refuses(t *testing.T, name string, changes map[string]func(*Target)) {
	t.Helper()
	for what, change := range changes {
		target := targetAt(name, "https://service.example.com")
		change(&target)
		if _, err := byName[name].New(target); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %s: got %v", name, what, err)
		} else if strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %s: the secret is in the error: %v", name, what, err)
		}
	}
}

func noToken(t *Target)   { t.Token = "" }
func noChannel(t *Target) { t.Channel = "" }
func noAddress(t *Target) { t.Address = "" }
func badAddress(t *Target) {
	t.Address = "ftp://service.example.com/" + planted
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
		"endless": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			for taken, block := 0, make([]byte, 1<<16); ; taken += len(block) {
				if _, err := w.Write(block); err != nil {
					return
				}
				if taken > 64<<20 { // far more than what the system keeps on the way
					t.Error("the whole answer was read")
					return
				}
			}
		}, fails: true},
		"quotes secrets": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "bad "+r.URL.Path+r.Header.Get("Authorization"), 500)
		}, fails: true},
	}
	for name := range byName {
		if name == "nats" || name == "azureeventhub" {
			continue // they do not speak HTTP
		}
		for what, tt := range tests {
			t.Run(name+"/"+what, func(t *testing.T) {
				if what == "404" && strings.HasPrefix(name, "bitbucket") {
					t.Skip("there a 404 says that a commit has no status yet")
				}
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
				err := send(ctx, s, sample())
				if (err != nil) != tt.fails || IsFinal(err) != tt.final || RetryAfter(err) != tt.after {
					t.Fatalf("got %v (final %t, after %s)", err, IsFinal(err), RetryAfter(err))
				}
				if err != nil && strings.Contains(err.Error(), planted) {
					t.Errorf("the secret is in the error: %v", err)
				}
				if tt.fails && !tt.final { // the next attempt succeeds
					if err := send(t.Context(), s, sample()); err != nil {
						t.Errorf("second attempt: %v", err)
					}
				}
			})
		}
	}
}

// TestEveryTypeHasATest finds types without a file of tests.
func TestEveryTypeHasATest(t *testing.T) {
	for name := range byName {
		file := strings.NewReplacer(".", "", "-", "").Replace(name) + "_test.go"
		if _, err := os.Stat(file); err != nil {
			t.Errorf("type %q: %v", name, err)
		}
	}
}

func TestDestinationIsNeverInErrors(t *testing.T) {
	for name := range byName {
		if name != "telegram" && name != "webex" && name != "pagerduty" {
			refuses(t, name, map[string]func(*Target){"no address": noAddress})
		}
		if name != "telegram" && name != "azureeventhub" {
			refuses(t, name, map[string]func(*Target){"another scheme": badAddress})
		}
	}
}
