package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/artifact"
)

const (
	partial      = ".part"
	defaultCache = 8 << 30 // bytes
	inUse        = 15 * time.Minute
)

// cache keeps downloaded objects as <object of the API>/<bucket>/<object>, all
// names being hashes. An object is whole or has the suffix .part. One that was
// damaged is found out when it is read, and downloaded again.
type cache struct {
	dir   string
	limit int64 // bytes of all shelves, above which those that were not used for a while go
}

// shelf is the part of a cache for one bucket.
type shelf struct {
	cache *cache
	dir   string
	scope string
}

func hashed(parts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return hex.EncodeToString(sum[:])
}

// shelf returns the one of the bucket scope, for the object of the API that is
// named. What it had for another bucket is removed.
func (c *cache) shelf(namespace, name, scope string) (*shelf, error) {
	owner := filepath.Join(c.dir, hashed(namespace, name))
	s := &shelf{cache: c, dir: filepath.Join(owner, hashed(scope)), scope: scope}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, diskError(err)
	}
	others, err := os.ReadDir(owner)
	if err != nil {
		return nil, diskError(err)
	}
	for _, o := range others {
		if o.Name() != filepath.Base(s.dir) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(owner, o.Name())))
		}
	}
	now := time.Now()
	return s, diskError(errors.Join(err, os.Chtimes(s.dir, now, now)))
}

// drop removes what is kept for the object of the API that is named.
func (c *cache) drop(namespace, name string) error {
	return diskError(os.RemoveAll(filepath.Join(c.dir, hashed(namespace, name))))
}

// trim removes what none of the objects is, and then shelves that were not used for
// a while as far as the cache is too large.
func (s *shelf) trim(keep []object) error {
	names := make(map[string]bool, len(keep))
	for _, o := range keep {
		names[o.id(s.scope)] = true
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return diskError(err)
	}
	for _, e := range entries {
		if !names[strings.TrimSuffix(e.Name(), partial)] {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return diskError(errors.Join(err, s.cache.shrink()))
}

// shrink removes the shelves that were not used for longest.
func (c *cache) shrink() error {
	type use struct {
		dir   string
		at    time.Time
		bytes int64
	}
	var uses []use
	var total int64
	shelves, err := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	if err != nil {
		return err
	}
	for _, dir := range shelves {
		info, err := os.Stat(dir)
		if err != nil {
			continue // removed meanwhile
		}
		u := use{dir: dir, at: info.ModTime()}
		_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil // removed meanwhile, or not of interest
			}
			if info, err := e.Info(); err == nil {
				u.bytes += info.Size()
			}
			return nil
		})
		total += u.bytes
		uses = append(uses, u)
	}
	slices.SortFunc(uses, func(a, b use) int { return a.at.Compare(b.at) })
	for _, u := range uses {
		if total <= c.limit || time.Since(u.at) < inUse {
			break
		}
		if err := os.RemoveAll(u.dir); err != nil {
			return err
		}
		total -= u.bytes
	}
	return nil
}

// diskError says that the disk fails, without paths.
func diskError(err error) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("%w: the cache of buckets: %w", artifact.ErrStorage, err)
}
