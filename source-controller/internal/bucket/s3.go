package bucket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/weirhq/weir/internal/upstream"
)

// s3 is a bucket of a server that speaks the S3 API.
type s3 struct {
	core   minio.Core
	bucket string
}

func newS3(a *access, client *http.Client, creds *credentials.Credentials) (storage, error) {
	if strings.ContainsAny(a.Endpoint, "/@?#") {
		return nil, fmt.Errorf("%w: %q: write host or host:port, without a scheme or path", errEndpoint, a.Endpoint)
	}
	c, err := minio.New(a.Endpoint, &minio.Options{
		Creds: creds, Secure: !a.Insecure, Region: a.Region, Transport: listings{client.Transport},
		MaxRetries: 1, // the loop comes back
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w: write host or host:port", errEndpoint, a.Endpoint, err)
	}
	return &s3{minio.Core{Client: c}, a.Bucket}, nil
}

// listings refuses answers to a request for a list that are none. A page that asks
// for a login would be taken for the list of an empty bucket, and consumers would
// remove everything.
type listings struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l listings) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK || !r.URL.Query().Has("list-type") {
		return resp, err
	}
	body := bufio.NewReader(resp.Body)
	head, err := body.Peek(1 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, resp.Body.Close())
	}
	if name := root(head); name != "ListBucketResult" {
		return nil, errors.Join(fmt.Errorf("%w: a list of objects was asked for, and it is a document %.40q", errAnswer, name), resp.Body.Close())
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}

// root returns the name of the first element of an XML document, "" for none.
func root(head []byte) string {
	for d := xml.NewDecoder(bytes.NewReader(head)); ; {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local
		}
	}
}

func (s *s3) list(ctx context.Context, prefix string, found func(object) error) error {
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s3Error(o.Err)
		}
		if err := found(object{key: o.Key, etag: o.ETag, version: o.ETag, size: o.Size}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *s3) open(ctx context.Context, o object, offset int64) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	err := options.SetMatchETag(o.version)
	if offset > 0 {
		err = errors.Join(err, options.SetRange(offset, 0))
	}
	if err != nil {
		return nil, err
	}
	body, _, header, err := s.core.GetObject(upstream.Limited(ctx, o.size+maxAnswer), s.bucket, o.key, options)
	if err != nil {
		return nil, s3Error(err)
	}
	return from(body, header.Get("Content-Range"), offset)
}

func s3Error(err error) error {
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok && e.StatusCode >= 300 {
		return statusError(e.StatusCode, e.Error())
	}
	return err
}
