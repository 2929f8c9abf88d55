package listener

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		body     io.Reader
		encoding string
		want     error
	}{
		"right":                  {strings.NewReader("x"), "", nil},
		"empty":                  {strings.NewReader(""), "identity", nil},
		"at the limit":           {strings.NewReader(strings.Repeat("x", MaxBody)), "", nil},
		"above it":               {strings.NewReader(strings.Repeat("x", MaxBody+1)), "", ErrTooLarge},
		"above it, in chunks":    {io.MultiReader(strings.NewReader(strings.Repeat("x", MaxBody+1))), "", ErrTooLarge},
		"compressed":             {strings.NewReader("x"), "gzip", ErrCompressed},
		"cut off":                {io.MultiReader(strings.NewReader("x"), broken{}), "", ErrUnread},
		"in chunks, and not all": {io.MultiReader(strings.NewReader("x")), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", tt.body)
			r.Header.Set("Content-Encoding", tt.encoding)
			b := NewBodies()
			_, done, err := b.Read(httptest.NewRecorder(), r)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil {
				done()
			}
			if !b.room.TryAcquire(maxBodies) {
				t.Error("some room was not given back")
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What is held is bounded: the next one waits until there is room.
func TestBodiesShareTheRoom(t *testing.T) {
	b := NewBodies()
	if !b.room.TryAcquire(maxBodies) {
		t.Fatal("there is no room to begin with")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("POST", "/", strings.NewReader("x")).WithContext(ctx)
	if _, _, err := b.Read(httptest.NewRecorder(), r); !errors.Is(err, ErrUnread) {
		t.Errorf("got %v without any room, want ErrUnread", err)
	}
}
