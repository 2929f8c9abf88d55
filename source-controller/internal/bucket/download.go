package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/upstream"
)

const (
	downloads = 16 // objects that are downloaded at once for one bucket
	attempts  = 3  // in a row without a byte, before a download fails
)

// Requests for objects that a listing names.
var requests = telemetry.NewCache("bucket_objects")

func (s *shelf) path(o object) string { return filepath.Join(s.dir, o.id(s.scope)) }

// has tells whether o is kept. What is kept is followed by its SHA-256. There is
// nothing to keep of an empty object.
func (s *shelf) has(o object) bool {
	if o.size == 0 {
		return true
	}
	info, err := os.Stat(s.path(o))
	return err == nil && info.Size() == o.size+sha256.Size
}

// fill downloads the objects that are not kept, several at once.
func (s *shelf) fill(ctx context.Context, from storage, objects []object) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for _, o := range objects {
		if within.Err() != nil {
			break
		}
		has := s.has(o)
		requests.Count(has)
		if !has {
			group.Go(func() error {
				if err := s.download(within, from, o); err != nil {
					return fmt.Errorf("downloading %q: %w", o.key, err)
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// download brings o into the shelf. What an earlier attempt got, of this process or
// the one before, is not asked for again.
func (s *shelf) download(ctx context.Context, from storage, o object) error {
	f, err := os.OpenFile(s.path(o)+partial, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return diskError(err)
	}
	defer f.Close()
	sum := sha256.New()
	have, err := io.Copy(sum, f)
	if err == nil && have > o.size {
		have = 0
		sum.Reset()
		err = errors.Join(f.Truncate(0), seek(f, 0))
	}
	if err != nil {
		return diskError(err)
	}
	if have, err = s.rest(ctx, from, o, io.MultiWriter(disk{f}, sum), have); err != nil {
		return errors.Join(err, diskError(f.Sync()))
	}
	if have != o.size {
		return errors.Join(fmt.Errorf("%w: it has %d bytes, %d were listed", errAnswer, have, o.size), diskError(os.Remove(f.Name())))
	}
	if _, err := f.Write(sum.Sum(nil)); err != nil {
		return diskError(err)
	}
	return diskError(os.Rename(f.Name(), s.path(o)))
}

// rest reads o from the byte have on, anew where the connection breaks, and
// returns how many bytes there are now.
func (s *shelf) rest(ctx context.Context, from storage, o object, w io.Writer, have int64) (int64, error) {
	for idle := 0; have < o.size; {
		n, err := s.attempt(ctx, from, o, w, have)
		have += n
		if err == nil && have < o.size {
			err = io.ErrUnexpectedEOF
		}
		if idle++; n > 0 {
			idle = 0
		}
		if err != nil && (final(ctx, err) || idle == attempts) {
			return have, err
		}
	}
	return have, nil
}

func (s *shelf) attempt(ctx context.Context, from storage, o object, w io.Writer, have int64) (int64, error) {
	body, err := from.open(ctx, o, have)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.Copy(w, io.LimitReader(body, o.size-have+1))
	return n, err
}

// final tells that another attempt would end in the same way.
func final(ctx context.Context, err error) bool {
	if _, wait := errors.AsType[*upstream.Busy](err); wait {
		return true
	}
	if _, full := errors.AsType[*diskFailure](err); full {
		return true
	}
	for _, is := range []error{errAuth, errNotFound, errChanged, errAnswer, upstream.ErrTooLarge} {
		if errors.Is(err, is) {
			return true
		}
	}
	return ctx.Err() != nil
}

func seek(f *os.File, offset int64) error {
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

// disk tells errors of writing from those of reading.
type disk struct{ f *os.File }

type diskFailure struct{ error }

func (d *diskFailure) Unwrap() error { return d.error }

// Write implements io.Writer.
func (d disk) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil {
		err = &diskFailure{diskError(err)}
	}
	return n, err
}

// open returns what is kept of o. Reading its end fails, and it is kept no longer,
// when the bytes are not those that were downloaded.
func (s *shelf) open(o object) (io.ReadCloser, error) {
	if o.size == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	f, err := os.Open(s.path(o))
	if err != nil {
		return nil, diskError(err)
	}
	return &kept{File: f, left: o.size, sum: sha256.New()}, nil
}

type kept struct {
	*os.File
	left int64
	sum  hash.Hash
}

// WriteTo would pass by Read; there is none.
func (k *kept) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{k})
}

// Read implements io.Reader.
func (k *kept) Read(p []byte) (int, error) {
	if k.left == 0 {
		want := make([]byte, sha256.Size)
		if _, err := k.ReadAt(want, k.size()); err != nil || !bytes.Equal(want, k.sum.Sum(nil)) {
			return 0, errors.Join(diskError(errors.New("an object was damaged, it will be downloaded again")), os.Remove(k.Name()))
		}
		return 0, io.EOF
	}
	n, err := k.File.Read(p[:min(int64(len(p)), k.left)])
	k.sum.Write(p[:n])
	k.left -= int64(n)
	return n, err
}

// size is that of the object, whose sum follows.
func (k *kept) size() int64 {
	info, err := k.Stat()
	if err != nil {
		return 0
	}
	return info.Size() - sha256.Size
}
