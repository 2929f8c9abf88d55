package build

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

// plainKustomize builds s with kustomize alone, from disk, with the OpenAPI document
// of a fresh process, and reads the YAML that it prints.
func plainKustomize(t *testing.T, s source) (string, error) {
	t.Helper()
	root := t.TempDir()
	for p, data := range s.files {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	annotateOrigin(t, root, s)
	var m resmap.ResMap
	var err error
	gate.lockShared() // so that alone knows what to put back
	gate.RUnlock()
	gate.alone(func() {
		k := krusty.MakeKustomizer(&krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()})
		m, err = k.Run(filesys.MakeFsOnDisk(), filepath.Join(root, s.dir))
	})
	if err != nil {
		return "", err
	}
	out, err := m.AsYaml()
	if err != nil {
		return "", err
	}
	objects, err := utils.ReadObjects(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	var docs [][]byte
	for _, u := range objects {
		if err := normalizeObject(u); err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, y)
	}
	return string(bytes.Join(docs, []byte("---\n"))), nil
}

// annotateOrigin does what the engine and its peers do to a kustomization that
// has no resources of its own.
func annotateOrigin(t *testing.T, root string, s source) {
	t.Helper()
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		data, there := s.files[path.Join(s.dir, name)]
		var k types.Kustomization
		if !there || yaml.Unmarshal(data, &k) != nil || len(k.Resources) > 0 {
			continue
		}
		k.BuildMetadata = []string{types.OriginAnnotations}
		out, err := yaml.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, s.dir, name), out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// compare reports whether both build, after failing t when they disagree.
func compare(t *testing.T, e *Engine, s source) bool {
	t.Helper()
	want, wantErr := plainKustomize(t, s)
	got, gotErr := e.Build(context.Background(), artifact.NewTree(s.files, nil), Spec{Path: s.dir})
	if (wantErr == nil) != (gotErr == nil) {
		t.Errorf("%s: kustomize says %v, the engine %v", s.name, wantErr, gotErr)
	}
	if wantErr != nil || gotErr != nil {
		return false
	}
	if diff := cmp.Diff(want, asYAML(got)); diff != "" {
		t.Errorf("%s: (-kustomize +engine)\n%s", s.name, diff)
	}
	return true
}

// The engine builds what kustomize builds.
func TestGeneratedSourcesEqualKustomize(t *testing.T) {
	const n = 60
	e, built := New(Options{}), 0
	for seed := range n {
		if compare(t, e, generatedSource(seed)) {
			built++
		}
	}
	if built < n*3/4 {
		t.Errorf("%d of %d sources build; the rest prove little", built, n)
	}
}

// So it does for public repositories, where their bundles are at hand.
func TestPublicSourcesEqualKustomize(t *testing.T) {
	bundles, _ := filepath.Glob(filepath.Join(os.Getenv("WEIR_TEST_BUNDLES"), "*.bundle"))
	git, err := exec.LookPath("git")
	if git == "" {
		git = "/usr/bin/git" // PATH is empty behind Confine
		_, err = os.Stat(git)
	}
	if len(bundles) == 0 || err != nil {
		t.Skip("WEIR_TEST_BUNDLES names no directory with git bundles of public repositories, or there is no git")
	}
	e := New(Options{})
	for _, bundle := range bundles {
		dir := filepath.Join(t.TempDir(), "clone")
		if out, err := exec.Command(git, "clone", "-q", bundle, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files := readDir(t, dir)
		built, all := 0, 0
		for p := range files {
			if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(p)) || bytes.Contains(files[p], []byte("Component\n")) {
				continue
			}
			all++
			if compare(t, e, source{filepath.Base(bundle) + ":" + path.Dir(p), files, path.Dir(p)}) {
				built++
			}
		}
		t.Logf("%s: %d of %d kustomizations build, all as kustomize says", filepath.Base(bundle), built, all)
	}
}

func readDir(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
