package delivery

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"
)

const (
	// maxWindows and maxWindowBytes bound the windows that are open at once.
	// What comes above is told without being folded.
	maxWindows     = 5000
	maxWindowBytes = 32 << 20
	// windowRetry is how long after a failure a window is ended again.
	windowRetry = 30 * time.Second
)

// folder holds the open windows. Their state is on disk with the events that
// changed it, so a restart changes nothing: windows that ended meanwhile are
// told at the start.
type folder struct {
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	windows map[string]*window
	bytes   int // of the jobs held back
}

func newFolder(now func() time.Time) *folder {
	return &folder{now: now, wake: make(chan struct{}, 1), windows: map[string]*window{}}
}

// windowKey names the window of a job: of its Alert, object and revision.
func windowKey(j *Job) string {
	o := j.Event.InvolvedObject
	return strings.Join([]string{j.Alert.String(), o.Kind, o.Namespace, o.Name, j.Event.Metadata["revision"]}, "\x00")
}

// take returns the jobs to tell now, and the keys of the windows that changed.
func (f *folder) take(jobs []Job) (tell []Job, changed []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range jobs {
		j := &jobs[i]
		if j.Fold <= 0 {
			tell = append(tell, *j)
			continue
		}
		key := windowKey(j)
		if w := f.windows[key]; w != nil {
			before := w.size()
			if told, ok := w.take(j); ok {
				tell = append(tell, told)
			}
			f.bytes += w.size() - before
			changed = append(changed, key)
			continue
		}
		tell = append(tell, *j)
		if len(f.windows) < maxWindows && f.bytes < maxWindowBytes {
			f.windows[key] = openWindow(j, f.now())
			changed = append(changed, key)
			f.look()
		}
	}
	return tell, changed
}

// repeat counts jobs that were refused as repeats.
func (f *folder) repeat(jobs []Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range jobs {
		if w := f.windows[windowKey(&jobs[i])]; w != nil && jobs[i].Fold > 0 {
			before := w.size()
			w.repeat(&jobs[i])
			f.bytes += w.size() - before
		}
	}
}

// encode returns the state of a window for the disk; nil is none.
func (f *folder) encode(key string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.windows[key]
	if w == nil {
		return nil
	}
	v, err := json.Marshal(w)
	if err != nil {
		return nil
	}
	return v
}

// forget closes windows whose state could not be kept, so that the next event
// is told.
func (f *folder) forget(keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		f.set(key, nil)
	}
}

// set replaces a window; nil removes it. The lock is held.
func (f *folder) set(key string, w *window) {
	if old := f.windows[key]; old != nil {
		f.bytes -= old.size()
	}
	if w == nil {
		delete(f.windows, key)
		return
	}
	f.windows[key] = w
	f.bytes += w.size()
}

func (w *window) size() int {
	if w.Last == nil {
		return 0
	}
	size := len(w.Last.Event.Message)
	for k, v := range w.Last.Event.Metadata {
		size += len(k) + len(v)
	}
	return size
}

// due returns the windows that have ended, and how long until the next ends;
// a day if there is none.
func (f *folder) due() (ended []string, next time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next = 24 * time.Hour
	now := f.now()
	for key, w := range f.windows {
		if left := w.Ends.Sub(now); left <= 0 {
			ended = append(ended, key)
		} else {
			next = min(next, left)
		}
	}
	return ended, next
}

// end ends a window. undo puts it back, to be ended later.
func (f *folder) end(key string) (tell []Job, undo func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.windows[key]
	if w == nil {
		return nil, func() {}
	}
	job, ok, next := w.end(f.now())
	f.set(key, next)
	if ok {
		job.Accepted = f.now() // it is of now, whatever happened before
		tell = []Job{job}
	}
	return tell, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		w.Ends = f.now().Add(windowRetry)
		f.set(key, w)
	}
}

// look makes whoever waits for windows to end wait for the right time.
func (f *folder) look() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// fold ends windows until ctx ends.
func (q *Queue) fold(ctx context.Context) {
	for {
		ended, next := q.folder.due()
		for _, key := range ended {
			jobs, undo := q.folder.end(key)
			if err := q.keep(jobs, []string{key}); err != nil {
				q.o.Log.Error(err, "telling of events that were folded; it will be tried again", "after", windowRetry.String())
				undo()
			}
		}
		if len(ended) > 0 {
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-q.folder.wake:
		}
		timer.Stop()
	}
}
