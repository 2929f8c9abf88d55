package marker_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weirhq/weir/image-automation-controller/internal/marker"
)

// A writer composes a YAML file from parts that must stay and scalars that must
// change, twice: as it is before and as it has to be after.
type writer struct {
	rng           *rand.Rand
	before, after strings.Builder
	eol           string
	marked        int
}

func (w *writer) keep(s string) {
	s = strings.ReplaceAll(s, "\n", w.eol)
	w.before.WriteString(s)
	w.after.WriteString(s)
}

func (w *writer) pick(options ...string) string { return options[w.rng.IntN(len(options))] }

// scalar writes a value, marked or not, with its comment and line end.
func (w *writer) scalar() {
	w.keep(w.pick("", "", "", "&a"+fmt.Sprint(w.rng.IntN(1e6))+" ", "!!str "))
	quote := w.pick("", "", `"`, "'")
	old := w.pick("nginx:1.0", "x", "a b", "ghcr.io/org/web@sha256:12", "true-ish", "1.2.0", "é🙂", "v#1")
	if w.rng.IntN(3) == 0 {
		w.keep(quote + old + quote + w.pick("", " # {\"$imagepolicy\": \"apps:nobody\"}", "   # words", "") + "\n")
		return
	}
	w.marked++
	w.before.WriteString(quote + old + quote)
	w.after.WriteString(quote + "ghcr.io/org/web:1.2.0" + quote)
	w.keep(w.pick(" ", "   ", "\t") + `# {"$imagepolicy": "apps:web"}` + w.pick("", " ") + "\n")
}

func (w *writer) block(indent string, depth int) {
	for i := range 1 + w.rng.IntN(4) {
		w.keep(w.pick("", "", "", "\n", indent+"# a comment: {\"$x\": 1}\n", "# {not: a marker}\n"))
		key := fmt.Sprintf("%s%sk%d:", indent, w.pick("", "", "é"), i)
		switch n := w.rng.IntN(8); {
		case depth < 4 && n < 2:
			w.keep(key + w.pick("", " # words") + "\n")
			w.block(indent+w.pick(" ", "  ", "      "), depth+1)
		case depth < 4 && n == 2:
			w.keep(key + "\n")
			for range 1 + w.rng.IntN(3) {
				w.keep(indent + w.pick("", "  ")[0:0] + "-" + w.pick(" ", "   "))
				w.scalar()
			}
		case n == 3:
			w.keep(key + w.pick(" |", " >-", " |+") + "\n" + indent + "  text: x # {\"$imagepolicy\": \"apps:web\"}\n\n" + indent + "  more\n")
		case n == 4:
			w.keep(key + " {a: \"" + w.pick("x", "\\\"", "{}") + "\", b: [1,   2,3] }\n")
		default:
			w.keep(key + w.pick(" ", "  ", "\t"))
			w.scalar()
		}
	}
}

// TestOnlyMarkedScalarsChange composes random files and asserts that the edit
// yields byte for byte what the composer expects.
func TestOnlyMarkedScalarsChange(t *testing.T) {
	marked := 0
	for seed := range uint64(3000) {
		w := &writer{rng: rand.New(rand.NewPCG(seed, 7)), eol: "\n"}
		if seed%3 == 0 {
			w.eol = "\r\n"
		}
		for range 1 + w.rng.IntN(3) {
			w.keep("---\n")
			w.block("", 0)
		}
		result, err := marker.Edit([]byte(w.before.String()), corpusValues())
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, w.before.String())
		}
		if string(result.Content) != w.after.String() || len(result.Changes) > w.marked {
			t.Fatalf("seed %d: %d changes\n--- want\n%q\n--- got\n%q", seed, len(result.Changes), w.after.String(), result.Content)
		}
		marked += len(result.Changes)
	}
	if marked < 3000 {
		t.Errorf("only %d scalars were changed; the composer has become too tame", marked)
	}
}

// TestBounds holds files that are meant to exhaust the parser.
func TestBounds(t *testing.T) {
	token := "\nimage: x # {\"$imagepolicy\": \"apps:web\"}\n"
	laughs := "a0: &a0 [x]\n"
	for i := range 40 {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i)
	}
	for name, c := range map[string]struct {
		content string
		refused bool
	}{
		"an alias bomb costs nothing": {laughs + token, false},
		"brackets without end":        {"a: " + strings.Repeat("[", 1_000_000) + token, true},
		"nested beyond the limit":     {"a: " + strings.Repeat("[", 600) + strings.Repeat("]", 600) + token, true},
		"indents without end":         {strings.Repeat("- ", 200_000) + "a" + token, true},
		"too large":                   {"a: " + strings.Repeat("x", marker.MaxFileBytes) + token, true},
		"large without a token":       {"a: " + strings.Repeat("x", marker.MaxFileBytes), false},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := marker.Edit([]byte(c.content), corpusValues())
			if problem := (*marker.Error)(nil); (err != nil) != c.refused || err != nil && !errors.As(err, &problem) {
				t.Errorf("got %v, want an error: %v", err, c.refused)
			}
			if c.refused && len(result.Changes) > 0 {
				t.Error("a refused file reports changes")
			}
		})
	}
}

// FuzzEdit asserts of any input that an edit is refused or is stable: it parses,
// a second run changes nothing, and the number of lines stays.
func FuzzEdit(f *testing.F) {
	f.Add([]byte("a: x # {\"$imagepolicy\": \"apps:web\"}\r\nb: 'y' # {\"$imagepolicy\": \"apps:api:tag\"}"), "1.2.0")
	f.Add([]byte("\xef\xbb\xbf- {a: &b !!str x} # {\"$imagepolicy\": \"apps:web\"}\n...\n---\n? a\n: |\n b"), "1.10")
	f.Add([]byte("a: [x, # {\"$imagepolicy\": \"apps:web:tag\"}\n\"y\\\"\"]\n"), "on")
	f.Fuzz(func(t *testing.T, content []byte, tag string) {
		values := corpusValues()
		values.Add("apps", "web", marker.Ref{Name: "example.com/web", Tag: tag})
		result, err := marker.Edit(content, values)
		if err != nil {
			return
		}
		if bytes.Count(result.Content, []byte("\n")) != bytes.Count(content, []byte("\n")) {
			t.Errorf("%q became %q", content, result.Content)
		}
		again, err := marker.Edit(result.Content, values)
		if err != nil || len(again.Changes) != 0 {
			t.Errorf("%q became %q, and then %q (%v)", content, result.Content, again.Content, err)
		}
	})
}
