package build

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weirhq/weir/internal/artifact"
)

// files reads a txtar text.
func files(text string) map[string][]byte {
	out := map[string][]byte{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		out[f.Name] = f.Data
	}
	return out
}

// Refusals are told apart by what they wrap; their text is in the scenarios.
func TestRefusals(t *testing.T) {
	cm := "-- a.yaml --\n" + app("a", "")[2]
	one := "-- kustomization.yaml --\nresources: [a.yaml]\n"
	for name, tc := range map[string]struct {
		text  string
		links map[string]string
		spec  Spec
		want  error
	}{
		"path":             {text: cm, spec: Spec{Path: "app"}, want: ErrPath},
		"path of a file":   {text: cm, spec: Spec{Path: "a.yaml"}, want: ErrPath},
		"path out":         {text: cm, links: map[string]string{"app": ".."}, spec: Spec{Path: "app"}, want: ErrPath},
		"git base":         {text: "-- kustomization.yaml --\nresources: ['https://example.org/a/b//c?ref=x']\n", want: ErrRemote},
		"github shorthand": {text: "-- kustomization.yaml --\nresources: [github.com/a/b]\n", want: ErrRemote},
		"scp":              {text: "-- kustomization.yaml --\ncomponents: ['git@example.org:a/b']\n", want: ErrRemote},
		"http patch":       {text: "-- kustomization.yaml --\npatches: [{path: 'HTTP://example.org/p'}]\n", want: ErrRemote},
		"http file":        {text: "-- kustomization.yaml --\nconfigMapGenerator: [{name: a, files: ['k=https://example.org/p']}]\n", want: ErrRemote},
		"inline plugin":    {text: "-- kustomization.yaml --\ntransformers: ['{apiVersion: builtin, kind: PatchTransformer, metadata: {name: a}, path: \"https://x/y\"}']\n", want: ErrRemote},
		"plugin file":      {text: "-- kustomization.yaml --\ntransformers: [t.yaml]\n-- t.yaml --\n[a list first]\n---\napiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: a}\npath: https://x/y\n", want: ErrRemote},
		"key in capitals":  {text: "-- kustomization.yaml --\nReSources: ['ssh://git@example.org/a/b']\n", want: ErrRemote},
		"helm":             {text: "-- kustomization.yaml --\nhelmCharts: [{name: a}]\n", want: ErrPlugin},
		"old helm":         {text: "-- kustomization.yaml --\nhelmChartInflationGenerator: [{chartName: a}]\n", want: ErrPlugin},
		"above the root":   {text: "-- kustomization.yaml --\nresources: [../a.yaml]\n" + cm, want: artifact.ErrEscape},
		"link out":         {text: one, links: map[string]string{"a.yaml": "../../etc/passwd"}, want: artifact.ErrEscape},
		"link absolute":    {text: one, links: map[string]string{"a.yaml": "/etc/passwd"}, want: artifact.ErrEscape},
		"link loop":        {text: one, links: map[string]string{"a.yaml": "a.yaml"}, want: artifact.ErrEscape},
		"alias cycle":      {text: one + "-- a.yaml --\na: &a [*a]\n", want: ErrAliases},
		"bomb":             {text: one + "-- a.yaml --\n" + bomb(9), want: ErrAliases},
		"bomb as file":     {text: "-- kustomization.yaml --\n" + bomb(9), want: ErrAliases},
		"bomb in a base":   {text: "-- kustomization.yaml --\nresources: [b]\n-- b/kustomization.yaml --\n" + bomb(9), want: ErrAliases},
		"inline bomb":      {text: one + "patches:\n- patch: |\n    " + strings.ReplaceAll(bomb(9), "\n", "\n    ") + "\n" + cm, want: ErrAliases},
		"escaped cycle":    {text: one + "patches:\n- patch: \"apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a}\\na: \\x26a [\\x2aa]\"\n" + cm, want: ErrAliases},
		"behind a bad one": {text: one + "-- a.yaml --\na: b: c\n--- x: [\n" + bomb(9), want: ErrAliases},
		"patch bomb":       {text: one + "patches: [{path: p.yaml}]\n" + cm + "-- p.yaml --\n" + bomb(9), want: ErrAliases},
		"bomb in a value":  {text: "-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: ${v}\n", spec: Spec{Substitute: &Substitution{Variables: map[string]string{"v": inlineBomb(9)}}}, want: ErrAliases},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{}).Build(context.Background(), artifact.NewTree(files(tc.text), tc.links), tc.spec)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// bomb is a ConfigMap whose aliases expand to ten to the power levels nodes.
func bomb(levels int) string {
	s := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\nl0: &l0 [x]\n"
	for i := 1; i <= levels; i++ {
		s += fmt.Sprintf("l%d: &l%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 10))
	}
	return s
}

// inlineBomb is the same on one line.
func inlineBomb(levels int) string {
	s := "{l0: &l0 [x]"
	for i := 1; i <= levels; i++ {
		s += fmt.Sprintf(", l%d: &l%d [%s]", i, i, strings.Repeat(fmt.Sprintf("*l%d , ", i-1), 10))
	}
	return s + "}"
}

// Many nodes are no harm, only many that aliases add.
func TestLargeFileWithAliases(t *testing.T) {
	var s strings.Builder
	s.WriteString(app("a", "")[2] + "x: &x [1]\ny: *x\nz:\n")
	for i := range maxExpanded {
		fmt.Fprintf(&s, "- a%d\n", i)
	}
	if err := checkAliases([]byte(s.String())); err != nil {
		t.Error(err)
	}
}
