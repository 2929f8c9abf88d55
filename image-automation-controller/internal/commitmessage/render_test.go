package commitmessage_test

import (
	"errors"
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
