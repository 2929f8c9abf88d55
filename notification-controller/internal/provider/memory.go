package provider

import (
	"container/list"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// maxTold bounds what is remembered; the one that was used least recently
// goes first.
const maxTold = 4096

// told is what a Provider was told last about an object.
type told struct {
	key      string
	revision string // that the object was last said to be well at
	thread   string // in which its trouble is told; "" when there is none
}

// memory remembers what messages refer back to: for the life of the process, or in
// a file. Its zero value is ready; it is safe for concurrent use.
type memory struct {
	mu    sync.Mutex
	at    map[string]*list.Element
	order list.List // the most recently used first
	file  *bbolt.DB // nil keeps nothing
}

var toldBucket = []byte("told")

// kept is a told in a file.
type kept struct {
	Revision string `json:"revision,omitempty"`
	Thread   string `json:"thread,omitempty"`
}

// keep remembers in a file from now on, and first what is there. A file that cannot be
// read is made anew: what is lost with it is that a message continues a thread. For
// the same reason writes do not wait for the disk.
func (i *memory) keep(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	err := i.open(path)
	if err != nil && !errors.Is(err, bolterrors.ErrTimeout) {
		if err := os.Remove(path); err != nil {
			return err
		}
		err = i.open(path)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

func (i *memory) open(path string) (err error) {
	defer func() {
		if p := recover(); p != nil { // pages that a power cut has mixed up
			err = fmt.Errorf("unreadable: %v", p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, NoSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(toldBucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(key, value []byte) error {
			var k kept
			if err := json.Unmarshal(value, &k); err != nil {
				return err
			}
			i.put(told{key: string(key), revision: k.Revision, thread: k.Thread})
			return nil
		})
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.file = db
	return nil
}

// Close ends what keep began. The rest goes on without a file.
func (i *memory) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	db := i.file
	if i.file = nil; db == nil {
		return nil
	}
	return db.Close()
}

// save writes one entry and removes another, if it has a key.
func (i *memory) save(k, gone told) error {
	if i.file == nil {
		return nil
	}
	value, err := json.Marshal(kept{k.revision, k.thread})
	if err != nil {
		return err
	}
	return i.file.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(toldBucket)
		if gone.key != "" {
			if err := b.Delete([]byte(gone.key)); err != nil {
				return err
			}
		}
		return b.Put([]byte(k.key), value)
	})
}

// of returns what is known of the object of an event at a Provider.
func (i *memory) of(provider string, event *eventv1.Event) told {
	o := event.InvolvedObject
	key := provider + "/" + o.Kind + "/" + o.Namespace + "/" + o.Name
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.at[key]; e != nil {
		i.order.MoveToFront(e)
		return e.Value.(told)
	}
	return told{key: key}
}

// put remembers k. That it could not be written is no reason to send its message
// again, so an error ends the writing.
func (i *memory) put(k told) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var gone told
	if e := i.at[k.key]; e != nil {
		if e.Value == k {
			i.order.MoveToFront(e)
			return
		}
		e.Value = k
		i.order.MoveToFront(e)
	} else {
		if i.at == nil {
			i.at = map[string]*list.Element{}
		}
		i.at[k.key] = i.order.PushFront(k)
		if last := i.order.Back(); i.order.Len() > maxTold {
			gone = i.order.Remove(last).(told)
			delete(i.at, gone.key)
		}
	}
	if err := i.save(k, gone); err != nil {
		_ = i.file.Close() // the error before says more, and nobody can do anything
		i.file = nil
	}
}
