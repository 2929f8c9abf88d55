package bucket

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/weirhq/weir/internal/upstream"
)

const maxAnswer = 16 << 20 // bytes of an answer that is no object

// connection is how the servers of one access are reached.
type connection struct {
	TLS      upstream.Material
	Proxy    *url.URL // nil: as the environment says
	who      string   // stands for the credentials
	patience *upstream.Patience
}

// client returns a client that follows no redirect, so that credentials go to the
// configured host only.
func (c connection) client() (*http.Client, error) {
	t, err := upstream.New(upstream.Options{
		TLS: c.TLS, Proxy: c.Proxy, Who: c.who, Patience: c.patience, Conns: downloads, MaxAnswer: maxAnswer,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAuth, err)
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     t,
	}, nil
}
