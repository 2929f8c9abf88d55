package listener

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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
			if !b.small.TryAcquire(maxSmall) || !b.large.TryAcquire(maxLarge) {
				t.Error("some room was not given back")
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What is held is bounded, and large bodies leave the room of the small.
func TestBodiesShareTheRoom(t *testing.T) {
	b := NewBodies()
	read := func(ctx context.Context, size int) error {
		r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", size))).WithContext(ctx)
		body, _, err := b.Read(httptest.NewRecorder(), r) // and is never done
		if err == nil && len(body) != size {
			t.Errorf("%d of %d bytes were read", len(body), size)
		}
		return err
	}
	for i := range maxLarge {
		if err := read(t.Context(), smallBody+i); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := read(short, MaxBody); !errors.Is(err, ErrBusy) {
		t.Errorf("one more large body: %v, want ErrBusy", err)
	}
	for range maxSmall - maxLarge {
		if err := read(t.Context(), smallBody-1); err != nil {
			t.Fatal(err)
		}
	}
	if err := read(short, 1); !errors.Is(err, ErrBusy) {
		t.Errorf("one more small body: %v, want ErrBusy", err)
	}
}
