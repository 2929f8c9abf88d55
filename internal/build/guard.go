package build

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/weirhq/weir/internal/artifact"
)

// guard is what every file passes before kustomize sees it. Since kustomize
// learns of a path only from a file, this sees every path before it is used.
type guard struct {
	ownSchema    bool // the build may bring its own OpenAPI document
	forbidRemote bool // nothing may be named by URL
}

func (g guard) check(p string, data []byte) error {
	if err := checkAliases(data); err != nil {
		return err
	}
	if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(p)) {
		return g.plugins(data)
	}
	var k types.Kustomization // kustomize's own type, so its own view of the keys
	if err := k.Unmarshal(data); err != nil {
		return explainYAML(err)
	}
	k.FixKustomization()
	if len(k.OpenAPI) > 0 && !g.ownSchema {
		return errSchema
	}
	if len(k.HelmCharts) > 0 || k.HelmGlobals != nil || len(k.HelmChartInflationGenerator) > 0 {
		return fmt.Errorf("helmCharts: %w: Helm charts are not inflated; use a HelmRelease", ErrPlugin)
	}
	for _, r := range references(&k) {
		if err := g.reference(r.field, r.path, path.Dir(p)); err != nil {
			return err
		}
	}
	return g.inline(&k, path.Dir(p))
}

// reference is a path that a kustomization names, with the field it is in.
type reference struct{ field, path string }

func references(k *types.Kustomization) []reference {
	var out []reference
	add := func(field string, paths ...string) {
		for _, p := range paths {
			out = append(out, reference{field, p})
		}
	}
	add("resources", k.Resources...)
	add("bases", k.Bases...)
	add("components", k.Components...)
	add("crds", k.Crds...)
	add("configurations", k.Configurations...)
	add("openapi", k.OpenAPI["path"])
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) {
		add("patches", p.Path)
	}
	for _, r := range k.Replacements {
		add("replacements", r.Path)
	}
	for _, m := range k.ConfigMapGenerator {
		add("configMapGenerator", sources(m.KvPairSources)...)
	}
	for _, s := range k.SecretGenerator {
		add("secretGenerator", sources(s.KvPairSources)...)
	}
	return out
}

func sources(s types.KvPairSources) []string {
	out := append(slices.Clone(s.EnvSources), s.EnvSource)
	for _, f := range s.FileSources {
		out = append(out, filePart(f))
	}
	return out
}

// filePart is the path in a file source, which is "path" or "key=path".
func filePart(s string) string {
	if _, after, ok := strings.Cut(s, "="); ok {
		return after
	}
	return s
}

// inline looks at the fields whose items are each YAML or a path.
func (g guard) inline(k *types.Kustomization, dir string) error {
	items := map[string][]string{"generators": k.Generators, "transformers": k.Transformers, "validators": k.Validators}
	for _, p := range k.PatchesStrategicMerge {
		items["patchesStrategicMerge"] = append(items["patchesStrategicMerge"], string(p))
	}
	for _, field := range []string{"generators", "transformers", "validators", "patchesStrategicMerge"} {
		for _, s := range items[field] {
			var doc yaml.Node
			var err error
			if yaml.Unmarshal([]byte(s), &doc) == nil && len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
				err = g.plugins([]byte(s))
			} else if !strings.Contains(s, "\n") {
				err = g.reference(field, s, dir)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// reference refuses a path that is not relative to the directory of its file, or
// leads out of the tree. The file system would not let it out; it would take the
// root for the parent of the root.
func (g guard) reference(field, s, dir string) error {
	switch {
	case escapes(dir, s):
		return fmt.Errorf("%s: %q: %w", field, s, artifact.ErrEscape)
	case path.IsAbs(s):
		return fmt.Errorf("%s: %q is an absolute path; write it relative to this file", field, s)
	case !remote(s):
		return nil
	case g.forbidRemote:
		return fmt.Errorf("%s: %q: %w: remote bases are forbidden (--no-remote-bases); add the files to the source (a local path with ':' or '@' needs a leading \"./\")", field, shownURL(s), ErrRemote)
	}
	return nil // it is fetched before kustomize sees it
}

// remote reports whether kustomize might take s for something to fetch. It is
// wider than kustomize's own rules on purpose: they are not exported and they
// change. A path that begins with a dot can be neither a URL nor an SCP-style
// address; any other may hold neither a colon nor a question mark, and no @ in
// its first segment.
func remote(s string) bool {
	if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return false
	}
	s = strings.ToLower(s)
	first, _, _ := strings.Cut(s, "/")
	return strings.ContainsAny(s, ":?") || strings.Contains(first, "@") || strings.HasPrefix(s, "github.com")
}

// plugins looks at the paths in configurations of built-in plugins, which may
// sit in any file that a kustomization names.
func (g guard) plugins(data []byte) error {
	if !bytes.Contains(data, []byte(konfig.BuiltinPluginApiVersion)) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		if dec.Decode(&node) != nil {
			return nil
		}
		var doc map[string]any
		if node.Decode(&doc) != nil || doc["apiVersion"] != konfig.BuiltinPluginApiVersion {
			continue
		}
		if doc["kind"] == "HelmChartInflationGenerator" {
			return fmt.Errorf("HelmChartInflationGenerator: %w: Helm charts are not inflated; use a HelmRelease", ErrPlugin)
		}
		if err := g.pluginPaths("", doc); err != nil {
			return err
		}
	}
}

func (g guard) pluginPaths(key string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			if err := g.pluginPaths(k, c); err != nil {
				return err
			}
		}
	case []any:
		for _, c := range v {
			if err := g.pluginPaths(key, c); err != nil {
				return err
			}
		}
	case string:
		if key == "files" {
			v = filePart(v)
		}
		if slices.Contains([]string{"path", "paths", "files", "env", "envs"}, key) &&
			!strings.Contains(v, "\n") && remote(v) {
			return fmt.Errorf("%s: %q: %w: a plugin's configuration may not name a URL; name it in a kustomization", key, shownURL(v), ErrRemote)
		}
	}
	return nil
}
