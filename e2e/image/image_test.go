package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// dummy compiles a small program.
func dummy(t *testing.T) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dummy")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./testdata/dummy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Program{Name: "dummy", Version: "v1.2.3", Revision: strings.Repeat("a", 40), Source: "https://example.org/weir",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Binary: binary, Certificates: []byte("certificates\n")}
}

func archive(t *testing.T, p Program) ([]byte, v1.ImageIndex) {
	t.Helper()
	image, _, err := Build(p, amd64)
	if err != nil {
		t.Fatal(err)
	}
	index := Index([]Platform{{amd64, image}})
	var out bytes.Buffer
	if err := WriteArchive(&out, index, "example.org/dummy:v1.2.3"); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), index
}

func TestTheSameSourceIsTheSameImage(t *testing.T) {
	first, a := archive(t, dummy(t)) // compiled twice, in two folders
	second, b := archive(t, dummy(t))
	da, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	db, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if da != db || !bytes.Equal(first, second) {
		t.Errorf("built twice, the digests are %s and %s", da, db)
	}
	other := dummy(t)
	other.Certificates = []byte("others\n")
	if third, _ := archive(t, other); bytes.Equal(first, third) {
		t.Error("other certificates make the same image")
	}
}

func TestArchiveIsAnImageLayout(t *testing.T) {
	data, index := archive(t, dummy(t))
	dir := t.TempDir()
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(read); err != nil {
		t.Errorf("it is not valid: %v", err)
	}
	m, err := read.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Digest != want || m.Manifests[0].Annotations["io.containerd.image.name"] != "example.org/dummy:v1.2.3" {
		t.Errorf("the archive has %+v, want %s", m.Manifests, want)
	}
}

func TestImageIsSmallAndUnprivileged(t *testing.T) {
	p := dummy(t)
	image, _, err := Build(p, v1.Platform{OS: "linux", Architecture: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/dummy"}) ||
		config.Architecture != "arm64" || config.OS != "linux" || !config.Created.Equal(p.Created) {
		t.Errorf("the configuration is %+v", config)
	}
	if config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" || config.Config.Labels["org.opencontainers.image.revision"] != p.Revision {
		t.Errorf("the labels are %v", config.Config.Labels)
	}
	got := map[string]int64{}
	r := tar.NewReader(mutate.Extract(image))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got["/"+strings.TrimSuffix(h.Name, "/")] = h.Mode
		if h.Uid != 0 && strings.TrimSuffix(h.Name, "/") != "data" {
			t.Errorf("%s belongs to user %d", h.Name, h.Uid)
		}
	}
	for name, mode := range map[string]int64{"/dummy": 0o755, "/etc/ssl/certs/ca-certificates.crt": 0o644, "/tmp": 0o1777, "/data": 0o755,
		"/usr/share/sbom/dummy.spdx.json": 0o644} {
		if got[name] != mode {
			t.Errorf("%s has the mode %o, want %o", name, got[name], mode)
		}
	}
	for _, name := range []string{"/bin", "/sbin", "/usr/bin", "/lib"} {
		if _, ok := got[name]; ok {
			t.Errorf("the image has %s", name)
		}
	}
}

func TestBillOfMaterials(t *testing.T) {
	p := dummy(t)
	text, err := SBOM(p)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var locators []string
	ids := map[string]bool{d.ID: true}
	for _, m := range d.Packages {
		if ids[m.ID] {
			t.Errorf("two packages have the id %s", m.ID)
		}
		ids[m.ID] = true
		locators = append(locators, m.References[0].Locator)
	}
	for _, prefix := range []string{"pkg:golang/github.com/opencontainers/go-digest@v1.", "pkg:golang/stdlib@1."} {
		if !slices.ContainsFunc(locators, func(l string) bool { return strings.HasPrefix(l, prefix) }) {
			t.Errorf("no package is %s…: %v", prefix, locators)
		}
	}
	for _, r := range d.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("the relationship %v is about nothing", r)
		}
	}
	if len(d.Relationships) != len(d.Packages) {
		t.Errorf("%d relationships for %d packages", len(d.Relationships), len(d.Packages))
	}
	p.Binary = []byte("#!/bin/sh\n")
	if _, err := SBOM(p); err == nil || !strings.Contains(err.Error(), `"dummy"`) {
		t.Errorf("of a script: %v", err)
	}
}
