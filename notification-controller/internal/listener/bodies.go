package listener

import (
	"context"
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"
)

var (
	// ErrTooLarge reports a body above the limit.
	ErrTooLarge = errors.New("the body is larger than 3 MiB")
	// ErrCompressed reports a body in an encoding.
	ErrCompressed = errors.New("the body must not be compressed")
	// ErrUnread reports a body that ended early, or came too slowly.
	ErrUnread = errors.New("the body could not be read")
)

const (
	// MaxBody bounds the body of one request, in bytes.
	MaxBody = 3 << 20
	// maxBodies bounds the bodies that a server holds at once, in bytes.
	maxBodies = 32 << 20
)

// Bodies reads the bodies of the requests of one server, and keeps what is in
// memory at once below a limit, however many requests come in.
type Bodies struct{ room *semaphore.Weighted }

// NewBodies returns a reader of bodies.
func NewBodies() *Bodies { return &Bodies{semaphore.NewWeighted(maxBodies)} }

// Read returns the body of a request. Until done is called it counts as held.
// The error is ErrTooLarge, ErrCompressed or ErrUnread.
func (b *Bodies) Read(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, nil, ErrCompressed
	}
	if r.ContentLength > MaxBody {
		return nil, nil, ErrTooLarge
	}
	size := r.ContentLength
	if size < 0 {
		size = MaxBody // it will be seen how much there is
	}
	size = max(size, 1)
	if b.room.Acquire(r.Context(), size) != nil {
		return nil, nil, ErrUnread
	}
	release := func() { b.room.Release(size) }
	body, err = b.read(w, r)
	if err != nil {
		release()
		return nil, nil, err
	}
	return body, release, nil
}

func (*Bodies) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, ErrTooLarge
	}
	if err != nil || r.Context().Err() == context.Canceled {
		return nil, ErrUnread
	}
	return body, nil
}
