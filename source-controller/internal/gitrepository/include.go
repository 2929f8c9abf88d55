package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/loop"
)

// errCopy says that included content cannot be put where it is to go.
var errCopy = errors.New("cannot include")

// include is one entry of spec.include with the artifact that it names now.
type include struct {
	name     string // of the included repository
	from, to string // clean relative paths; from is "." for all
	artifact *meta.Artifact
}

// included resolves spec.include.
func (r *Reconciler) included(ctx context.Context, repo *sourcev1.GitRepository) ([]include, error) {
	var out []include
	for i := range repo.Spec.Include {
		in := &repo.Spec.Include[i]
		field := fmt.Sprintf("spec.include[%d]", i)
		n := include{name: in.GitRepositoryRef.Name, from: path.Clean(in.GetFromPath()), to: path.Clean(in.GetToPath())}
		if !local(n.from) || !local(n.to) || n.to == "." {
			return nil, loop.Stall(sourcev1.IllegalPathReason, fmt.Errorf("%s: fromPath %q or toPath %q is no relative path inside of an artifact", field, in.GetFromPath(), in.GetToPath()))
		}
		for _, o := range out {
			if within(n.to, o.to) || within(o.to, n.to) {
				return nil, loop.Stall(sourcev1.IllegalPathReason, fmt.Errorf("%s: toPath %q and that of %q lie in each other", field, n.to, o.name))
			}
		}
		other, err := r.includedRepository(ctx, repo, field, n.name)
		if err != nil {
			return nil, err
		}
		n.artifact = other.Status.Artifact
		out = append(out, n)
	}
	return out, nil
}

// includedRepository returns the repository of the given name if it has an artifact.
func (r *Reconciler) includedRepository(ctx context.Context, repo *sourcev1.GitRepository, field, name string) (*sourcev1.GitRepository, error) {
	if r.leadsBack(ctx, repo, name, map[string]bool{}) {
		return nil, loop.Stall(sourcev1.CopyFailureReason, fmt.Errorf("%s: %q includes this repository in turn: remove one of the includes", field, name))
	}
	other := &sourcev1.GitRepository{}
	err := r.o.Client.Get(ctx, client.ObjectKey{Namespace: repo.Namespace, Name: name}, other)
	if apierrors.IsNotFound(err) {
		return nil, loop.Wait(sourcev1.NotFoundReason, r.o.RequeueDependency, fmt.Errorf("%s: there is no GitRepository %q in namespace %q", field, name, repo.Namespace))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: reading GitRepository %q: %w", field, name, err)
	}
	if other.Status.Artifact == nil {
		return nil, loop.Wait(sourcev1.NoArtifactReason, r.o.RequeueDependency, fmt.Errorf("%s: GitRepository %q has no artifact yet", field, name))
	}
	return other, nil
}

// leadsBack tells whether following includes from name ends at repo. Two that
// include each other would publish new artifacts for ever.
func (r *Reconciler) leadsBack(ctx context.Context, repo *sourcev1.GitRepository, name string, seen map[string]bool) bool {
	if name == repo.Name {
		return true
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	other := &sourcev1.GitRepository{}
	if r.o.Client.Get(ctx, client.ObjectKey{Namespace: repo.Namespace, Name: name}, other) != nil {
		return false
	}
	for _, in := range other.Spec.Include {
		if r.leadsBack(ctx, repo, in.GitRepositoryRef.Name, seen) {
			return true
		}
	}
	return false
}

// openInclude unpacks the artifact of n.
func (r *Reconciler) openInclude(ctx context.Context, n include) (*artifact.Tree, error) {
	t, err := r.o.Fetcher.Load(ctx, n.artifact.Digest, func() (io.ReadCloser, error) { return r.o.Store.Open(n.artifact) })
	if err != nil {
		return nil, fmt.Errorf("%w GitRepository %q: %w", errCopy, n.name, err)
	}
	return t, nil
}

func artifacts(included []include) []*meta.Artifact {
	var out []*meta.Artifact
	for _, n := range included {
		out = append(out, n.artifact.DeepCopy())
	}
	return out
}

// sameArtifacts tells whether what was included is what would be included now.
func sameArtifacts(observed []*meta.Artifact, included []include) bool {
	if len(observed) != len(included) {
		return false
	}
	for i, n := range included {
		if observed[i] == nil || !n.artifact.HasDigest(observed[i].Digest) || !n.artifact.HasRevision(observed[i].Revision) {
			return false
		}
	}
	return true
}

// local tells whether the clean path p stays where it starts.
func local(p string) bool {
	return !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../")
}

// within tells whether the clean path p is folder or lies in it.
func within(p, folder string) bool {
	return folder == "." || p == folder || strings.HasPrefix(p, folder+"/")
}
