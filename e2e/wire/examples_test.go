package wire

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// block is a YAML example in a page.
var block = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")

// file is the first line of an example that is a file of a repository.
var file = regexp.MustCompile(`\A# ([a-z][A-Za-z0-9_/.-]*\.yaml)\n`)

// examples calls fn for each YAML example of the documentation.
func examples(t *testing.T, fn func(page, example string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		for _, m := range block.FindAllStringSubmatch(readText(t, path), -1) {
			n++
			fn(path, regexp.MustCompile(`(?m)^`+m[1]).ReplaceAllString(m[2], ""))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 40 {
		t.Errorf("the documentation has only %d examples", n)
	}
}

// TestExamples reads every object of the documentation strictly as its kind, so
// that no example names a field that is not there.
func TestExamples(t *testing.T) {
	examples(t, func(page, example string) {
		for _, document := range separator.Split(example, -1) {
			var about metav1.TypeMeta
			if err := yaml.Unmarshal([]byte(document), &about); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, document)
				continue
			}
			switch {
			case strings.HasPrefix(about.APIVersion, "kustomize.config.k8s.io/"):
				if err := yaml.UnmarshalStrict([]byte(document), &kustomize.Kustomization{}); err != nil {
					t.Errorf("%s: %v in\n%s", page, err, document)
				}
			case strings.Contains(about.APIVersion, ".toolkit.fluxcd.io/") && about.Kind != "HelmRelease":
				readSample(t, page, document)
			}
		}
	})
}

// TestExamplesBuild builds the repositories that the guides show, each file of
// which is an example that starts with its path.
func TestExamplesBuild(t *testing.T) {
	repositories := map[string]filesys.FileSystem{}
	folders := map[string][]string{}
	examples(t, func(page, example string) {
		m := file.FindStringSubmatch(example)
		if m == nil {
			return
		}
		if repositories[page] == nil {
			repositories[page] = filesys.MakeFsInMemory()
		}
		if err := repositories[page].WriteFile("/"+m[1], []byte(example)); err != nil {
			t.Fatal(err)
		}
		if filepath.Base(m[1]) == "kustomization.yaml" {
			folders[page] = append(folders[page], filepath.Dir(m[1]))
		}
	})
	if len(repositories) < 3 {
		t.Errorf("only %d guides show files of a repository", len(repositories))
	}
	for page, files := range repositories {
		for _, folder := range folders[page] {
			objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/"+folder)
			if err != nil {
				t.Errorf("%s: building %s: %v", page, folder, err)
				continue
			}
			if objects.Size() == 0 {
				t.Errorf("%s: %s builds to nothing", page, folder)
			}
		}
	}
	if _, err := os.Stat("../../docs/guides"); err != nil {
		t.Fatal(err)
	}
}
