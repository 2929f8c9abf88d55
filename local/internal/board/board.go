// Package board shows progress on a terminal: a table whose rows change in place, or, where the output
// is no terminal, one line for each row that is done.
package board

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"
)

// refresh is how often a table on a terminal is drawn anew, to let the clocks run.
const refresh = 100 * time.Millisecond

const labelWidth = 30

// Board writes to one output. Its methods may be called at the same time.
type Board struct {
	mu    sync.Mutex
	out   io.Writer
	fd    int // of the terminal
	tty   bool
	color bool
	table *table // the one that is drawn in place, or nil
}

// New returns a board on f. Colours are used on a terminal only, and not when NO_COLOR is set to
// anything (https://no-color.org).
func New(f *os.File) *Board {
	tty := term.IsTerminal(int(f.Fd()))
	return &Board{out: f, fd: int(f.Fd()), tty: tty, color: tty && os.Getenv("NO_COLOR") == ""}
}

// Title writes a heading.
func (b *Board) Title(text string) { b.line("\n" + b.paint("1", text)) }

// Note writes a line of explanation.
func (b *Board) Note(format string, args ...any) {
	b.line("  " + printable(fmt.Sprintf(format, args...)))
}

// Quote writes lines that somebody else wrote.
func (b *Board) Quote(lines []string) {
	for _, line := range lines {
		b.line("    " + b.paint("36", "|") + " " + printable(line))
	}
}

func (b *Board) line(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.table == nil {
		fmt.Fprintln(b.out, text)
		return
	}
	// Above the table, which is drawn anew below.
	fmt.Fprintf(b.out, "\x1b[%dA\x1b[J%s\n", b.table.drawn, text)
	b.table.drawn = 0
	b.draw()
}

// printable replaces what could steer the terminal: much of what is shown comes from repositories.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == ' ' {
			return r
		}
		return '?'
	}, strings.NewReplacer("\t", " ", "\n", "; ").Replace(text))
}

func (b *Board) paint(code, text string) string {
	if !b.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Row is one thing that is waited for. It is in work until Done or Fail.
type Row struct {
	b      *Board
	label  string
	since  time.Time
	detail string
	state  string // "", "ok" or "FAILED"
	took   time.Duration
}

type table struct {
	rows  []*Row
	drawn int // lines on the screen
	stop  chan struct{}
	ended chan struct{}
}

// Rows starts a table with a row for each label; clocks run from since. The function that is returned
// ends it, before the next is started.
func (b *Board) Rows(since time.Time, labels ...string) ([]*Row, func()) {
	t := &table{stop: make(chan struct{}), ended: make(chan struct{})}
	for _, label := range labels {
		t.rows = append(t.rows, &Row{b: b, label: label, since: since})
	}
	if !b.tty {
		return t.rows, func() {}
	}
	b.mu.Lock()
	b.table = t
	b.draw()
	b.mu.Unlock()
	go b.animate(t)
	return t.rows, func() {
		close(t.stop)
		<-t.ended
	}
}

func (b *Board) animate(t *table) {
	defer close(t.ended)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.mu.Lock()
			b.draw()
			b.mu.Unlock()
		case <-t.stop:
			b.mu.Lock()
			b.draw()
			b.table = nil
			b.mu.Unlock()
			return
		}
	}
}

// draw writes the table over what was drawn before. The caller holds the lock.
func (b *Board) draw() {
	t := b.table
	width, _, err := term.GetSize(b.fd)
	if err != nil || width < 40 {
		width = 80
	}
	var text strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", t.drawn)
	}
	for _, r := range t.rows {
		text.WriteString("\r\x1b[2K" + r.text(width) + "\n")
	}
	t.drawn = len(t.rows)
	_, _ = io.WriteString(b.out, text.String())
}

// text is the row on a terminal of the given width; 0 means any.
func (r *Row) text(width int) string {
	took, mark := r.took, r.b.paint("33", "...   ")
	switch r.state {
	case "":
		took = time.Since(r.since)
	case "ok":
		mark = r.b.paint("32", "ok    ")
	default:
		mark = r.b.paint("31", "FAILED")
	}
	detail := r.detail
	if room := width - labelWidth - 22; width > 0 && len([]rune(detail)) > room {
		detail = string([]rune(detail)[:max(0, room-3)]) + "..."
	}
	return fmt.Sprintf("  %8.3fs  %s  %-*s %s", took.Seconds(), mark, labelWidth, r.label, detail)
}

// Label is what the row is about.
func (r *Row) Label() string { return r.label }

// Update says what the row waits for.
func (r *Row) Update(detail string) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.detail = firstLine(detail)
}

// Since sets the clock of the row to run from t.
func (r *Row) Since(t time.Time) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.since = t
}

// Done says that it has happened, and returns how long that took.
func (r *Row) Done(detail string) time.Duration { return r.end("ok", detail) }

// Fail says that it has not.
func (r *Row) Fail(detail string) { r.end("FAILED", detail) }

func (r *Row) end(state, detail string) time.Duration {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.state, r.detail, r.took = state, firstLine(detail), time.Since(r.since)
	if !r.b.tty {
		fmt.Fprintln(r.b.out, r.text(0))
	}
	return r.took
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return printable(line)
}
