package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
)

var (
	errEndpoint = errors.New("spec.endpoint")                // it cannot be used as it is written
	errSTS      = errors.New("spec.sts")                     // it cannot be used as it is written
	errSpec     = errors.New("the spec cannot be used")      // its fields do not go together
	errAuth     = errors.New("bucket credentials")           // missing, malformed or refused
	errNotFound = errors.New("not found")                    // the bucket or object is not there
	errChanged  = errors.New("changed while it was read")    // an object is not the listed one any more
	errLimit    = errors.New("more than what is allowed")    // of objects or bytes
	errKey      = errors.New("cannot be a file's path")      // of a key
	errAnswer   = errors.New("the answer cannot be trusted") // of the storage
)

// object is one object as a listing has it.
type object struct {
	key     string
	etag    string // as it goes into the revision
	version string // what a download must match: an entity tag or a generation
	size    int64  // bytes
}

// storage is a bucket. Errors wrap the ones above where they fit.
type storage interface {
	// list calls found for each object whose key starts with prefix, in any order,
	// and ends with the first error of found.
	list(ctx context.Context, prefix string, found func(object) error) error
	// open returns the content of o from offset on; errChanged when there is
	// something else by now.
	open(ctx context.Context, o object, offset int64) (io.ReadCloser, error)
}

// providers make the storage that an access leads to, without asking anything.
var providers = map[string]func(*access, *cloudlogin.Logins) (storage, error){
	"":                             newGeneric,
	sourcev1.BucketProviderGeneric: newGeneric,
	sourcev1.BucketProviderAmazon:  newAmazon,
	sourcev1.BucketProviderGoogle:  newGoogle,
	sourcev1.BucketProviderAzure:   newAzure,
}

// from skips to offset when the answer is not a part but the whole; contentRange is
// the header of RFC 9110, section 14.4.
func from(body io.ReadCloser, contentRange string, offset int64) (io.ReadCloser, error) {
	if offset == 0 && contentRange == "" || strings.HasPrefix(contentRange, fmt.Sprintf("bytes %d-", offset)) {
		return body, nil
	}
	var err error
	if contentRange != "" {
		err = fmt.Errorf("%w: it is another part of the object than what was asked for", errAnswer)
	} else {
		_, err = io.CopyN(io.Discard, body, offset)
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// statusError says what an HTTP status means; nil when it is a success.
func statusError(code int, message string) error {
	switch {
	case code < 300:
		return nil
	case code == 401 || code == 403:
		return fmt.Errorf("%w: the storage refuses them (HTTP %d): %s", errAuth, code, message)
	case code == 404:
		return fmt.Errorf("%w (HTTP 404): %s", errNotFound, message)
	case code == 412:
		return fmt.Errorf("%w (HTTP 412)", errChanged)
	}
	return fmt.Errorf("the storage answers HTTP %d: %s", code, message)
}
