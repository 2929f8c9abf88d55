package signature

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// TestSilentPublicInstance asserts that one which says nothing is given up, so that the
// next one who asks asks anew, and that a root from before stays in use all the time.
func TestSilentPublicInstance(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer s.Close()
	defer s.CloseClientConnections()
	p := &Public{URL: s.URL, timeout: 50 * time.Millisecond}
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrTrust) {
		t.Errorf("got %v", err)
	}
	if len(asked) != 1 {
		t.Errorf("it was asked %d times", len(asked))
	}
	p.read = time.Time{}
	if _, err := p.Get(t.Context()); !errors.Is(err, ErrTrust) || len(asked) != 2 {
		t.Errorf("got %v after %d requests", err, len(asked))
	}

	patient := &Public{URL: s.URL, timeout: time.Minute, trusted: &root.BaseTrustedMaterial{}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := patient.Get(ctx); err != nil || got != patient.trusted {
		t.Errorf("the root from before is not used: %v", err)
	}
}
