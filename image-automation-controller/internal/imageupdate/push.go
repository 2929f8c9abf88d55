package imageupdate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/gitrepo"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/marker"
	"github.com/weirhq/weir/image-automation-controller/internal/pullrequest"
	"github.com/weirhq/weir/image-automation-controller/internal/signing"
	"github.com/weirhq/weir/internal/telemetry"
)

// attempts is how often an update is made anew because the branch moved.
const attempts = 10

// pause is the first time between two attempts; it grows with each.
const pause = 100 * time.Millisecond

// aboveTrailer ends the message of a commit on a separate branch that stands on
// commits of others, which must be kept from then on.
const aboveTrailer = "On-top-of: "

// A task is one update of one branch.
type task struct {
	plan    plan
	repo    *gitrepo.Repo
	auto    *imagev1.ImageUpdateAutomation
	values  marker.Values
	sign    signing.Signer    // nil leaves commits unsigned
	force   bool              // a separate branch is started from the checkout each time
	host    *pullrequest.Host // nil when no pull request is wanted
	pulls   *pulls
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
	Branch  string           // where the update is; "" when there is only a refspec
	Tip     string           // of Branch, with the whole update
	Whole   string           // message about all that Tip changes, for a pull request
	Pull    pullrequest.Request
}

// run updates and pushes, again when somebody else was faster.
func (t *task) run(ctx context.Context) (result, error) {
	var last gitrepo.Revision
	for attempt := 1; ; attempt++ {
		r, err := t.try(ctx)
		if err == nil {
			err = t.ask(ctx, &r)
			return r, err
		}
		if attempt == attempts || !errors.Is(err, gitrepo.ErrNonFastForward) {
			return r, err
		}
		if t.plan.Branch == "" && t.plan.Pull == nil && last == r.Source {
			return r, err // what a refspec leads to does not change by what is checked out
		}
		last = r.Source
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
	r := result{Source: source, Branch: t.plan.Branch}
	if t.plan.Branch == "" && t.plan.Pull == nil && t.known == source.String() {
		return r, nil // the refspecs have this update already
	}
	if t.plan.Pull != nil {
		if err := t.propose(ctx, &r); err != nil || r.Whole == "" {
			return r, err
		}
	}
	from, err := t.start(ctx, r.Branch, source.Hash)
	if err != nil {
		return r, err
	}
	telemetry.Enter(ctx, telemetry.Edit)
	u, err := t.edit(ctx, from.base)
	if err != nil || len(u.Edits) == 0 {
		r.Tip = from.tip
		return r, err
	}
	r.Message, err = t.message(u)
	if err != nil {
		return r, err
	}
	message := r.Message
	if from.above {
		message = strings.TrimRight(message, "\n") + "\n\n" + aboveTrailer + from.tip + "\n"
	}
	telemetry.Enter(ctx, telemetry.Commit)
	author := t.auto.Spec.GitSpec.Commit.Author
	who := gitrepo.Signature{Name: author.Name, Email: author.Email, When: t.now()}
	commit, err := t.repo.Commit(ctx, from.base, u.Edits, gitrepo.CommitOptions{Author: who, Committer: who, Message: message, Sign: t.sign})
	if err != nil {
		return r, err
	}
	if t.plan.Separate && from.tip != "" && from.base != from.tip {
		same, err := t.sameTree(ctx, commit, from.tip)
		if err != nil || same {
			r.Tip = from.tip
			return r, err
		}
	}
	push := gitrepo.Push{
		Commit: commit, Base: from.tip, Known: source.Hash, Branch: r.Branch, Refspecs: t.plan.refspecs(), Options: t.plan.Options,
		Force: from.base != from.tip,
	}
	if err := t.push(ctx, push); err != nil {
		return r, err
	}
	r.Commit, r.Tip = commit, commit
	return r, nil
}

// propose finds out what a pull request would say, and from which branch it is.
// Nothing is set when there is nothing to propose.
func (t *task) propose(ctx context.Context, r *result) error {
	whole, err := t.edit(ctx, r.Source.Hash)
	if err != nil || len(whole.Edits) == 0 {
		return err
	}
	if r.Branch, err = t.head(whole); err != nil {
		return err
	}
	r.Whole, err = t.message(whole)
	return err
}

// A beginning is what an update starts from.
type beginning struct {
	base string // the commit to make the next one on
	tip  string // where the branch is; "" when it is not there yet
	// above says that base holds commits of others.
	above bool
}

// start finds what to start from. A separate branch is started from the checkout
// anew when it holds nothing but this automation's own last commit. Whatever
// else is there belongs to somebody, and the update goes on top of it.
func (t *task) start(ctx context.Context, branch, source string) (beginning, error) {
	if !t.plan.Separate {
		return beginning{base: source, tip: source}, nil
	}
	tip, message, err := t.tip(ctx, branch)
	switch {
	case err != nil:
		return beginning{}, err
	case tip == "" || tip == source:
		return beginning{base: source, tip: tip}, nil
	case !t.force:
		return beginning{base: tip, tip: tip}, nil
	case tip == t.auto.Status.LastPushCommit && !strings.Contains(message, "\n"+aboveTrailer):
		return beginning{base: source, tip: tip}, nil
	}
	return beginning{base: tip, tip: tip, above: true}, nil
}

// tip is the commit at the head of the branch to push to, fetched; "" when there
// is no such branch yet.
func (t *task) tip(ctx context.Context, branch string) (hash, message string, err error) {
	if branch == "" {
		return "", "", nil // only a refspec
	}
	rev, err := t.repo.Poll(ctx, gitrepo.Ref{Branch: branch})
	if errors.Is(err, gitrepo.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	c, err := t.repo.Fetch(ctx, rev)
	return rev.Hash, c.Message, err
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
		u, err = t.index.edit(v, t.plan.Dirs, t.values)
		return err
	})
	if err == nil && len(u.Setters) > 0 {
		t.setters(u.Setters)
	}
	return u, err
}

func (t *task) message(u update) (string, error) {
	commit := t.auto.Spec.GitSpec.Commit
	message, err := commitmessage.Render(commit.MessageTemplate, t.data(u))
	if err != nil {
		return "", fmt.Errorf("spec.git.commit.%w", err)
	}
	return message, nil
}

// data is what templates can use.
func (t *task) data(u update) commitmessage.Data {
	return commitmessage.Data{
		AutomationObject: commitmessage.Object{Namespace: t.auto.Namespace, Name: t.auto.Name},
		Changed:          u.Changed,
		Values:           t.auto.Spec.GitSpec.Commit.MessageTemplateValues,
	}
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
