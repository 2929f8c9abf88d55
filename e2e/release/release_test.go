package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/e2e/manifests"
)

func TestManifestsHaveTheVersion(t *testing.T) {
	out := t.TempDir()
	if err := run(t.Context(), []string{"manifests", "-config", "../../config", "-out", out, "-version", "v9.8.7", "-registry", "example.org/mirror"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(out, "install.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range manifests.Controllers {
		alone, err := os.ReadFile(filepath.Join(out, name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{"install.yaml": whole, name + ".yaml": alone} {
			if !bytes.Contains(data, []byte("image: example.org/mirror/"+name+":v9.8.7\n")) {
				t.Errorf("%s does not have the image of %s", file, name)
			}
			if bytes.Contains(data, []byte("v0.1.0")) || bytes.Contains(data, []byte(manifests.Registry)) {
				t.Errorf("%s has the version or the registry of the sources", file)
			}
			// A namespace must be there before what is in it.
			if namespace := bytes.Index(data, []byte("kind: Namespace\n")); namespace < 0 || namespace > bytes.Index(data, []byte("kind: Deployment\n")) {
				t.Errorf("%s: the namespace is not before the Deployments", file)
			}
		}
	}
}

func TestChartHasTheVersion(t *testing.T) {
	out := t.TempDir()
	if err := run(t.Context(), []string{"chart", "-config", "../../config", "-chart", "../../charts/weir", "-out", out, "-version", "v9.8.7"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, "weir-9.8.7.tgz")); err != nil {
		t.Error(err)
	}
}

func TestWrongArgumentsAreExplained(t *testing.T) {
	for says, args := range map[string][]string{
		"chart or images": nil,
		`"cake"`:          {"cake"},
		`"1.2.3"`:         {"manifests", "-version", "1.2.3"},
		`"solaris"`:       {"images", "-platforms", "solaris", "-out", t.TempDir()},
		"-certificates":   {"images", "-certificates", filepath.Join(t.TempDir(), "none"), "-out", t.TempDir()},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: the error does not say %s: %v", args, says, err)
		}
	}
}
