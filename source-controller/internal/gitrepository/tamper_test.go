package gitrepository

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

func TestTamperedArtifactIsTold(t *testing.T) {
	g := newRig(t, gitserver.Options{})
	g.init("app", map[string]string{"a.yaml": "1"})
	g.create("app", nil)
	first := g.ready("app").Status.Artifact
	g.told()
	file := filepath.Join(g.storage, first.Path)
	if err := os.Remove(file); err != nil { // not in place: the file shares its bytes with the store's
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := g.ready("app").Status.Artifact
	if now.Digest != first.Digest || g.files(now)["a.yaml"] != "1" {
		t.Errorf("the artifact is %+v", now)
	}
	told := g.told()
	if !slices.ContainsFunc(told, func(e string) bool {
		return strings.HasPrefix(e, "Warning "+sourcev1.ArtifactVerificationFailedReason+" ")
	}) {
		t.Errorf("events are %q", told)
	}
	if err := os.Remove(filepath.Join(g.storage, now.Path)); err != nil {
		t.Fatal(err)
	}
	g.ready("app")
	if told := g.told(); len(told) > 0 {
		t.Errorf("a lost file is told as a changed one: %q", told)
	}
}
