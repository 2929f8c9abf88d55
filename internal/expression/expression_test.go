package expression

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

func TestConditions(t *testing.T) {
	data := map[string]any{
		"self": map[string]any{"spec": map[string]any{"x": "1", "n": 2.0}, "list": []any{"a", "b"}},
		"dep":  map[string]any{"metadata": map[string]any{"labels": map[string]any{"v": "1"}}},
	}
	l := NewLanguage([]string{"self", "dep"}, cel.Function("twice", cel.MemberOverload("int_twice", []*cel.Type{cel.IntType}, cel.IntType,
		cel.UnaryBinding(func(v ref.Val) ref.Val { return v.(types.Int) * 2 }))))
	const (
		yes = iota
		no
		fails
		refused
	)
	for text, want := range map[string]int{
		"dep.metadata.labels['v'] == self.spec.x":           yes,
		"dep.metadata.labels['v'] == 'other'":               no,
		"has(dep.status)":                                   no,
		"self.spec.n == 2":                                  yes,
		"self.?missing.orValue('x') == 'x'":                 yes,
		"'A b'.lowerAscii().split(' ') == ['a', 'b']":       yes,
		"sets.contains(self.list, ['b'])":                   yes,
		"base64.decode('YQ==') == b'a'":                     yes,
		"2.twice() == 4":                                    yes,
		"timestamp('2026-01-01T00:00:00Z').getHours() == 0": yes,
		"dep.status.ready == true":                          fails,
		"":                                                  refused,
		"dep.":                                              refused,
		"other.x == 1":                                      refused,
		"'text'":                                            refused,
		"dep.metadata.name":                                 refused,
		strings.Repeat("true && ", 2000) + "true":           refused,
		"'a'" + strings.Repeat(".replace('a', 'aa')", 20) + " == 'a'": refused,
	} {
		e, err := l.Compile(text)
		if want == refused || err != nil {
			if want != refused || !errors.Is(err, ErrInvalid) {
				t.Errorf("%.60q: %v", text, err)
			}
			continue
		}
		got, err := e.Holds(t.Context(), data)
		if (err != nil) != (want == fails) || got != (want == yes) {
			t.Errorf("%q = %t, %v", text, got, err)
		}
	}
}

func TestValues(t *testing.T) {
	l := NewLanguage([]string{"claims", "vars"})
	first, err := l.CompileValue("claims.sub.split(':')")
	if err != nil {
		t.Fatal(err)
	}
	v, err := first.Value(t.Context(), map[string]any{"claims": map[string]any{"sub": "a:b"}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Compile("vars.parts[1] == 'b' && size(vars.parts) == 2")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := second.Holds(t.Context(), map[string]any{"vars": map[string]any{"parts": v}}); err != nil || !ok {
		t.Errorf("a value in another expression: %t, %v", ok, err)
	}
	text, err := l.CompileValue("claims.sub")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := text.Text(t.Context(), map[string]any{"claims": map[string]any{"sub": "x"}}); err != nil || got != "x" {
		t.Errorf("text is %q, %v", got, err)
	}
	if _, err := text.Text(t.Context(), map[string]any{"claims": map[string]any{"sub": 1}}); err == nil {
		t.Error("a number was taken for a text")
	}
	long := map[string]any{"claims": map[string]any{"sub": strings.Repeat("x", maxText+1)}}
	if _, err := text.Value(t.Context(), long); err == nil {
		t.Error("a value of more than a mebibyte was kept")
	}
}

// Expressions that would take all time or memory end in an error, soon.
func TestBombsAreDefused(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	list := "[" + strings.Repeat("0,", 99) + "0]"
	for name, text := range map[string]string{
		"doubled text":      "[status.text]" + strings.Repeat(".map(x, x + x)", 60) + ".size() == 1",
		"nested loops":      list + ".all(a, " + list + ".all(b, " + list + ".all(c, " + list + ".all(d, a + b + c + d == 0))))",
		"replaced text":     "status.text.replace('a', status.text) == ''",
		"joined text":       "status.list.join(status.text) == ''",
		"formatted text":    "'%s%s%s%s%s%s%s%s%s%s%s%s'.format([status.text, status.text]) == ''",
		"replaced the pair": "status.text.replace('a', 'aaaaaaaaa').replace('a', 'aaaaaaaaa') == ''",
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Fields.Compile(text)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = e.Holds(t.Context(), map[string]any{"status": map[string]any{
				"text": long, "list": []any{long, long, long, long, long, long, long, long, long, long, long, long}}})
			if err == nil {
				t.Error("it was evaluated to the end")
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("status.phase == 'Up'")
	f.Add("has(a.b) && [1,2].exists(x, x == a.c)")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Fields.Compile(text)
		if err != nil {
			return
		}
		_, _ = e.Holds(t.Context(), map[string]any{"a": map[string]any{"b": "c"}}) // must return
	})
}
