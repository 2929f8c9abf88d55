package replica

import (
	"context"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
)

// object is what publishes an artifact.
type object interface {
	client.Object
	GetArtifact() *meta.Artifact
}

// kind is one kind of object.
type kind struct {
	make  func() object
	list  func() client.ObjectList
	items func(client.ObjectList) []object
	alias func(object) string // address of the stable name, "" for none
}

// kinds are all kinds whose artifacts are in the store.
var kinds = map[string]kind{
	sourcev1.GitRepositoryKind: {
		make:  func() object { return &sourcev1.GitRepository{} },
		list:  func() client.ObjectList { return &sourcev1.GitRepositoryList{} },
		items: func(l client.ObjectList) []object { return pointers(l.(*sourcev1.GitRepositoryList).Items) },
		alias: func(object) string { return "" },
	},
	sourcev1.OCIRepositoryKind: {
		make:  func() object { return &sourcev1.OCIRepository{} },
		list:  func() client.ObjectList { return &sourcev1.OCIRepositoryList{} },
		items: func(l client.ObjectList) []object { return pointers(l.(*sourcev1.OCIRepositoryList).Items) },
		alias: func(o object) string { return o.(*sourcev1.OCIRepository).Status.URL },
	},
	sourcev1.BucketKind: {
		make:  func() object { return &sourcev1.Bucket{} },
		list:  func() client.ObjectList { return &sourcev1.BucketList{} },
		items: func(l client.ObjectList) []object { return pointers(l.(*sourcev1.BucketList).Items) },
		alias: func(o object) string { return o.(*sourcev1.Bucket).Status.URL },
	},
	sourcev1.HelmRepositoryKind: {
		make:  func() object { return &sourcev1.HelmRepository{} },
		list:  func() client.ObjectList { return &sourcev1.HelmRepositoryList{} },
		items: func(l client.ObjectList) []object { return pointers(l.(*sourcev1.HelmRepositoryList).Items) },
		alias: func(o object) string { return o.(*sourcev1.HelmRepository).Status.URL },
	},
	sourcev1.HelmChartKind: {
		make:  func() object { return &sourcev1.HelmChart{} },
		list:  func() client.ObjectList { return &sourcev1.HelmChartList{} },
		items: func(l client.ObjectList) []object { return pointers(l.(*sourcev1.HelmChartList).Items) },
		alias: func(o object) string { return o.(*sourcev1.HelmChart).Status.URL },
	},
}

// pointers returns the items as objects.
func pointers[T any, P interface {
	*T
	object
}](items []T) []object {
	out := make([]object, 0, len(items))
	for i := range items {
		out = append(out, P(&items[i]))
	}
	return out
}

// published tells whether some status names an artifact of the object at path.
func published(ctx context.Context, c client.Reader, path string) bool {
	o, ok := artifact.Owner(path)
	if !ok {
		return false
	}
	for name, k := range kinds {
		if strings.ToLower(name) != o.Kind {
			continue
		}
		obj := k.make()
		err := c.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Name}, obj)
		return err == nil && obj.GetArtifact() != nil
	}
	return false
}
