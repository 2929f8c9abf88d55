package registry_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/weirhq/weir/local/internal/registry"
)

func TestPushedTagsAreListed(t *testing.T) {
	r, err := registry.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Push(t.Context(), "shop/web", "1.0.0", "1.1.0"); err != nil {
		t.Fatal(err)
	}
	repository, err := name.NewRepository(r.Host+"/shop/web", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repository, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tags)
	if diff := cmp.Diff([]string{"1.0.0", "1.1.0"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if err := r.Push(t.Context(), "Not A Name", "1"); err == nil {
		t.Error("an unusable name was accepted")
	}
}
