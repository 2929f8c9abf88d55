package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// ownName names the objects that follow a repository that was given.
const ownName = "repository"

// defaultNamespace is where objects go that name no namespace.
const defaultNamespace = "default"

// showRepository brings a repository up that is not ours. Of the demonstration only the hand edit is
// made: commits are for the owner to make.
func (d *demo) showRepository(ctx context.Context, f followed) error {
	f, err := d.serve(f)
	if err != nil {
		return err
	}
	at := f.Branch
	if at == "" {
		at = "commit " + f.Commit
	}
	d.board.Title("From a Git repository to running objects")
	d.board.Note("%s (%s), path %s, looked at every %s.", d.Repo, at, f.Path, f.Interval)
	values, err := f.values()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.apply(ctx, "repository.yaml", values); err != nil {
		return err
	}
	err = d.table(ctx, began,
		task{"Git revision fetched", toolkit.Source, d.isReady(&sourcev1.GitRepository{ObjectMeta: weirMeta(ownName)})},
		task{"objects applied", toolkit.Kustomize, d.inventoried},
		task{"healthy", toolkit.Kustomize, d.ownHealthy},
	)
	if err != nil {
		return d.stayFor(ctx, err)
	}
	refs, err := d.inventory(ctx)
	if err != nil {
		return err
	}
	d.listHealth(ctx, refs)
	return d.showOwnDrift(ctx, refs)
}

// stayFor turns what keeps a repository from running into a note, unless the run is to end with it: a
// commit can mend it.
func (d *demo) stayFor(ctx context.Context, err error) error {
	var f *failure
	if d.Once || ctx.Err() != nil || d.lost() != nil || !errors.As(err, &f) {
		return err
	}
	d.board.Note("%s", f.text)
	if refs, err := d.inventory(ctx); err == nil {
		d.listHealth(ctx, refs)
	}
	d.board.Note("Weir goes on trying, and looks for new commits.")
	return nil
}

// nameNamespace lets the Kustomization put all objects into the default namespace when it says that
// they name none.
func (d *demo) nameNamespace(ctx context.Context, k *kustomizev1.Kustomization) (bool, error) {
	message, ok := ready(k)
	if ok || !strings.Contains(message, "namespace not specified") || k.Spec.TargetNamespace != "" {
		return false, nil
	}
	before := k.DeepCopy()
	k.Spec.TargetNamespace = defaultNamespace
	return true, d.client.Patch(ctx, k, client.MergeFrom(before))
}

// inventoried is a check for the objects to be in the inventory and on the API server.
func (d *demo) inventoried(ctx context.Context) (string, bool, error) {
	k := kustomizev1.Kustomization{ObjectMeta: weirMeta(ownName)}
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(&k), &k); err != nil {
		return "", false, err
	}
	message, _ := ready(&k)
	if named, err := d.nameNamespace(ctx, &k); named {
		return "objects name no namespace: using " + defaultNamespace, false, err
	}
	if k.Status.Inventory == nil {
		return message, false, nil
	}
	found := 0
	refs, err := refsOf(&k)
	if err != nil {
		return "", false, err
	}
	for _, ref := range refs {
		if _, err := d.get(ctx, ref); err == nil {
			found++
		}
	}
	seen := fmt.Sprintf("%d of %d objects", found, len(refs))
	if k.Spec.TargetNamespace != "" {
		seen += " in namespace " + k.Spec.TargetNamespace
	}
	return seen, found == len(refs), nil
}

func (d *demo) ownHealthy(ctx context.Context) (string, bool, error) {
	k := kustomizev1.Kustomization{ObjectMeta: weirMeta(ownName)}
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(&k), &k); err != nil {
		return "", false, err
	}
	message, ok := ready(&k)
	return message, ok && k.Status.LastAppliedRevision != "", nil
}

// ref is an object of an inventory.
type ref struct {
	kind            schema.GroupVersionKind
	namespace, name string
}

func (r ref) String() string {
	return strings.TrimPrefix(r.namespace+"/", "/") + r.kind.Kind + " " + r.name
}

func (d *demo) inventory(ctx context.Context) ([]ref, error) {
	k := kustomizev1.Kustomization{ObjectMeta: weirMeta(ownName)}
	if err := d.client.Get(ctx, client.ObjectKeyFromObject(&k), &k); err != nil {
		return nil, err
	}
	return refsOf(&k)
}

func refsOf(k *kustomizev1.Kustomization) ([]ref, error) {
	if k.Status.Inventory == nil {
		return nil, errors.New("the Kustomization has no inventory")
	}
	var refs []ref
	for _, entry := range k.Status.Inventory.Entries {
		r, err := parseRef(entry.ID, entry.Version)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// parseRef reads an inventory ID, <namespace>_<name>_<group>_<kind>. Only the name can hold underscores,
// two for a colon.
func parseRef(id, version string) (ref, error) {
	parts := strings.Split(id, "_")
	n := len(parts)
	if n < 4 {
		return ref{}, fmt.Errorf("inventory ID %q is not of the form namespace_name_group_kind", id)
	}
	return ref{
		kind:      schema.GroupVersionKind{Group: parts[n-2], Version: version, Kind: parts[n-1]},
		namespace: parts[0],
		name:      strings.ReplaceAll(strings.Join(parts[1:n-2], "_"), "__", ":"),
	}, nil
}

func (d *demo) get(ctx context.Context, r ref) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(r.kind)
	return obj, d.client.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: r.name}, obj)
}

// listHealth shows every object with what its status says.
func (d *demo) listHealth(ctx context.Context, refs []ref) {
	d.board.Title("Objects of the repository")
	for _, r := range refs {
		obj, err := d.get(ctx, r)
		if err != nil {
			d.board.Note("%-44s %v", r, err)
			continue
		}
		result, err := status.Compute(obj)
		if err != nil {
			d.board.Note("%-44s %v", r, err)
			continue
		}
		d.board.Note("%-44s %s: %s", r, result.Status, result.Message)
	}
}

// showOwnDrift scales the first Deployment of the repository by hand.
func (d *demo) showOwnDrift(ctx context.Context, refs []ref) error {
	for _, r := range refs {
		if r.kind.GroupKind() != (schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}) {
			continue
		}
		var deployment appsv1.Deployment
		key := client.ObjectKey{Namespace: r.namespace, Name: r.name}
		if err := d.client.Get(ctx, key, &deployment); err != nil {
			return err
		}
		if !declared(&deployment) {
			continue // nobody but the defaults says how many
		}
		want := *deployment.Spec.Replicas
		d.board.Title("A hand edit is corrected")
		d.board.Note("Somebody scales Deployment %s from %d to %d by hand.", r.name, want, want+4)
		began := time.Now()
		if err := d.scale(ctx, key, int(want)+4); err != nil {
			return err
		}
		return d.table(ctx, began, task{fmt.Sprintf("replicas are %d again", want), toolkit.Kustomize, func(ctx context.Context) (string, bool, error) {
			err := d.client.Get(ctx, key, &deployment)
			return fmt.Sprintf("replicas: %d", *deployment.Spec.Replicas), *deployment.Spec.Replicas == want, err
		}})
	}
	d.board.Note("No Deployment says how many replicas it wants, so no hand edit is shown.")
	return nil
}

// declared tells whether the repository says how many replicas there are.
func declared(v *appsv1.Deployment) bool {
	for _, entry := range v.ManagedFields {
		if entry.Operation == "Apply" && entry.FieldsV1 != nil && strings.Contains(string(entry.FieldsV1.GetRawBytes()), `"f:replicas"`) {
			return true
		}
	}
	return false
}
