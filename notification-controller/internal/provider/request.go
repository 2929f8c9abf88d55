package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 4 << 10
	// maxQuoted bounds what a message quotes of it.
	maxQuoted = 200
	userAgent = "notification-controller"
)

// postJSON sends payload and returns the first bytes of the answer.
func postJSON(ctx context.Context, c *http.Client, to *url.URL, payload any, header http.Header) ([]byte, error) {
	body, err := encoded(payload)
	if err != nil {
		return nil, err
	}
	return do(ctx, c, http.MethodPost, to, body, header, maxAnswer)
}

// encoded is payload as JSON. Signs that matter to HTML alone stay as they
// are: written as \u003c, they would count sixfold where size is limited.
func encoded(payload any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(payload); err != nil {
		return nil, Final(fmt.Errorf("encoding the event: %w", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// do makes one request. Its errors are Failures: an answer that another
// attempt would only repeat is final, 429 and 503 carry the time that
// Retry-After asks for. They name the host only, and quote the answer's first
// words without secrets. At most limit bytes of the answer are read.
func do(ctx context.Context, c *http.Client, method string, to *url.URL, body []byte, header http.Header, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, Final(fmt.Errorf("%w: the address cannot be used", ErrInvalid))
	}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := c.Do(req)
	if err != nil {
		return nil, &Failure{After: RetryAfter(err), Err: fmt.Errorf("%s %s: %w", method, host(to), plain(ctx, err))}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		limit = maxAnswer
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil && resp.StatusCode < 300 {
		return nil, &Failure{Err: fmt.Errorf("%s %s: reading the answer: %w", method, host(to), plain(ctx, err))}
	}
	if resp.StatusCode < 300 {
		return answer, nil
	}
	return nil, refusal(method, to, resp, answer)
}

// refusal explains an answer that is no success.
func refusal(method string, to *url.URL, resp *http.Response, answer []byte) error {
	f := &Failure{
		Code:  resp.StatusCode,
		Final: permanent(resp),
		After: retryAfter(resp.Header, time.Now()),
		Err:   fmt.Errorf("%s %s: answered %d %s%s", method, host(to), resp.StatusCode, http.StatusText(resp.StatusCode), quote(answer)),
	}
	if resp.StatusCode < 400 {
		f.Err = fmt.Errorf("%w: redirects are not followed: use the final address", f.Err)
	}
	return f
}

// permanent says whether the same request would be refused again: a redirect
// or a client error, but not one that has to do with time or load.
func permanent(resp *http.Response) bool {
	switch code := resp.StatusCode; code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusForbidden: // how GitHub says that a rate limit is used up
		return resp.Header.Get("Retry-After") == "" && resp.Header.Get("X-Ratelimit-Remaining") != "0"
	case http.StatusUnauthorized: // a Secret that is being rotated
		return false
	default:
		return code < 500
	}
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3: seconds or a date)
// and GitHub's X-RateLimit-Reset (seconds since 1970). No server may ask for
// more than an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	wait := time.Duration(0)
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			wait = time.Duration(n) * time.Second
		} else if at, err := http.ParseTime(v); err == nil {
			wait = at.Sub(now)
		}
	} else if h.Get("X-Ratelimit-Remaining") == "0" {
		if at, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			wait = time.Unix(at, 0).Sub(now)
		}
	}
	return min(max(wait, 0), time.Hour)
}

// plain unwraps the error of an HTTP client, whose text holds the whole URL.
func plain(ctx context.Context, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within the provider's timeout: %w", context.DeadlineExceeded)
	}
	return err
}

// host is what messages say of an address.
func host(u *url.URL) string { return u.Scheme + "://" + u.Host }

// quote returns the first words of an answer for use in a message, or "".
func quote(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(secrets.Redact(string(answer)), "")), " ")
	if text == "" {
		return ""
	}
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "..."
	}
	return fmt.Sprintf(": %q", text)
}

// maxList bounds an answer that lists things, in bytes: a hundred statuses
// or comments are well below.
const maxList = 4 << 20

// getJSON reads the answer to a GET request into v.
func getJSON(ctx context.Context, c *http.Client, from *url.URL, header http.Header, v any) error {
	answer, err := do(ctx, c, http.MethodGet, from, nil, header, maxList)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return &Failure{Err: fmt.Errorf("GET %s: the answer is not what this type of service answers", host(from))}
	}
	return nil
}
