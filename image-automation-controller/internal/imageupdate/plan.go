package imageupdate

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/gitrepo"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
)

// A plan is what the spec of an automation and its source come to.
type plan struct {
	Checkout gitrepo.Ref
	// Branch is what to push to; "" when there is only a refspec.
	Branch string
	// Refspec is as written in the spec, Target the part after the colon.
	Refspec, Target string
	Options         map[string]string
	// Separate says that Branch is not the branch that is checked out.
	Separate bool
	// Dirs are the folders to update, none inside of another; "" is the root.
	Dirs []string
	// Pull is set when a pull request is to be made of Branch, or of a branch
	// whose name is a template when Branch is empty.
	Pull *pull
}

// makePlan reads the specs. Errors are stalls that name the field.
func makePlan(auto *imagev1.ImageUpdateAutomation, source *sourcev1.GitRepository) (plan, error) {
	if err := unsupported(auto); err != nil {
		return plan{}, err
	}
	w, err := parseWishes(auto.Annotations)
	if err != nil {
		return plan{}, loop.Stall(imagev1.InvalidSourceConfigReason, err)
	}
	p := plan{Checkout: reference(auto, source), Pull: w.pull}
	if p.Dirs, err = folders(auto.Spec.Update, w.paths); err != nil {
		return plan{}, loop.Stall(imagev1.UpdateFailedReason, err)
	}
	checkout, isBranch := branchOf(p.Checkout)
	push := auto.Spec.GitSpec.Push
	if push != nil {
		p.Branch, p.Options = strings.TrimPrefix(push.Branch, "refs/heads/"), push.Options
		if push.Refspec != "" {
			target, err := target(push.Refspec, p.Branch, checkout)
			if err != nil {
				return plan{}, loop.Stall(imagev1.InvalidSourceConfigReason, fmt.Errorf("spec.git.push.refspec %q: %w", push.Refspec, err))
			}
			p.Refspec, p.Target = push.Refspec, target
		}
	}
	if p.Pull != nil {
		return p, p.pullFrom(checkout, isBranch)
	}
	if p.Branch == "" && p.Refspec == "" {
		if !isBranch {
			return plan{}, loop.Stall(imagev1.InvalidSourceConfigReason, errors.New("the commit that is checked out is not on a branch by name; set spec.git.push.branch, or a branch in spec.git.checkout.ref"))
		}
		p.Branch = checkout
	}
	p.Separate = p.Branch != "" && (!isBranch || p.Branch != checkout)
	return p, nil
}

// pullFrom makes the plan one of a pull request into the branch that is checked
// out.
func (p *plan) pullFrom(checkout string, isBranch bool) error {
	p.Pull.Base = checkout
	p.Separate = true
	var err error
	switch {
	case !isBranch:
		err = errors.New("a pull request needs a branch by name to go into; set one in spec.git.checkout.ref")
	case p.Branch == checkout:
		err = errors.New("spec.git.push.branch is the branch that is checked out; a pull request needs another one")
	case p.Branch != "" && p.Pull.Branch != "":
		err = fmt.Errorf("both spec.git.push.branch and %s name the branch of the pull request; keep one", BranchAnnotation)
	case p.Branch == "" && p.Pull.Branch == "":
		p.Pull.Branch = defaultBranch
	}
	if err != nil {
		return loop.Stall(imagev1.InvalidSourceConfigReason, fmt.Errorf("%s: %w", PullRequestAnnotation, err))
	}
	return nil
}

// folders are those of the spec and those of the annotation.
func folders(update *imagev1.UpdateStrategy, more []string) ([]string, error) {
	dirs := slices.Clone(more)
	if update != nil && update.Path != "" || len(more) == 0 {
		text := ""
		if update != nil {
			text = update.Path
		}
		dir, err := folder(text)
		if err != nil {
			return nil, fmt.Errorf("spec.update.path %w", err)
		}
		dirs = append(dirs, dir)
	}
	return outermost(dirs), nil
}

// unsupported stalls what asks for things that are not there.
func unsupported(auto *imagev1.ImageUpdateAutomation) error {
	invalid := func(format string, args ...any) error {
		return loop.Stall(imagev1.InvalidSourceConfigReason, fmt.Errorf(format, args...))
	}
	update := auto.Spec.Update
	switch {
	case auto.Spec.SourceRef.Kind != sourcev1.GitRepositoryKind:
		return invalid("spec.sourceRef.kind %q cannot be updated; use GitRepository", auto.Spec.SourceRef.Kind)
	case auto.Spec.GitSpec == nil:
		return invalid("spec.git is not set; it must name at least the author in spec.git.commit.author.email")
	case update != nil && update.Strategy != "" && update.Strategy != imagev1.UpdateStrategySetters:
		return loop.Stall(imagev1.InvalidUpdateStrategyReason, fmt.Errorf("spec.update.strategy %q is not known; use Setters", update.Strategy))
	}
	return nil
}

// reference is what to check out: the automation's own reference, or else the
// source's, or else the default branch of the wire API.
func reference(auto *imagev1.ImageUpdateAutomation, source *sourcev1.GitRepository) gitrepo.Ref {
	ref := source.Spec.Reference
	if checkout := auto.Spec.GitSpec.Checkout; checkout != nil {
		ref = &checkout.Reference
	}
	if ref == nil || *ref == (sourcev1.GitRepositoryRef{}) {
		return gitrepo.Ref{Branch: "master"}
	}
	return gitrepo.Ref{Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Name: ref.Name, Commit: ref.Commit}
}

// branchOf is the branch that a reference follows, if it follows one.
func branchOf(ref gitrepo.Ref) (string, bool) {
	switch {
	case ref.Commit != "" || ref.Name == "" && (ref.SemVer != "" || ref.Tag != ""):
		return "", false
	case ref.Name != "":
		return strings.CutPrefix(ref.Name, "refs/heads/")
	default:
		return ref.Branch, ref.Branch != ""
	}
}

// target is what a refspec pushes to. There is one commit to push, so the left
// side can only be HEAD or a name of a branch that the commit is made for.
func target(refspec string, branches ...string) (string, error) {
	if strings.HasPrefix(refspec, "+") || strings.HasPrefix(refspec, ":") {
		return "", errors.New("forced pushes and deletions are not allowed")
	}
	from, to, found := strings.Cut(refspec, ":")
	if !found {
		to = from
	}
	if to == "" {
		return "", errors.New("write it as <from>:<to>")
	}
	from = strings.TrimPrefix(from, "refs/heads/")
	if from != "HEAD" && !slices.Contains(branches, from) {
		return "", fmt.Errorf("the left side %q must be HEAD, the branch that is checked out or the one that is pushed to", from)
	}
	return to, nil
}

// refspecs is what to push besides the branch.
func (p plan) refspecs() []string {
	if p.Target == "" {
		return nil
	}
	return []string{"HEAD:" + p.Target}
}

// line names what updates must take turns for.
func (p plan) line() string {
	if p.Branch == "" && p.Pull != nil {
		return p.Pull.Branch
	}
	return p.Branch
}

// folder cleans a path to update.
func folder(dir string) (string, error) {
	clean := path.Clean("./" + dir)
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(dir, "\\") || strings.ContainsRune(dir, 0) {
		return "", fmt.Errorf("%q leaves the repository", dir)
	}
	if clean == "." {
		return "", nil
	}
	return strings.TrimPrefix(clean, "/"), nil
}
