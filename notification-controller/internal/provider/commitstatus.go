package provider

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// The states of a commit status; each forge has words of its own for them.
const (
	statePending = iota
	stateSuccess
	stateFailure
)

// commitStatus is what is to be known about a commit.
type commitStatus struct {
	Commit      string
	Context     string // the name of the status
	State       int
	Description string
}

// forge keeps the statuses of the commits of one repository.
type forge interface {
	// current returns the latest status with the commit and the context of
	// want: whether there is one, and whether it says what want says.
	current(ctx context.Context, want commitStatus) (there, same bool, err error)
	set(ctx context.Context, s commitStatus) error
}

// statusSender sets the status of the commit that an event is about. Work in
// progress is pending, but only on a commit that has no status yet: a
// revision that is applied once more stays what it was found to be.
type statusSender struct {
	forge
	uid            string
	maxDescription int // bytes
}

// newStatusSender checks what all forges need of a target.
func newStatusSender(t Target, f forge, maxDescription int) (Sender, error) {
	if t.GitHubApp {
		return nil, fmt.Errorf("authentication as a GitHub App (key \"githubAppID\") is %w: give the secret a key \"token\"", ErrUnsupported)
	}
	if t.CommitStatusExpr != "" {
		return nil, fmt.Errorf("spec.commitStatusExpr is %w: remove it to get the default status name", ErrUnsupported)
	}
	return &statusSender{forge: f, uid: t.UID, maxDescription: maxDescription}, nil
}

func (s *statusSender) Send(ctx context.Context, event *eventv1.Event) error {
	commit, err := commitOf(event)
	if errors.Is(err, errNoRevision) {
		return nil
	}
	if err != nil {
		return Final(err)
	}
	want := commitStatus{
		Commit: commit, Context: statusContext(event, s.uid), State: stateSuccess,
		Description: statusDescription(event, s.maxDescription),
	}
	switch {
	case isError(event):
		want.State = stateFailure
	case !recovers(event):
		want.State = statePending
	}
	there, same, err := s.current(ctx, want)
	if err != nil || same || there && want.State == statePending {
		return err
	}
	return s.set(ctx, want)
}

// shortKey is a name of forty characters for a status, for forges that take
// no longer ones.
func shortKey(name string) string {
	sum := sha1.Sum([]byte(name))
	return hex.EncodeToString(sum[:])
}

// errNoRevision reports an event that tells of no revision; there is no
// commit whose status it could be.
var errNoRevision = errors.New("the event has no revision")

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// commitOf finds the commit that an event is about: metadata commit, else
// originRevision, else revision. It reads `main@sha1:<hash>`,
// `sha1:<hash>`, a bare hash and the older `main/<hash>`.
func commitOf(event *eventv1.Event) (string, error) {
	revision, ok := event.GetRevision()
	if !ok || revision == "" {
		return "", errNoRevision
	}
	hash := revision
	switch {
	case strings.Contains(revision, "sha1:"):
		hash = revision[strings.LastIndex(revision, "sha1:")+len("sha1:"):]
	case !strings.Contains(revision, "sha256:"):
		hash = revision[strings.LastIndex(revision, "/")+1:]
	}
	if !commitHash.MatchString(hash) {
		return "", fmt.Errorf("revision %q names no Git commit (SHA-1)", revision)
	}
	return hash, nil
}

// statusContext is the name under which a status is kept: one for each object
// and Provider, so that clusters with the same objects do not overwrite each
// other's.
func statusContext(event *eventv1.Event, uid string) string {
	first, _, _ := strings.Cut(uid, "-")
	return strings.ToLower(event.InvolvedObject.Kind + "/" + event.InvolvedObject.Name + "/" + first)
}

// statusDescription turns a reason such as HealthCheckFailed into the words
// "health check failed", at most max bytes long.
func statusDescription(event *eventv1.Event, max int) string {
	var b strings.Builder
	runes := []rune(event.Reason)
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	text := b.String()
	if len(text) > max {
		text = strings.ToValidUTF8(text[:max], "")
	}
	return text
}
