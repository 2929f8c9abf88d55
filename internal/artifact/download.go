package artifact

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// newClient returns the HTTP client of all fetches. Its transport follows the
// proxy settings of the environment and keeps connections to the few hosts there
// are. Bodies are not decompressed: the digest is of the bytes as they are served.
func newClient(identity *Identity) *http.Client {
	return &http.Client{Transport: &bearer{identity, &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		DisableCompression:    true,
	}}}
}

// backOff doubles from 250 ms to 10 s, with a jitter of half of it.
func backOff(try int) time.Duration {
	d := min(250*time.Millisecond<<min(try, 10), 10*time.Second)
	return d/2 + rand.N(d/2)
}

// download writes what the server has at rawURL to w, and tries again when the
// server or the way to it fails.
func (f *Fetcher) download(ctx context.Context, rawURL string, w *os.File) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the artifact's url is not an http(s) url")
	}
	if f.o.HostOverride != "" {
		u.Host = f.o.HostOverride
	}
	for try := 0; ; try++ {
		err := f.attempt(ctx, u, w)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil || !errors.Is(err, ErrServer) || try >= f.o.Retries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.pause(try)):
		}
	}
}

func (f *Fetcher) attempt(ctx context.Context, u *url.URL, w *os.File) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("the artifact's url is not an http(s) url")
	}
	shown := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	resp, err := f.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the URL and its query
		}
		return fmt.Errorf("%w: get %q: %w", ErrServer, shown, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %q answers %s", ErrNotFound, shown, resp.Status)
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %q answers %s", ErrServer, shown, resp.Status)
	default:
		return fmt.Errorf("get the artifact: %q answers %s", shown, resp.Status)
	}
	if resp.ContentLength > f.o.MaxBytes {
		return fmt.Errorf("%w: %q has %d bytes, %d are allowed", ErrTooLarge, shown, resp.ContentLength, f.o.MaxBytes)
	}
	err = f.copy(w, resp.Body)
	var disk *writeError
	if err != nil && !errors.Is(err, ErrTooLarge) && !errors.As(err, &disk) {
		return fmt.Errorf("%w: read %q: %w", ErrServer, shown, err)
	}
	return err
}
