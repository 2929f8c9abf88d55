package intake

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"github.com/go-logr/logr"

	"github.com/weirhq/weir/notification-controller/internal/listener"
	"github.com/weirhq/weir/notification-controller/internal/sender"
)

const good = `{"involvedObject":{"apiVersion":"kustomize.toolkit.fluxcd.io/v1","kind":"Kustomization","namespace":"ns","name":"apps"},` +
	`"severity":"info","timestamp":"2026-01-01T00:00:00Z","message":"m","reason":"R","reportingController":"kustomize-controller"}`

func handlerOf(accept func(*eventv1.Event) error, now func() time.Time) *Handler {
	return NewHandler(Options{
		Accept: func(_ context.Context, e *eventv1.Event) error { return accept(e) }, Interval: 5 * time.Minute, Now: now, Log: logr.Discard(),
	})
}

func post(h http.Handler, body io.Reader, header ...string) int {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestBodies(t *testing.T) {
	tests := map[string]struct {
		body string
		want int
	}{
		"right":            {good, 202},
		"unknown field":    {strings.Replace(good, "{", `{"new":1,`, 1), 202},
		"empty":            {"", 400},
		"null":             {"null", 400},
		"list":             {"[]", 400},
		"no fields":        {"{}", 400},
		"wrong type":       {strings.Replace(good, `"m"`, `{}`, 1), 400},
		"unknown severity": {strings.Replace(good, `"info"`, `"fatal"`, 1), 400},
		"two events":       {good + good, 400},
		"no object":        {strings.Replace(good, `"name":"apps"`, `"name":""`, 1), 400},
		"long message":     {strings.Replace(good, `"m"`, `"`+strings.Repeat("x", maxMessage+1)+`"`, 1), 400},
		"too large":        {strings.Repeat(" ", listener.MaxBody+1), 413},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kept := 0
			h := handlerOf(func(*eventv1.Event) error { kept++; return nil }, nil)
			if got := post(h, strings.NewReader(tt.body)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			if (kept == 1) != (tt.want == 202) {
				t.Errorf("%d events kept", kept)
			}
		})
	}
}

func TestGzipIsRefused(t *testing.T) {
	h := handlerOf(func(*eventv1.Event) error { return nil }, nil)
	if got := post(h, strings.NewReader(good), "Content-Encoding", "gzip"); got != 400 {
		t.Errorf("got %d, want 400", got)
	}
}

func TestRepeats(t *testing.T) {
	now := time.Unix(0, 0)
	fail := false
	h := handlerOf(func(*eventv1.Event) error {
		if fail {
			return errors.New("disk full")
		}
		return nil
	}, func() time.Time { return now })
	revision := strings.Replace(good, `"reason"`, `"metadata":{"kustomize.toolkit.fluxcd.io/revision":"r2"},"reason"`, 1)
	steps := []struct {
		body  string
		after time.Duration
		fail  bool
		want  int
	}{
		{good, 0, true, 503},
		{good, 0, false, 202}, // what was not kept is no repeat
		{good, 4 * time.Minute, false, 429},
		{revision, 0, false, 202},
		{good, 2 * time.Minute, false, 202},
		{good, 0, false, 429},
	}
	for i, s := range steps {
		now, fail = now.Add(s.after), s.fail
		if got := post(h, strings.NewReader(s.body)); got != s.want {
			t.Errorf("step %d: got %d, want %d", i, got, s.want)
		}
	}
}

func TestAuthorizeComesFirst(t *testing.T) {
	for want, verdict := range map[int]error{202: nil, 401: sender.ErrToken, 403: sender.ErrAccount, 503: sender.ErrUnknown} {
		kept := 0
		h := NewHandler(Options{
			Accept:    func(context.Context, *eventv1.Event) error { kept++; return nil },
			Authorize: func(context.Context, http.Header) error { return verdict }, Log: logr.Discard(),
		})
		body := &unread{Reader: strings.NewReader(good)}
		if got := post(h, body); got != want || (kept == 1) != (want == 202) || body.read != (want == 202) {
			t.Errorf("got %d, %d kept, body read: %t; want %d", got, kept, body.read, want)
		}
	}
}

type unread struct {
	io.Reader
	read bool
}

func (u *unread) Read(p []byte) (int, error) { u.read = true; return u.Reader.Read(p) }

func TestRepeatsAreReported(t *testing.T) {
	repeats := 0
	h := NewHandler(Options{
		Accept: func(context.Context, *eventv1.Event) error { return nil }, Repeat: func(*eventv1.Event) { repeats++ },
		Interval: time.Minute, Log: logr.Discard(),
	})
	for range 3 {
		post(h, strings.NewReader(good))
	}
	if repeats != 2 {
		t.Errorf("%d repeats reported, want 2", repeats)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := decode(body)
		if err != nil {
			if !errors.Is(err, errInvalid) {
				t.Error(err)
			}
			return
		}
		if err := check(e); err != nil {
			t.Error(err)
		}
	})
}

// TestRepeatsEndInTime asserts that an event which could not be kept at first does not
// make others count as repeats for longer than the interval.
func TestRepeatsEndInTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now, broken := start, false
	h := handlerOf(func(*eventv1.Event) error {
		if broken {
			return errors.New("the disk is full")
		}
		return nil
	}, func() time.Time { return now })
	other := strings.Replace(good, `"m"`, `"other"`, 1)
	for i, step := range []struct {
		after time.Duration
		body  string
		want  int
	}{
		{0, strings.Replace(good, `"m"`, `"before"`, 1), 202},
		{time.Second, good, 503},
		{time.Minute, other, 202},
		{2 * time.Minute, other, 429},
		{4 * time.Minute, good, 202},
		{6*time.Minute + time.Second, other, 202},
		{8 * time.Minute, good, 429},
		{9*time.Minute + time.Second, good, 202},
		{11 * time.Minute, other, 429},
	} {
		now, broken = start.Add(step.after), i == 1
		if got := post(h, strings.NewReader(step.body)); got != step.want {
			t.Errorf("after %s: answered %d, want %d", step.after, got, step.want)
		}
	}
}
