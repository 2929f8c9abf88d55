package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Push sends commits made by Commit.
type Push struct {
	Commit string // the new tip, of Commit
	Base   string // where Branch was, "" when it was not there
	Known  string // another commit that the remote has; "" for none

	// Branch is set to Commit. It must be at Base, or not exist.
	Branch string
	// Refspecs name more refs to set, as "HEAD:refs/for/main"; the source is
	// HEAD or Branch, a leading "+" forces.
	Refspecs []string
	Options  map[string]string // push options, "key=value"
	// Force says that Commit need not follow from Base. What Branch gained since
	// it was looked at is not overwritten even so.
	Force bool
}

// Push sets refs of the remote. All refs move or, where the server can, none.
// It compares and swaps: the server moves a ref only if it still is where it
// was when this push looked. A ref that is at Commit already is left alone, so
// after an answer that got lost the caller polls, or just pushes again.
//
// Errors: ErrNonFastForward when the branch moved, ErrRejected with the
// server's words when a rule forbids it, ErrAuth, ErrNotFound, ErrUnreachable.
func (r *Repo) Push(ctx context.Context, p Push) error {
	m, release, err := r.mirror(ctx)
	if err != nil {
		return r.fail(err)
	}
	defer release()
	if err := m.readers.Acquire(ctx, 1); err != nil {
		return r.fail(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	defer m.readers.Release(1)
	updates, err := p.updates()
	if err == nil {
		err = r.push(ctx, m, p, updates)
	}
	if e, done, uerr := r.pool.use(r.key); uerr == nil {
		e.polls.forget()
		done()
	}
	if err != nil {
		return r.fail(fmt.Errorf("push of %q: %w", strings.Join(p.targets(), ", "), err))
	}
	return nil
}

// update is one ref to set.
type update struct {
	ref      string
	force    bool
	branch   bool // it must be where it was
	old, now plumbing.Hash
}

func (p Push) targets() (out []string) {
	if p.Branch != "" {
		out = append(out, p.Branch)
	}
	return append(out, p.Refspecs...)
}

func (p Push) updates() ([]update, error) {
	if !plumbing.IsHash(p.Commit) {
		return nil, fmt.Errorf("commit %q: %w: not a hash", p.Commit, ErrNotFound)
	}
	now := plumbing.NewHash(p.Commit)
	var out []update
	if p.Branch != "" {
		out = append(out, update{ref: "refs/heads/" + p.Branch, force: p.Force, branch: true, now: now})
	}
	for _, spec := range p.Refspecs {
		text, plus := strings.CutPrefix(spec, "+")
		src, dst, ok := strings.Cut(text, ":")
		if src != "HEAD" && src != p.Branch && src != "refs/heads/"+p.Branch || !ok || src == "" {
			return nil, fmt.Errorf("refspec %q: %w: write it as HEAD:refs/…", spec, ErrURL)
		}
		if !strings.HasPrefix(dst, "refs/") {
			dst = "refs/heads/" + dst
		}
		if slices.ContainsFunc(out, func(u update) bool { return u.ref == dst }) {
			continue
		}
		out = append(out, update{ref: dst, force: p.Force || plus, now: now})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: name a branch or refspec to push to", ErrURL)
	}
	for _, u := range out {
		if err := checkRefName(u.ref); err != nil {
			return nil, err
		}
	}
	for k, v := range p.Options {
		if strings.ContainsAny(k+v, "\n\x00") {
			return nil, fmt.Errorf("push option %q: %w: it has more than one line", k, ErrURL)
		}
	}
	return out, nil
}

// everyRef is the start of the name of each.
var everyRef = []string{""}

func (r *Repo) push(ctx context.Context, m *mirror, p Push, updates []update) error {
	s, err := r.client.t.open(ctx, receivePack)
	if err != nil {
		return err
	}
	defer s.Close()
	body, err := s.advertisement()
	if err != nil {
		return finish(ctx, s, err)
	}
	caps, refs, err := readAdvert(&pktReader{r: &limited{r: body, n: maxAdvert}}, receivePack, everyRef)
	body.Close()
	if err != nil {
		return finish(ctx, s, err)
	}
	todo, err := p.compare(updates, refs)
	if err != nil || len(todo) == 0 {
		return err
	}
	request, err := p.request(m, caps, todo, refs)
	if err != nil {
		return err
	}
	answer, err := s.call(request)
	if err != nil {
		return finish(ctx, s, err)
	}
	defer answer.Close()
	said, err := readReport(answer, caps.has("side-band-64k"))
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrRejected) || errors.Is(err, ErrNonFastForward) {
		if errors.Is(err, ErrRejected) && protects(said) {
			err = fmt.Errorf("%w: %w", ErrProtected, err)
		}
		if said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		return err
	}
	return finish(ctx, s, err)
}

// compare drops what is there already and finds what has moved.
func (p Push) compare(updates []update, refs []remoteRef) ([]update, error) {
	var todo []update
	for _, u := range updates {
		for _, ref := range refs {
			if ref.Name == u.ref {
				u.old = ref.Hash
			}
		}
		switch {
		case u.old == u.now:
			continue
		case (u.branch || !u.force) && !u.old.IsZero() && u.old.String() != p.Base:
			return nil, fmt.Errorf("%w: %s is at %s, not at %q: poll and edit again", ErrNonFastForward, u.ref, u.old, p.Base)
		}
		todo = append(todo, u)
	}
	return todo, nil
}

// request writes the commands and a pack of the new objects
// (gitprotocol-pack(5), "Pushing Data To a Server").
func (p Push) request(m *mirror, caps *capabilities, todo []update, refs []remoteRef) ([]byte, error) {
	use := []string{"report-status"}
	for _, name := range []string{"side-band-64k", "quiet"} {
		if caps.has(name) {
			use = append(use, name)
		}
	}
	if len(todo) > 1 && caps.has("atomic") {
		use = append(use, "atomic")
	}
	if len(p.Options) > 0 {
		if !caps.has("push-options") {
			return nil, fmt.Errorf("%w: the server takes no push options", ErrRejected)
		}
		use = append(use, "push-options")
	}
	if caps.has("agent") {
		use = append(use, "agent="+userAgent)
	}
	var q pktWriter
	for i, u := range todo {
		list := ""
		if i == 0 {
			list = "\x00" + strings.Join(use, " ")
		}
		q.line("%s %s %s%s", u.old, u.now, u.ref, list)
	}
	q.flush()
	if len(p.Options) > 0 {
		for _, k := range slices.Sorted(maps.Keys(p.Options)) {
			if v := p.Options[k]; v != "" {
				q.line("%s=%s", k, v)
			} else {
				q.line("%s", k)
			}
		}
		q.flush()
	}
	objects, err := m.newObjects(plumbing.NewHash(p.Commit), []plumbing.Hash{plumbing.NewHash(p.Base), plumbing.NewHash(p.Known)}, refs)
	if err != nil {
		return nil, err
	}
	err = encodePack(&q, objects)
	return q.Bytes(), err
}

// maxChain bounds the commits of one push.
const maxChain = 1000

// newObjects lists what the commits from tip down to one that the remote has, or
// to one of its refs, have that their parents have not.
func (m *mirror) newObjects(tip plumbing.Hash, known []plumbing.Hash, refs []remoteRef) ([]plumbing.EncodedObject, error) {
	there := map[plumbing.Hash]bool{}
	for _, h := range known {
		there[h] = true
	}
	for _, r := range refs {
		there[r.Hash] = true
	}
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var objects []plumbing.EncodedObject
	add := func(h plumbing.Hash) error {
		o, err := s.whole(h)
		if err != nil {
			return err
		}
		objects = append(objects, o)
		return nil
	}
	for n, at := 0, tip; !there[at]; n++ {
		c, err := readCommit(s, at)
		if err != nil {
			return nil, err
		}
		if n >= maxChain || len(c.ParentHashes) != 1 {
			return nil, fmt.Errorf("%w: commit %s does not follow from %v", ErrNonFastForward, tip, known)
		}
		parent, err := readCommit(s, c.ParentHashes[0])
		if err != nil {
			return nil, err
		}
		w := &walker{s: s, done: map[plumbing.Hash]bool{}}
		if err := errors.Join(add(at), w.differ(c.TreeHash, parent.TreeHash, add)); err != nil {
			return nil, err
		}
		at = c.ParentHashes[0]
	}
	return objects, nil
}

// differ visits the objects of tree now that the tree before has not at the
// same place.
func (w *walker) differ(now, before plumbing.Hash, visit func(plumbing.Hash) error) error {
	if now == before || w.done[now] {
		return nil
	}
	w.done[now] = true
	entries, known, err := w.read(now, before)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.mode == filemode.Submodule || known[e.name] == e.hash || w.done[e.hash]:
		case e.mode == filemode.Dir:
			err = w.differ(e.hash, known[e.name], visit)
		default:
			w.done[e.hash] = true
			err = visit(e.hash)
		}
		if err != nil {
			return err
		}
	}
	return visit(now)
}

// readReport reads "unpack ok" and a verdict on each ref, and what hooks said.
func readReport(answer io.Reader, banded bool) (said string, err error) {
	answer = &limited{r: answer, n: 16 << 20}
	var band *sideband
	p := &pktReader{r: answer}
	if banded {
		band = &sideband{p: p}
		p = &pktReader{r: band}
		defer func() { said = serverText(string(band.said)) }()
	}
	kind, line, err := p.line()
	if err != nil {
		return "", err
	}
	if kind != pktData || line != "unpack ok" {
		return "", fmt.Errorf("%w: the server could not unpack: %s", ErrRejected, serverText(line))
	}
	var verdict error
	for {
		kind, line, err := p.line()
		switch {
		case err != nil:
			return "", err
		case kind != pktData:
			if band != nil {
				_, _ = io.Copy(io.Discard, band) // what hooks say after the report
			}
			return "", verdict
		}
		if text, ok := strings.CutPrefix(line, "ng "); ok && verdict == nil {
			ref, reason, _ := strings.Cut(text, " ")
			verdict = fmt.Errorf("%w: %s: %s", refusal(reason), serverText(ref), serverText(reason))
		}
	}
}

// refusal tells a lost race from a rule, and a rule about the branch from others.
func refusal(reason string) error {
	s := strings.ToLower(reason)
	for _, words := range []string{"non-fast-forward", "fetch first", "stale info", "failed to update ref", "cannot lock ref",
		"failed to lock", "incorrect old value", "reference already exists", "is at ", "atomic transaction failed"} {
		if strings.Contains(s, words) {
			return ErrNonFastForward
		}
	}
	if protects(s) {
		return ErrProtected
	}
	return ErrRejected
}

// protects recognises how GitHub, GitLab, Gitea, Bitbucket and Azure DevOps say
// that a branch is not for everybody to push to.
func protects(text string) bool {
	text = strings.ToLower(text)
	for _, words := range []string{"protected branch", "branch is protected", "branch hook declined", "gh006", "gh013", "repository rule violations",
		"not allowed to push code to protected", "not allowed to push to protected", "tf402455", "branch permissions"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}
