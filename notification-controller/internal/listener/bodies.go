package listener

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

var (
	// ErrTooLarge reports a body above the limit.
	ErrTooLarge = errors.New("the body is larger than 3 MiB")
	// ErrCompressed reports a body in an encoding.
	ErrCompressed = errors.New("the body must not be compressed")
	// ErrUnread reports a body that ended early, or came too slowly.
	ErrUnread = errors.New("the body could not be read")
	// ErrBusy reports that too many bodies are in memory already.
	ErrBusy = errors.New("there is too much to do: try again")
)

const (
	// MaxBody bounds the body of one request, in bytes.
	MaxBody = 3 << 20
	// smallBody is the size up to which a body is small, in bytes.
	smallBody = 64 << 10
	// maxSmall and maxLarge bound the bodies that a server holds at once.
	maxSmall = 256
	maxLarge = 10
	// maxWait is how long a request waits for room.
	maxWait = 5 * time.Second
)

// Bodies reads the bodies of the requests of one server, and keeps what is in
// memory at once below a limit, however many requests come in. Large bodies
// have room of their own, so that those who send them slowly keep nobody with
// a small one waiting.
type Bodies struct{ small, large *semaphore.Weighted }

// NewBodies returns a reader of bodies.
func NewBodies() *Bodies {
	return &Bodies{small: semaphore.NewWeighted(maxSmall), large: semaphore.NewWeighted(maxLarge)}
}

// Read returns the body of a request. Until done is called it counts as held.
// The error is ErrTooLarge, ErrCompressed, ErrUnread or ErrBusy.
func (b *Bodies) Read(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, nil, ErrCompressed
	}
	if r.ContentLength > MaxBody {
		return nil, nil, ErrTooLarge
	}
	var taken []*semaphore.Weighted
	release := func() {
		for _, s := range taken {
			s.Release(1)
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	all := http.MaxBytesReader(w, r.Body, MaxBody)
	for _, part := range []struct {
		room *semaphore.Weighted
		size int64
	}{{b.small, smallBody}, {b.large, MaxBody + 1}} {
		if !acquire(r.Context(), part.room) {
			return nil, nil, ErrBusy
		}
		taken = append(taken, part.room)
		more, err := io.ReadAll(io.LimitReader(all, part.size))
		body = append(body, more...)
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, nil, ErrTooLarge
		}
		if err != nil {
			return nil, nil, ErrUnread
		}
		if int64(len(more)) < part.size {
			break
		}
	}
	return body, release, nil
}

func acquire(ctx context.Context, room *semaphore.Weighted) bool {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	return room.Acquire(ctx, 1) == nil
}
