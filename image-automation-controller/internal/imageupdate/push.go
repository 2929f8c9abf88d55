package imageupdate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/gitrepo"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/marker"
	"github.com/weirhq/weir/image-automation-controller/internal/signing"
	"github.com/weirhq/weir/internal/telemetry"
)

// attempts is how often an update is made anew because the branch moved.
const attempts = 5

// pause is the first time between two attempts; it grows with each.
const pause = 200 * time.Millisecond

// A task is one update of one branch.
type task struct {
	plan    plan
	repo    *gitrepo.Repo
	auto    *imagev1.ImageUpdateAutomation
	values  marker.Values
	sign    signing.Signer // nil leaves commits unsigned
	force   bool           // a separate branch is started from the checkout each time
	index   *index
	now     func() time.Time
	known   string // source revision for which refspecs were pushed already
	setters func([]string)
}

// A result says what a task has found and done.
type result struct {
	Source  gitrepo.Revision // what was checked out
	Commit  string           // what was pushed; "" when nothing had to change
	Message string           // of that commit
}

// run updates and pushes, again when somebody else was faster.
func (t *task) run(ctx context.Context) (result, error) {
	for attempt := 1; ; attempt++ {
		r, err := t.try(ctx)
		if attempt == attempts || !errors.Is(err, gitrepo.ErrNonFastForward) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, err
		case <-time.After(time.Duration(attempt) * pause):
		}
	}
}

// try does one round: poll, fetch, edit, commit, push.
func (t *task) try(ctx context.Context) (result, error) {
	ctx = gitrepo.Fresh(ctx) // an answer from before the last push would only fail the next
	telemetry.Enter(ctx, telemetry.Fetch)
	source, err := t.repo.Poll(ctx, t.plan.Checkout)
	if err != nil {
		return result{}, err
	}
	if _, err := t.repo.Fetch(ctx, source); err != nil {
		return result{}, err
	}
	r := result{Source: source}
	base, tip := source.Hash, source.Hash
	if t.plan.Separate {
		if tip, err = t.tip(ctx); err != nil {
			return r, err
		}
		if tip != "" && !t.force {
			base = tip // go on where the branch is
		}
	}
	if t.plan.Branch == "" && t.known == source.String() {
		return r, nil // the refspecs have this update already
	}
	telemetry.Enter(ctx, telemetry.Edit)
	u, err := t.edit(ctx, base)
	if err != nil || len(u.Edits) == 0 {
		return r, err
	}
	r.Message, err = t.message(u)
	if err != nil {
		return r, err
	}
	telemetry.Enter(ctx, telemetry.Commit)
	author := t.auto.Spec.GitSpec.Commit.Author
	who := gitrepo.Signature{Name: author.Name, Email: author.Email, When: t.now()}
	commit, err := t.repo.Commit(ctx, base, u.Edits, gitrepo.CommitOptions{Author: who, Committer: who, Message: r.Message, Sign: t.sign})
	if err != nil {
		return r, err
	}
	if t.plan.Separate && tip != "" && base != tip {
		same, err := t.sameTree(ctx, commit, tip)
		if err != nil || same {
			return r, err
		}
	}
	push := gitrepo.Push{Commit: commit, Base: tip, Branch: t.plan.Branch, Refspecs: t.plan.refspecs(), Options: t.plan.Options, Force: t.plan.Separate && t.force}
	if err := t.push(ctx, push); err != nil {
		return r, err
	}
	r.Commit = commit
	return r, nil
}

// tip is the commit at the head of the branch to push to, fetched; "" when there
// is no such branch yet.
func (t *task) tip(ctx context.Context) (string, error) {
	rev, err := t.repo.Poll(ctx, gitrepo.Ref{Branch: t.plan.Branch})
	if errors.Is(err, gitrepo.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	_, err = t.repo.Fetch(ctx, rev)
	return rev.Hash, err
}

// sameTree reports whether two commits hold the same files. Then the branch
// needs no new commit, although it would be a new one.
func (t *task) sameTree(ctx context.Context, a, b string) (bool, error) {
	first, err := t.repo.Fetch(ctx, gitrepo.Revision{Hash: a})
	if err != nil {
		return false, err
	}
	second, err := t.repo.Fetch(ctx, gitrepo.Revision{Hash: b})
	return first.Tree == second.Tree, err
}

func (t *task) edit(ctx context.Context, base string) (u update, err error) {
	err = t.repo.View(ctx, base, func(v *gitrepo.View) error {
		u, err = t.index.edit(v, t.plan.Dir, t.values)
		return err
	})
	if err == nil && len(u.Setters) > 0 {
		t.setters(u.Setters)
	}
	return u, err
}

func (t *task) message(u update) (string, error) {
	commit := t.auto.Spec.GitSpec.Commit
	message, err := commitmessage.Render(commit.MessageTemplate, commitmessage.Data{
		AutomationObject: commitmessage.Object{Namespace: t.auto.Namespace, Name: t.auto.Name},
		Changed:          u.Changed,
		Values:           commit.MessageTemplateValues,
	})
	if err != nil {
		return "", fmt.Errorf("spec.git.commit.%w", err)
	}
	return message, nil
}

// push pushes, and looks at the branch when the answer is lost: a push that
// arrived must not be made again.
func (t *task) push(ctx context.Context, p gitrepo.Push) error {
	err := t.repo.Push(ctx, p)
	if !errors.Is(err, gitrepo.ErrUnreachable) || p.Branch == "" {
		return err
	}
	rev, pollErr := t.repo.Poll(gitrepo.Fresh(ctx), gitrepo.Ref{Branch: p.Branch})
	if pollErr == nil && rev.Hash == p.Commit {
		return nil
	}
	return err
}
