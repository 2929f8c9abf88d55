package upstream

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func transport(t *testing.T, o Options) *Transport {
	t.Helper()
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func get(t *testing.T, ctx context.Context, tr *Transport, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// TestPatience asserts that a server which asks for time is asked once, by all
// transports with the same credentials, and that others and other hosts are not held up.
func TestPatience(t *testing.T) {
	for name, header := range map[string]string{
		"seconds": "3600", "date": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat),
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.Header().Set("Retry-After", header)
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			defer busy.Close()
			free := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
			defer free.Close()
			var shared Patience
			for range 50 {
				tr := transport(t, Options{Who: "robot", Patience: &shared})
				_, err := get(t, t.Context(), tr, busy.URL)
				if b, ok := errors.AsType[*Busy](err); !ok || b.After < 59*time.Minute || b.After > time.Hour {
					t.Fatalf("got %v, want to be told to wait for an hour", err)
				}
				if body, err := get(t, t.Context(), tr, free.URL); body != "here" || err != nil {
					t.Fatalf("another host: %q, %v", body, err)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("the server was asked %d times, want once", asked.Load())
			}
			_, _ = get(t, t.Context(), transport(t, Options{Who: "other", Patience: &shared}), busy.URL)
			if asked.Load() != 2 {
				t.Errorf("other credentials were held up as well")
			}
		})
	}
}

// TestPatienceEnds asserts that a server is asked again after its time, and that
// nonsense in the header is no reason to wait.
func TestPatienceEnds(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Retry-After", r.URL.Query().Get("after"))
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	tr := transport(t, Options{})
	for _, after := range []string{"0", "", "-1", "soon", "0"} {
		_, _ = get(t, t.Context(), tr, s.URL+"?after="+after)
	}
	if asked.Load() != 5 {
		t.Errorf("the server was asked %d times, want 5", asked.Load())
	}
	if after, ok := retryAfter("99999999999"); ok || after != 0 {
		if after > maxBusy {
			t.Errorf("a server may ask for %s", after)
		}
	}
	if after, ok := retryAfter("604800"); !ok || after != maxBusy {
		t.Errorf("a week became %s, %v; want %s", after, ok, maxBusy)
	}
}

// TestPatienceWithoutATime asserts that a server which answers "too many requests" and
// nothing else is left alone for longer and longer, until it has stopped that.
func TestPatienceWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Patience
		const who, host = "robot", "registry.test"
		answer := func(status int, after string) time.Duration {
			t.Helper()
			err := p.Note(who, host, &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}})
			busy, _ := errors.AsType[*Busy](err)
			if busy == nil {
				return 0
			}
			return busy.After
		}
		for _, want := range []time.Duration{10, 20, 40, 80, 160, 320, 600, 600} {
			want *= time.Second
			if got := answer(http.StatusTooManyRequests, ""); got != want {
				t.Fatalf("it is left alone for %s, want %s", got, want)
			}
			time.Sleep(time.Second) // those who had asked at the same time get their answers
			if got := answer(http.StatusTooManyRequests, "soon"); got != want-time.Second {
				t.Fatalf("another answer to the same load makes it %s", got)
			}
			if p.Ask(who, host) == nil || p.Ask("other", host) != nil || p.Ask(who, "other.test") != nil {
				t.Fatal("not this one alone is left alone")
			}
			time.Sleep(want - time.Second)
			if err := p.Ask(who, host); err != nil || answer(http.StatusOK, "") != 0 {
				t.Fatalf("it is never asked again: %v", err)
			}
		}
		if got := answer(http.StatusTooManyRequests, "5"); got != 5*time.Second {
			t.Errorf("the time that it names does not count: %s", got)
		}
		if answer(http.StatusOK, "") != 0 || p.Ask(who, host) == nil {
			t.Error("an answer to somebody else ends the time that it named")
		}
		time.Sleep(time.Minute)
		if got := answer(http.StatusTooManyRequests, ""); got != minWait {
			t.Errorf("after a while it begins with %s", got)
		}
	})
}

func TestPatienceIsBounded(t *testing.T) {
	var p Patience
	for i := range maxHosts + 10 {
		resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}}
		if err := p.Note("", strings.Repeat("a", i), resp); err == nil {
			t.Fatal("the answer was not understood")
		}
	}
	if len(p.until) > maxHosts {
		t.Errorf("%d hosts are remembered", len(p.until))
	}
}

func TestBounds(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/error" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	defer s.Close()
	tr := transport(t, Options{MaxAnswer: 500})
	for name, c := range map[string]struct {
		path  string
		limit int64 // 0: not set
		large bool
	}{
		"by default":              {"/", 0, true},
		"allowed":                 {"/", 1000, false},
		"one more":                {"/", 999, true},
		"an error is not content": {"/error", 1000, true},
	} {
		ctx := t.Context()
		if c.limit > 0 {
			ctx = Limited(ctx, c.limit)
		}
		body, err := get(t, ctx, tr, s.URL+c.path)
		if errors.Is(err, ErrTooLarge) != c.large || !c.large && len(body) != 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(body), err)
		}
	}
}

func TestMaterial(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secure") }))
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	secret := func(data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "tls"}, Data: data}
	}
	for name, c := range map[string]struct {
		data map[string][]byte
		text string
	}{
		"new name":  {map[string][]byte{"ca.crt": ca}, ""},
		"old name":  {map[string][]byte{"caFile": ca}, ""},
		"nothing":   {map[string][]byte{"username": []byte("u")}, "neither"},
		"half":      {map[string][]byte{"ca.crt": ca, "tls.crt": ca}, "only one of"},
		"no PEM":    {map[string][]byte{"ca.crt": []byte("s3cret")}, "no certificate in PEM"},
		"no pair":   {map[string][]byte{"tls.crt": ca, "tls.key": []byte("s3cret")}, "no pair in PEM"},
		"wrong key": {map[string][]byte{"ca.crt": ca, "tls.key": []byte("s3cret")}, "only one of"},
	} {
		m, err := ReadMaterial(secret(c.data))
		if err == nil {
			var tr *Transport
			if tr, err = New(Options{TLS: m}); err == nil {
				body, err := get(t, t.Context(), tr, s.URL)
				if c.text != "" || body != "secure" {
					t.Errorf("%s: got %q, %v", name, body, err)
				}
				continue
			}
		}
		if c.text == "" || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.text)
		}
	}
	both := transport(t, Options{TLS: Material{CA: ca}, BesideCA: true})
	if body, err := get(t, t.Context(), both, s.URL); body != "secure" {
		t.Errorf("beside the system's authorities: %v", err)
	}
	if _, err := get(t, t.Context(), transport(t, Options{}), s.URL); err == nil {
		t.Error("an unknown authority was trusted")
	}
}

func TestProxy(t *testing.T) {
	for address, text := range map[string]string{"http://proxy:3128": "", "proxy": "no URL", "": "no URL", "://": "no URL"} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Data: map[string][]byte{"address": []byte(address), "username": []byte("u"), "password": []byte("s3cret")}}
		u, err := ReadProxy(s)
		if text == "" && (err != nil || u.User.String() != "u:s3cret") || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("%q: got %v, %v", address, u, err)
		}
	}
}
