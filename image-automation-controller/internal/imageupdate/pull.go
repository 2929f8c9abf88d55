package imageupdate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/commitmessage"
	"github.com/weirhq/weir/image-automation-controller/internal/pullrequest"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/rendering"
	"github.com/weirhq/weir/internal/secrets"
)

// maxTitle bounds the title of a pull request, in characters; GitLab allows 255.
const maxTitle = 250

// pulls remembers for which commit the pull request of an automation was seen,
// so that an update which waits for people costs no requests. The zero value is
// ready.
type pulls struct {
	mu   sync.Mutex
	seen map[types.NamespacedName]seenPull
}

type seenPull struct {
	branch, commit string
	request        pullrequest.Request
}

func (p *pulls) get(key types.NamespacedName, branch, commit string) (pullrequest.Request, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.seen[key]
	return s.request, s.branch == branch && s.commit == commit && commit != ""
}

func (p *pulls) put(key types.NamespacedName, s seenPull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[types.NamespacedName]seenPull{}
	}
	p.seen[key] = s
}

func (p *pulls) forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, key)
}

// host prepares asking for pull requests; nil when nobody wants one.
func (r *Reconciler) host(ctx context.Context, auto *imagev1.ImageUpdateAutomation, source *sourcev1.GitRepository, p plan, auth gitrepo.Auth) (*pullrequest.Host, error) {
	if p.Pull == nil {
		return nil, nil
	}
	o := pullrequest.Options{Kind: p.Pull.Kind, Repository: source.Spec.URL, Address: p.Pull.Address, Proxy: auth.Proxy, Token: cmp.Or(auth.BearerToken, auth.Password)}
	switch {
	case p.Pull.Secret != "":
		secret, err := secrets.Get(ctx, r.Live, auto.Namespace, p.Pull.Secret)
		if err != nil {
			return nil, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("%s: %w", SecretAnnotation, err))
		}
		if o.Token = strings.TrimSpace(string(secret.Data["token"])); o.Token == "" {
			return nil, loop.Retry(imagev1.SourceManagerFailedReason, fmt.Errorf("%s: the secret %q has no key %q", SecretAnnotation, p.Pull.Secret, "token"))
		}
		o.CA = secret.Data["ca.crt"]
		if len(o.CA) == 0 && p.Pull.Address == "" {
			o.CA = auth.CA
		}
	case o.Token == "" || strings.HasPrefix(source.Spec.URL, "ssh://"):
		return nil, loop.Stall(imagev1.InvalidSourceConfigReason, fmt.Errorf("the GitRepository \"%s/%s\" has no token that the host's API takes; name a Secret with the key %q by the annotation %s", source.Namespace, source.Name, "token", SecretAnnotation))
	case !sameHost(p.Pull.Address, source.Spec.URL):
		return nil, loop.Stall(imagev1.InvalidSourceConfigReason, fmt.Errorf("%s is another host than that of the GitRepository \"%s/%s\", whose credentials are not sent there; name a Secret by the annotation %s", AddressAnnotation, source.Namespace, source.Name, SecretAnnotation))
	default:
		o.CA = auth.CA
	}
	secrets.Register(o.Token)
	host, err := pullrequest.Open(o)
	if err != nil {
		return nil, loop.Stall(imagev1.InvalidSourceConfigReason, err)
	}
	return host, nil
}

// sameHost tells whether credentials for a repository may go to an address: to
// its own host, by no worse a scheme and port.
func sameHost(address, repository string) bool {
	if address == "" {
		return true
	}
	a, errA := url.Parse(address)
	b, errB := url.Parse(repository)
	return errA == nil && errB == nil && a.Host == b.Host && a.Scheme == b.Scheme
}

// head is the branch that a pull request is made from.
func (t *task) head(u update) (string, error) {
	if t.plan.Branch != "" {
		return t.plan.Branch, nil
	}
	branch, err := rendering.Execute(BranchAnnotation, t.plan.Pull.Branch, t.data(u))
	if err == nil {
		branch = strings.TrimSpace(branch)
		err = gitrepo.CheckBranch(branch)
	}
	switch {
	case errors.Is(err, commitmessage.ErrRemovedField):
		return "", fmt.Errorf("%s: %w", BranchAnnotation, commitmessage.ErrRemovedField)
	case err != nil:
		return "", fmt.Errorf("%w: %s: %w", errAnnotation, BranchAnnotation, err)
	case branch == t.plan.Pull.Base:
		return "", fmt.Errorf("%w: %s gives %q, which is the branch that is checked out", errAnnotation, BranchAnnotation, branch)
	}
	return branch, nil
}

// ask makes the pull request of a result be there.
func (t *task) ask(ctx context.Context, r *result) error {
	if t.host == nil || r.Tip == "" {
		return nil
	}
	key := client.ObjectKeyFromObject(t.auto)
	if seen, ok := t.pulls.get(key, r.Branch, r.Tip); ok {
		r.Pull = seen
		return nil
	}
	title, body, _ := strings.Cut(strings.TrimSpace(r.Whole), "\n")
	if runes := []rune(title); len(runes) > maxTitle {
		title, body = string(runes[:maxTitle])+"…", string(runes[maxTitle:])+"\n"+body
	}
	found, err := t.host.Ensure(ctx, pullrequest.Wish{
		Head: r.Branch, Base: t.plan.Pull.Base, Commit: r.Tip, Title: strings.TrimSpace(title), Body: strings.TrimSpace(body), Refresh: r.Commit != "",
	})
	if err != nil {
		return err
	}
	r.Pull = found
	found.Created = false
	t.pulls.put(key, seenPull{branch: r.Branch, commit: r.Tip, request: found})
	return nil
}
