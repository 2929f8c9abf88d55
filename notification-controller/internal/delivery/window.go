package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

	"github.com/weirhq/weir/notification-controller/internal/provider"
)

const (
	// maxTexts is how many different messages of one object a window lets
	// through; what comes then is folded.
	maxTexts = 5
	// maxMessage is the longest message of the wire format, in characters.
	maxMessage = 39000
	// foldedKey is the metadata key with the number of events in a message.
	foldedKey = provider.FoldedKey
)

// window folds the events of one object at one revision for one Alert.
//
// It opens with an event that is told. Until it ends, an event is told at once
// if it says something new: another message, a failure after all was well, or
// the recovery from one. What repeats a message is held back, and so are
// further failures and recoveries: an object that flaps is told of once. When
// the window ends, the last event held back is told with the number of them,
// and the next window opens; if there was none, or only repeats of being
// well, nothing is told and the window is gone.
type window struct {
	Ends    time.Time     `json:"ends"`
	Length  time.Duration `json:"length"`
	Texts   []string      `json:"texts"`             // fingerprints of what was told
	Failing bool          `json:"failing,omitempty"` // what the last event says
	Fell    bool          `json:"fell,omitempty"`    // a failure was told
	Rose    bool          `json:"rose,omitempty"`    // a recovery was told
	Flaps   int           `json:"flaps,omitempty"`   // failures and recoveries held back
	Held    int           `json:"held,omitempty"`    // events held back since the last one told
	News    bool          `json:"news,omitempty"`    // they say more than that all is well still
	Last    *Job          `json:"last,omitempty"`    // the last of them
}

// openWindow begins a window with a job that is told.
func openWindow(j *Job, now time.Time) *window {
	failing := failing(j)
	return &window{Ends: now.Add(j.Fold), Length: j.Fold, Texts: []string{textOf(j)}, Failing: failing, Fell: failing}
}

func failing(j *Job) bool { return j.Event.Severity == eventv1.EventSeverityError }

// textOf is equal for jobs that say the same of their object.
func textOf(j *Job) string {
	sum := sha256.Sum256([]byte(j.Event.Severity + "\x00" + j.Event.Reason + "\x00" + j.Event.Message))
	return hex.EncodeToString(sum[:8])
}

// take says what to tell of a job that comes in while the window is open: the
// job itself, with the number of those held back before it, or nothing.
func (w *window) take(j *Job) (Job, bool) {
	text, isFailing := textOf(j), failing(j)
	known, changed := slices.Contains(w.Texts, text), isFailing != w.Failing
	w.Failing = isFailing
	tell := !known && len(w.Texts) < maxTexts && w.Flaps == 0
	if changed {
		told := &w.Rose
		if isFailing {
			told = &w.Fell
		}
		tell = !*told && w.Flaps == 0
		*told = true
	}
	if !tell {
		w.Held++
		w.News = w.News || isFailing || changed || !known
		if changed {
			w.Flaps++
		}
		last := *j
		w.Last = &last
		return Job{}, false
	}
	if !known {
		w.Texts = append(w.Texts, text)
	}
	out := *j
	if w.Held > 0 {
		out = folded(j, w.Held, w.Flaps, w.Length, "before")
	}
	w.Held, w.News, w.Last = 0, false, nil
	return out, true
}

// repeat counts a job that was not even let in, if it says what was told.
func (w *window) repeat(j *Job) {
	if slices.Contains(w.Texts, textOf(j)) {
		w.take(j)
	}
}

// end says what to tell when the window ends, and which window follows.
func (w *window) end(now time.Time) (job Job, tell bool, next *window) {
	if w.Last == nil || !w.News {
		return Job{}, false, nil
	}
	job = folded(w.Last, w.Held, w.Flaps, w.Length, "until")
	next = openWindow(w.Last, now)
	if w.Flaps > 0 { // whoever flaps is told of at the end of a window only
		next.Fell, next.Rose = true, true
	}
	return job, true, next
}

// folded returns a copy of a job that says how many events it stands for.
func folded(j *Job, held, flaps int, length time.Duration, when string) Job {
	out := *j
	metadata := map[string]string{}
	for k, v := range j.Event.Metadata {
		metadata[k] = v
	}
	metadata[foldedKey] = strconv.Itoa(held)
	out.Event.Metadata = metadata
	note := fmt.Sprintf("\n\n%d events within %s %s this one were not told one by one", held, length, when)
	if flaps > 0 {
		note += fmt.Sprintf("; the object failed or recovered %d more times", flaps)
	}
	text := []rune(j.Event.Message)
	if room := maxMessage - utf8.RuneCountInString(note); len(text) > room {
		text = text[:room]
	}
	out.Event.Message = string(text) + note
	return out
}
