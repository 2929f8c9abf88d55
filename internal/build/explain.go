package build

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resource"

	"github.com/weirhq/weir/internal/artifact"
)

// What kustomize says, as of the version in engineVersion. A message that does
// not match is passed on as it is, less its secrets.
var (
	yamlLine = regexp.MustCompile(`yaml: line (\d+)`)
	missing  = regexp.MustCompile(`accumulating resources from '([^']*)': open ([^']*): file does not exist`)
	twice    = regexp.MustCompile(`merging resources from '([^']*)': may not add resource with an already registered id: ([^']*)'`)
	several  = regexp.MustCompile(`Found multiple kustomization files under: (\S*)`)
	nameless = regexp.MustCompile(`missing metadata\.name in object \{\{\S+ (\S+)\}.*`)
	// An address in memory says nothing, and differs each time.
	address = regexp.MustCompile(`( ?&\{)?0x[0-9a-f]{6,}( 0x[0-9a-f]{6,})*\}?`)
	// The whole configuration of a generator that fails is quoted, with the
	// literals of a Secret in it.
	generatorConfig = regexp.MustCompile("(?s) with config: `.*?`")
	// So are the objects that a reference may mean, one that cannot be decoded, and
	// a value of the wrong kind.
	candidates = regexp.MustCompile(`(?s)\s*\*\*\*\* Too many possible referral targets.*`)
	undecoded  = regexp.MustCompile(`(?s) for the following resource:.*`)
	wrongValue = regexp.MustCompile(`(?s):\s+(value: \{|node contents:).*`)
)

// explain makes an error of kustomize into one that names the file and the line,
// where the cause can be found again.
func explain(r *recorder, t target, err error) error {
	text := withoutContent(err.Error())
	if found := findBadFile(r, t, text); found != nil {
		return found
	}
	if m := last(missing, text); m != nil {
		if by := namedBy(r, t, m[1], m[2]); by != "" {
			return fmt.Errorf("%q: resources: %q is not in the source", by, relative(m[2]))
		}
	}
	if m := last(twice, text); m != nil {
		return fmt.Errorf("%q: %s is there twice%s", path.Clean(m[1]), m[2], alsoIn(r, m[1], m[2]))
	}
	if m := several.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%q has more than one kustomization file; keep one of %s", relative(m[1]), strings.Join(konfig.RecognizedKustomizationFileNames(), ", "))
	}
	return fmt.Errorf("kustomize build of %q: %s", relative(t.dir), tidy(text))
}

// withoutContent takes out of a message what objects hold, secrets included.
func withoutContent(text string) string {
	for _, quoted := range []*regexp.Regexp{generatorConfig, candidates, undecoded, wrongValue} {
		text = quoted.ReplaceAllString(text, "")
	}
	return text
}

func last(re *regexp.Regexp, text string) []string {
	all := re.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// tidy takes out of a message what is true but helps nobody.
func tidy(s string) string {
	s = address.ReplaceAllString(s, "")
	s = nameless.ReplaceAllString(s, "a $1 has no metadata.name (generateName is not supported)")
	s = strings.ReplaceAll(s, "recursed accumulation of path", "in")
	s = strings.ReplaceAll(s, "unable to unmarshal", "cannot unmarshal") // its JSON library throws dice
	return strings.Join(strings.Fields(s), " ")
}

// namedBy returns the kustomization file whose reference ref is the path p.
func namedBy(r *recorder, t target, ref, p string) string {
	files := []string{t.file}
	for _, f := range r.order {
		if f.used && f.kind == artifact.File && slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(f.path)) {
			files = append(files, f.path)
		}
	}
	for _, file := range slices.Backward(files) {
		if path.Join(path.Dir(file), ref) == p {
			return relative(file)
		}
	}
	return ""
}

// alsoIn names another manifest with an object of this id, as kustomize writes
// it.
func alsoIn(r *recorder, ref, id string) string {
	seen := false
	for f, data := range r.manifests() {
		named := strings.HasSuffix("/"+relative(f), "/"+path.Base(ref))
		if named && !seen {
			seen = true
			continue
		}
		for _, res := range decode(data) {
			if res.CurId().String() == id || res.OrgId().String() == id {
				return fmt.Sprintf("; it is in %q too", relative(f))
			}
		}
	}
	return ""
}

// manifests yields path and content of every file read that may be a manifest.
func (r *recorder) manifests() func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for _, f := range slices.Clone(r.order) {
			ext := path.Ext(f.path)
			if !f.used || f.kind != artifact.File || ext != ".yaml" && ext != ".yml" && ext != ".json" ||
				slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(f.path)) {
				continue
			}
			data, err := r.tree.ReadFile(f.real)
			if err != nil || checkAliases(data) != nil {
				continue
			}
			if !yield(f.path, data) {
				return
			}
		}
	}
}

// findBadFile looks for the manifest that kustomize could not take, and says
// why. A file that kustomize does not speak of may be data for a generator.
func findBadFile(r *recorder, t target, text string) error {
	if lower := strings.ToLower(text); !strings.Contains(lower, "yaml") && !t.generated {
		return nil
	}
	for p, data := range r.manifests() {
		if !strings.Contains(text, path.Base(p)) {
			continue
		}
		if err := badManifest(data); err != nil {
			return fmt.Errorf("%q: %w", relative(p), err)
		}
	}
	return nil
}

// badManifest says why data is not a stream of Kubernetes objects, nil if it is.
func badManifest(data []byte) error {
	line := 0
	for i, doc := range bytes.Split(data, []byte("\n---")) {
		text, skipped := doc, 0
		if i > 0 { // the rest of the separator's line
			_, text, _ = bytes.Cut(doc, []byte("\n"))
			skipped = 1
		}
		var node yaml.Node
		if err := yaml.Unmarshal(text, &node); err != nil {
			return yamlError(err, line+skipped)
		}
		line += bytes.Count(doc, []byte("\n")) + 1
	}
	if _, err := decodeAll(data); err != nil {
		return fmt.Errorf("not a Kubernetes object: %s", tidy(withoutContent(err.Error())))
	}
	return nil
}

func decode(data []byte) []*resource.Resource {
	all, _ := decodeAll(data)
	return all
}

// decodeAll reads data as kustomize does.
func decodeAll(data []byte) (all []*resource.Resource, err error) {
	defer func() {
		if p := recover(); p != nil {
			all, err = nil, fmt.Errorf("kustomize cannot work with it: %v", p)
		}
	}()
	return provider.NewDefaultDepProvider().GetResourceFactory().SliceFromBytes(data)
}

// yamlError is a parser's error with its line moved down by offset.
func yamlError(err error, offset int) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("not valid YAML: %s", text)
	}
	n, _ := strconv.Atoi(m[1])
	return fmt.Errorf("line %d: not valid YAML: %s", n+offset, strings.TrimPrefix(text, "line "+m[1]+": "))
}

// explainYAML says where a kustomization file is wrong.
func explainYAML(err error) error {
	text := err.Error()
	for _, prefix := range []string{"invalid Kustomization: ", "error unmarshaling JSON: ", "while decoding JSON: ", "error converting YAML to JSON: ", "json: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	if yamlLine.MatchString(text) {
		return yamlError(errors.New(text), 0)
	}
	return fmt.Errorf("not a valid kustomization: %s", text)
}
