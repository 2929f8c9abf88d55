package build

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"

	"github.com/weirhq/weir/internal/artifact"
)

var (
	yamlLine = regexp.MustCompile(`yaml: line (\d+)`)
	// kustomize quotes the whole configuration of a generator that fails, with
	// the literals of a Secret in it.
	generatorConfig = regexp.MustCompile("(?s) with config: `.*?`")
	// Only in messages of kustomize that tried a path as a file, then as a
	// directory, and tells about both.
	asFile = regexp.MustCompile(`(?s)^accumulating resources: accumulation err='accumulating resources from '([^']*)': (.*)': .*$`)
)

// explain makes an error of kustomize into one that names the file and the line,
// where the cause can be found again.
func explain(r *recorder, t target, err error) error {
	text := err.Error()
	if strings.Contains(strings.ToLower(text), "yaml") || t.generated {
		if found := findBadFile(r, t, text); found != nil {
			return found
		}
	}
	text = generatorConfig.ReplaceAllString(text, "")
	if m := asFile.FindStringSubmatch(text); m != nil && strings.Contains(m[2], "no such file") {
		missing := path.Join(t.dir, m[1])
		if info, err := r.base.Stat(missing); err == nil && info.Kind == artifact.Absent {
			return fmt.Errorf("%q names the resource %q, and there is no %q in the source", relative(t.file), m[1], relative(missing))
		}
	}
	return errors.New(tidy("kustomize build: " + text))
}

// tidy takes out of a message what is true but helps nobody.
func tidy(s string) string {
	s = strings.ReplaceAll(s, "recursed accumulation of path", "in")
	return strings.Join(strings.Fields(s), " ")
}

// findBadFile looks through the manifests that the build read for the one that
// kustomize could not take, and says why.
func findBadFile(r *recorder, t target, text string) error {
	for _, f := range r.readSet() {
		base := path.Base(f.path)
		ext := path.Ext(base)
		if !f.used || f.kind != artifact.File || f.path == t.file ||
			ext != ".yaml" && ext != ".yml" && ext != ".json" || !strings.Contains(text, base) {
			continue
		}
		data, err := r.tree.ReadFile(f.real)
		if err != nil || checkAliases(data) != nil {
			continue
		}
		if err := badManifest(data); err != nil {
			return fmt.Errorf("%q: %w", relative(f.path), err)
		}
	}
	return nil
}

// badManifest says why data is not a stream of Kubernetes objects, nil if it is.
func badManifest(data []byte) (err error) {
	line := 0
	for i, doc := range bytes.Split(data, []byte("\n---")) {
		var node yaml.Node
		if err := yaml.Unmarshal(doc, &node); err != nil && i > 0 {
			// The rest of the separator's line belongs to the document.
			_, rest, _ := bytes.Cut(doc, []byte("\n"))
			if err = yaml.Unmarshal(rest, &node); err != nil {
				return yamlError(err, line+1)
			}
		} else if err != nil {
			return yamlError(err, line)
		}
		line += bytes.Count(doc, []byte("\n")) + 1
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize cannot work with it: %v", p)
		}
	}()
	_, err = provider.NewDefaultDepProvider().GetResourceFactory().SliceFromBytes(data)
	if err != nil {
		return fmt.Errorf("not a Kubernetes object: %s", tidy(err.Error()))
	}
	return nil
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
	return fmt.Errorf("not a valid %s: %s", konfig.DefaultKustomizationFileName(), text)
}
