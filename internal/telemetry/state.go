package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/secrets"
)

const (
	// maxSection bounds what one part says of itself, in bytes.
	maxSection = 128 << 10
	// SectionTime is how long a part gets to say it: one that hangs is what people
	// look for here.
	SectionTime = time.Second
)

// State is what the parts of a program say of themselves: numbers and names,
// never contents. The zero value is ready.
type State struct {
	mu       sync.Mutex
	sections map[string]*section
}

type section struct {
	report func() any
	busy   sync.Mutex // held while report runs, so that at most one hangs
}

// Add adds a part. Its report must be safe for concurrent use, and its result
// must be encodable as JSON. A second part of the same name takes the place of
// the first. A nil State takes nothing.
func (s *State) Add(name string, report func() any) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sections == nil {
		s.sections = map[string]*section{}
	}
	s.sections[name] = &section{report: report}
}

// ServeHTTP answers with a JSON object of all parts.
func (s *State) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	sections := make(map[string]*section, len(s.sections))
	for name, sec := range s.sections {
		sections[name] = sec
	}
	s.mu.Unlock()
	answers := make(map[string]json.RawMessage, len(sections))
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, sec := range sections {
		all.Go(func() {
			answer := sec.ask()
			mu.Lock()
			defer mu.Unlock()
			answers[name] = answer
		})
	}
	all.Wait()
	out, err := json.MarshalIndent(answers, "", "  ")
	if err != nil {
		http.Error(w, "the state cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(out, '\n')) // who asked is gone
}

func (s *section) ask() json.RawMessage {
	answer := make(chan json.RawMessage, 1)
	go func() {
		if !s.busy.TryLock() {
			return // an earlier request still waits for it
		}
		defer s.busy.Unlock()
		answer <- s.encode()
	}()
	select {
	case a := <-answer:
		return a
	case <-time.After(SectionTime):
		return note("no answer within " + SectionTime.String())
	}
}

func (s *section) encode() (out json.RawMessage) {
	defer func() {
		if p := recover(); p != nil {
			out = note(fmt.Sprintf("panic: %v", p))
		}
	}()
	data, err := json.Marshal(s.report())
	if err != nil {
		return note(err.Error())
	}
	if len(data) > maxSection {
		return note(fmt.Sprintf("%d bytes are too many to show", len(data)))
	}
	// Parts show no secrets. That one did must not matter.
	if clean := secrets.Redact(string(data)); json.Valid([]byte(clean)) {
		return json.RawMessage(clean)
	}
	return note("it would show a secret")
}

func note(text string) json.RawMessage {
	data, _ := json.Marshal(map[string]string{"error": secrets.Redact(text)}) // strings always encode
	return data
}
