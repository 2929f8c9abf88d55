package commitmessage_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/marker"
)

func data() commitmessage.Data {
	d := commitmessage.Data{
		AutomationObject: commitmessage.Object{Namespace: "apps", Name: "auto"},
		Values:           map[string]string{"cluster": "prod"},
	}
	web := marker.Object{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Namespace: "shop"}
	d.Changed.Add("a/web.yaml", []marker.Change{{Line: 3, Object: web, Old: "web:1", New: "web:2", Setter: "apps:web"}})
	d.Changed.Add("b/values.yaml", []marker.Change{{Line: 1, Old: "1", New: "2", Setter: "apps:web:tag"}})
	return d
}

func TestRender(t *testing.T) {
	for name, c := range map[string]struct {
		template, want string
		err            error
		text           string
	}{
		"none":              {template: "", want: commitmessage.Default},
		"blank":             {template: " \n", want: commitmessage.Default},
		"plain":             {template: "Release", want: "Release"},
		"automation":        {template: "{{ .AutomationObject }} {{ .AutomationObject.Name }}", want: "apps/auto auto"},
		"values":            {template: "on {{ .Values.cluster | upper }}", want: "on PROD"},
		"missing value":     {template: "x{{ .Values.nothing }}", want: "x<no value>"},
		"changes":           {template: "{{ range .Changed.Changes }}{{ print .OldValue }} -> {{ println .NewValue }}{{ end }}", want: "web:1 -> web:2\n1 -> 2\n"},
		"files":             {template: "{{ range $file, $_ := .Changed.FileChanges }}- {{ $file }}\n{{ end }}", want: "- a/web.yaml\n- b/values.yaml\n"},
		"objects":           {template: "{{ range $o, $changes := .Changed.Objects }}{{ $o.Kind }} {{ $o.Name }}:{{ range $_, $c := $changes }} {{ $c.Setter }}{{ end }};{{ end }}", want: " : apps:web:tag;Deployment web: apps:web;"},
		"sprig":             {template: `{{ "a,b" | splitList "," | join "+" }} {{ printf "%05d" 42 }} {{ until 3 }} {{ dict "a" 1 | toJson }}`, want: `a+b 00042 [0 1 2] {"a":1}`},
		"nested and else":   {template: `{{ if .Values.no }}a{{ else if .Values.cluster }}b{{ end }}{{ with .Values.no }}c{{ else }}d{{ end }}`, want: "bd"},
		"break":             {template: `{{ range until 5 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}`, want: "01"},
		"removed field":     {template: "{{ range .Updated.Images }}{{ . }}{{ end }}", err: commitmessage.ErrRemovedField, text: ".Changed"},
		"unknown field":     {template: "{{ .Nope }}", err: commitmessage.ErrTemplate, text: "Nope"},
		"not a template":    {template: "{{ if }}", err: commitmessage.ErrTemplate, text: "cannot be parsed"},
		"empty result":      {template: "{{ with .Values.no }}x{{ end }}", err: commitmessage.ErrTemplate, text: "empty"},
		"environment":       {template: `{{ env "HOME" }}`, err: commitmessage.ErrTemplate, text: `"env" not defined`},
		"network":           {template: `{{ getHostByName "localhost" }}`, err: commitmessage.ErrTemplate, text: "not defined"},
		"keys":              {template: `{{ genPrivateKey "rsa" }}`, err: commitmessage.ErrTemplate, text: "not defined"},
		"fail":              {template: `{{ fail "because" }}`, err: commitmessage.ErrTemplate, text: "because"},
		"a value that fits": {template: `{{ repeat 1000 "ab" | trunc 4 }}`, want: "abab"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := commitmessage.Render(c.template, data())
			if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got error %v, want %v with %q", err, c.err, c.text)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
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
			_, err := commitmessage.Render(template, data())
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, commitmessage.ErrLimit) || len(err.Error()) > 400 {
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

// FuzzRender asserts that no template panics, runs on or yields too much.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		`{{ range $o, $c := .Changed.Objects }}{{ $o.Kind }}{{ end }}`, `{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`,
		`{{ $x := dict "a" (list 1 2) }}{{ range until 9 }}{{ $x = merge $x (dict "b" $x) }}{{ end }}{{ toJson $x }}`,
		`{{ printf "%v %[1]q" . }}{{ with $y := .Values }}{{ index $y "cluster" | nindent 4 }}{{ else }}{{ break }}{{ end }}`,
		`{{ regexReplaceAll "(a+)+$" (repeat 99 "a") "${1}$1" | wrapWith 3 "xx" }}`, `{{ block "b" . }}{{ slice "abc" 1 2 }}{{ end }}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		message, err := commitmessage.Render(text, data())
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if err == nil && len(message) > 1<<18 || err != nil && !errors.Is(err, commitmessage.ErrTemplate) {
			t.Errorf("%d bytes, %v", len(message), err)
		}
	})
}
