// Package buildtime finds out when images were built.
//
// An image says so in the annotation org.opencontainers.image.created of its
// manifest, in the label of that name, or in the field "created" of its
// configuration (OCI image specification, annotations and config). What was
// read once is kept by digest, in a file that only grows: a line that a crash
// has cut is passed over, and a file that has grown too large is begun anew.
package buildtime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/internal/telemetry"
)

// ErrTooMany is wrapped when more images are asked for than may be looked at.
var ErrTooMany = errors.New("too many images")

// maxTags bounds the images that are looked at for one policy.
const maxTags = 1_000

const (
	maxKnown  = 200_000 // digests in memory and on file
	maxConfig = 4 << 20 // bytes of an image's configuration
	parallel  = 8       // requests at once
	created   = "org.opencontainers.image.created"
)

// known matches a line of the file: a digest and seconds since 1970, 0 when the
// image does not say. The full stop tells that the number is whole.
var known = regexp.MustCompile(`^(sha256:[0-9a-f]{64}) (\d{1,12})\.$`)

// Requests for the build time of an image whose digest is known.
var requests = telemetry.NewCache("build_times")

// Cache reads and remembers. It is safe for concurrent use.
type Cache struct {
	client *registry.Client
	path   string

	mu    sync.Mutex
	times map[string]int64 // by digest
}

// Open uses the file at path, which is created if need be.
func Open(path string, client *registry.Client) (*Cache, error) {
	c := &Cache{client: client, path: path, times: map[string]int64{}}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, maxKnown*96)); lines.Scan(); {
		if m := known.FindStringSubmatch(lines.Text()); m != nil {
			if c.times[m[1]], err = strconv.ParseInt(m[2], 10, 64); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// Admit refuses more images than may be looked at for one policy.
func Admit(tags int) error {
	if tags > maxTags {
		return fmt.Errorf("%w: %d tags would have to be looked at for their build times, more than %d; narrow spec.filterTags.pattern", ErrTooMany, tags, maxTags)
	}
	return nil
}

// Of returns when the images of the tags were built. Tags whose images do not
// say are absent. Each tag costs a HEAD request, and two more when its image was
// never seen before. Errors are those of package registry, and ErrTooMany.
func (c *Cache) Of(ctx context.Context, access registry.Access, tags []string) (map[string]time.Time, error) {
	if err := Admit(len(tags)); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	out := make(map[string]time.Time, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, tag := range tags {
		group.Go(func() error {
			at, err := c.one(ctx, access, tag)
			if err != nil {
				return fmt.Errorf("the build time of the tag %q: %w", tag, err)
			}
			if at > 0 {
				mu.Lock()
				defer mu.Unlock()
				out[tag] = time.Unix(at, 0).UTC()
			}
			return nil
		})
	}
	return out, group.Wait()
}

func (c *Cache) one(ctx context.Context, access registry.Access, tag string) (int64, error) {
	digest, err := c.client.Digest(ctx, access, tag)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	at, seen := c.times[digest]
	c.mu.Unlock()
	requests.Count(seen)
	if seen {
		return at, nil
	}
	when, err := c.read(ctx, access, digest)
	if err != nil {
		return 0, err
	}
	at = max(when.Unix(), 0) // the epoch and before mean that a build is reproducible, not old
	return at, c.note(digest, at)
}

// read asks the registry. The zero time stands for an image that does not say.
func (c *Cache) read(ctx context.Context, access registry.Access, digest string) (time.Time, error) {
	manifest, err := c.client.Image(ctx, access, digest)
	if errors.Is(err, registry.ErrManifest) {
		return time.Time{}, nil // no image
	}
	if err != nil {
		return time.Time{}, err
	}
	if at, ok := parse(manifest.Annotations[created]); ok {
		return at, nil
	}
	raw, err := c.client.Read(ctx, access, manifest.Config.Digest.String(), maxConfig)
	if err != nil {
		return time.Time{}, err
	}
	var config struct {
		Created string `json:"created"`
		Config  struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if json.Unmarshal(raw, &config) != nil {
		return time.Time{}, nil // a configuration of something else
	}
	if at, ok := parse(config.Config.Labels[created]); ok {
		return at, nil
	}
	at, _ := parse(config.Created)
	return at, nil
}

func parse(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	return at, err == nil
}

// note remembers a time, and appends it to the file.
func (c *Cache) note(digest string, at int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	mode := os.O_APPEND
	if len(c.times) >= maxKnown {
		clear(c.times)
		mode = os.O_TRUNC
	}
	c.times[digest] = at
	f, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE|mode, 0o600)
	if err != nil {
		return fmt.Errorf("keeping a build time: %w", errors.Unwrap(err))
	}
	// The line feed in front ends what a crash may have left.
	_, err = fmt.Fprintf(f, "\n%s %d.", digest, at)
	return errors.Join(err, f.Close())
}
