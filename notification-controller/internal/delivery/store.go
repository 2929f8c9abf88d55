package delivery

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrStore reports that the queue's file cannot be read or written.
var ErrStore = errors.New("the event queue on disk")

var (
	bucket  = []byte("jobs")
	windows = []byte("windows") // by the key of each
)

const (
	// sweepDelay is how long a job that was taken may stay in the file. When
	// the process dies within, it is sent again.
	sweepDelay = 50 * time.Millisecond
)

// store keeps jobs in one file, under numbers that only grow. What is written
// is synced before the call returns; calls at the same time share one sync.
// What is removed goes a moment later, together with others.
type store struct {
	db     *bbolt.DB
	failed func(error) // told when removing failed

	mu     sync.Mutex
	gone   []uint64
	sweeps bool // a sweep is to come
}

// openStore opens the file below dir, or makes it. A file that another
// process holds is an error after two seconds.
func openStore(dir string, failed func(error)) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	db, err := bbolt.Open(filepath.Join(dir, "events.db"), 0o600, &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w is in use by another process: give each notification-controller a --storage-path of its own", ErrStore)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	// A group of writers waits this long for others to join it.
	db.MaxBatchDelay = 2 * time.Millisecond
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucket, windows} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		_ = db.Close() // the first error is the one to tell
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return &store{db: db, failed: failed}, nil
}

func (s *store) close() error {
	return errors.Join(s.sweep(), s.db.Close())
}

// add writes all values or none and returns their numbers. In the same moment
// it writes what current says of the named windows; nil removes one.
func (s *store) add(values [][]byte, keys []string, current func(key string) []byte) ([]uint64, error) {
	var ids []uint64
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		ids = ids[:0] // the function may run more than once
		b := tx.Bucket(bucket)
		for _, v := range values {
			id, err := b.NextSequence()
			if err != nil {
				return err
			}
			if err := b.Put(keyOf(id), v); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		for _, key := range keys {
			if err := put(tx.Bucket(windows), key, current(key)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return ids, nil
}

func put(b *bbolt.Bucket, key string, value []byte) error {
	if value == nil {
		return b.Delete([]byte(key))
	}
	return b.Put([]byte(key), value)
}

// remove takes jobs out, with the next sweep.
func (s *store) remove(ids ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = append(s.gone, ids...)
	if s.sweeps || len(s.gone) == 0 {
		return
	}
	s.sweeps = true
	time.AfterFunc(sweepDelay, func() {
		s.mu.Lock()
		s.sweeps = false
		s.mu.Unlock()
		if err := s.sweep(); err != nil && !errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			s.failed(err)
		}
	})
}

// sweep removes what is to be removed. What cannot be now goes with the next.
func (s *store) sweep() error {
	s.mu.Lock()
	ids := s.gone
	s.gone = nil
	s.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := tx.Bucket(bucket).Delete(keyOf(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.mu.Lock()
		s.gone = append(ids, s.gone...)
		s.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// eachWindow calls fn for all windows. What cannot be read is passed over.
func (s *store) eachWindow(fn func(key string, w *window)) error {
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(windows).ForEach(func(k, v []byte) error {
			w := &window{}
			if json.Unmarshal(v, w) == nil {
				fn(string(k), w)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// get returns a job; false if it is not there or cannot be read.
func (s *store) get(id uint64) (Job, bool) {
	var j Job
	err := s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucket).Get(keyOf(id))
		if v == nil {
			return os.ErrNotExist
		}
		return json.Unmarshal(v, &j)
	})
	return j, err == nil
}

// each calls fn for all jobs, oldest first, and removes those that cannot be
// read (written by a version of another format, say).
func (s *store) each(fn func(id uint64, size int, j *Job)) (unreadable int, err error) {
	var broken []uint64
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			j := &Job{}
			if len(k) != 8 || json.Unmarshal(v, j) != nil {
				broken = append(broken, idOf(k))
				return nil
			}
			fn(idOf(k), len(v), j)
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStore, err)
	}
	if len(broken) == 0 {
		return 0, nil
	}
	s.remove(broken...)
	return len(broken), nil
}

func keyOf(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func idOf(key []byte) uint64 {
	if len(key) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}
