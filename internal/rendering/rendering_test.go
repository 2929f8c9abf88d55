package rendering_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/rendering"
)

func TestExecute(t *testing.T) {
	type data struct{ Name string }
	for name, c := range map[string]struct{ template, want, fails string }{
		"plain":     {template: "a", want: "a"},
		"empty":     {template: ""},
		"data":      {template: "{{ .Name | upper }}", want: "APPS"},
		"zero byte": {template: `a{{ "\x00" }}b`, want: "ab"},
		"no UTF-8":  {template: `a{{ "\xff" }}b`, want: "a\uFFFDb"},
		"syntax":    {template: "{{ if }}", fails: "cannot be parsed"},
		"field":     {template: "{{ .Nope }}", fails: "Nope"},
		"files":     {template: `{{ readFile "/etc/passwd" }}`, fails: "not defined"},
		"time":      {template: `{{ now }}`, fails: "not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rendering.Execute("test", c.template, data{Name: "apps"})
			if got != c.want || (err != nil) != (c.fails != "") {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil && (!errors.Is(err, rendering.ErrTemplate) || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

// TestBombs runs templates that try to take all the time or memory there is.
func TestBombs(t *testing.T) {
	doubling := `{{ define "a0" }}{{ end }}`
	for i := range 60 {
		call := `{{ template "a` + string(rune('0'+i%10)) + "" + strings.Repeat("x", i/10) + `" . }}`
		doubling += `{{ define "a` + string(rune('0'+(i+1)%10)) + strings.Repeat("x", (i+1)/10) + `" }}` + call + call + `{{ end }}`
	}
	for name, template := range map[string]string{
		"a range over a number":      `{{ range 9000000000 }}{{ end }}`,
		"nested ranges":              strings.Repeat(`{{ range until 1000 }}`, 6) + strings.Repeat(`{{ end }}`, 6),
		"a long message":             `{{ range until 10000 }}xxxxxxxxxxxxxxxxxxxxxxxxxxxx{{ end }}`,
		"repeat":                     `{{ repeat 1000000000 "x" }}`,
		"repeat a text":              `{{ $x := repeat 9000 "0123456789abcdef" }}{{ repeat 9000 $x }}`,
		"until":                      `{{ until 1000000000 }}`,
		"untilStep":                  `{{ untilStep 0 2000000000 1 }}`,
		"seq":                        `{{ seq 1 1 2000000000 }}`,
		"indent":                     `{{ indent 1000000000 "x" }}`,
		"printf width":               `{{ printf "%999999d" 1 }}`,
		"printf many widths":         `{{ $f := repeat 5000 "%9999d" }}{{ printf $f 1 }}`,
		"printf width from argument": `{{ printf "%*d" 999999 1 }}`,
		"printf repeated argument":   `{{ $x := repeat 9000 "aaaaaaaa" }}{{ printf (repeat 9000 "%[1]s") $x }}`,
		"doubling a text":            `{{ $x := "x" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}`,
		"doubling a list":            `{{ $x := list 1 }}{{ range until 60 }}{{ $x = concat $x $x }}{{ end }}`,
		"doubling by nesting":        `{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}`,
		"replace":                    `{{ $x := repeat 9000 "aaaaaaaaa" }}{{ replace "a" $x $x }}`,
		"join":                       `{{ join (repeat 9000 "aaaaaaaaa") (until 9000) }}`,
		"a dict in itself":           `{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ toJson $d }}`,
		"recursion":                  `{{ define "r" }}{{ template "r" . }}{{ end }}{{ template "r" . }}`,
		"recursion by two":           `{{ define "r" }}{{ template "r" . }}{{ template "r" . }}{{ end }}{{ template "r" . }}`,
		"sixty doublings":            doubling + `{{ template "a0xxxxxx" . }}`,
		"deep JSON":                  `{{ $j := printf "%s%s" (repeat 9000 "[") (repeat 9000 "]") }}{{ fromJson $j | toPrettyJson }}`,
		"a long template":            strings.Repeat("x", 1<<17),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			_, err := rendering.Execute("test", template, nil)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, rendering.ErrLimit) || len(err.Error()) > 400 {
				t.Errorf("got %.400v, want a short ErrLimit", err)
			}
			if took > 3*time.Second {
				t.Errorf("took %s", took)
			}
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 256 {
				t.Errorf("allocated %d MiB", mib)
			}
		})
	}
}
