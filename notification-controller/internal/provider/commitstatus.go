package provider

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"

	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	"github.com/weirhq/weir/internal/expression"
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
	maxDescription int                    // bytes
	name           *expression.Expression // spec.commitStatusExpr, compiled; nil is the default name
	provider       *notificationv1beta3.Provider
}

// statusName is the language of spec.commitStatusExpr.
var statusName = expression.NewLanguage([]string{"event", "alert", "provider"})

// statusNames are the expressions that are in use. Senders are made anew every half
// minute, and compiling costs more than all else that is done for them.
var statusNames compiled

// maxCompiled bounds how many expressions are kept; all go when there are more.
const maxCompiled = 500

// compiled keeps expressions by their text. The zero value is ready.
type compiled struct {
	mu  sync.Mutex
	all map[string]*expression.Expression
}

func (c *compiled) of(text string) (*expression.Expression, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.all[text]; e != nil {
		return e, nil
	}
	e, err := statusName.CompileValue(text)
	if err != nil {
		return nil, err
	}
	if c.all == nil || len(c.all) >= maxCompiled {
		c.all = map[string]*expression.Expression{}
	}
	c.all[text] = e
	return e, nil
}

// maxStatusName bounds the name of a status, in bytes; it is what GitLab takes.
const maxStatusName = 255

// newStatusSender checks what all forges need of a target.
func newStatusSender(t Target, f forge, maxDescription int) (Sender, error) {
	s := &statusSender{forge: f, uid: t.UID, maxDescription: maxDescription, provider: t.Object}
	if t.Object != nil && t.Object.Spec.CommitStatusExpr != "" {
		name, err := statusNames.of(t.Object.Spec.CommitStatusExpr)
		if err != nil {
			return nil, fmt.Errorf("%w: spec.commitStatusExpr: %w", ErrInvalid, err)
		}
		s.name = name
	}
	return s, nil
}

// Send implements Sender.
func (s *statusSender) Send(ctx context.Context, event *eventv1.Event) error {
	return s.SendFor(ctx, &notificationv1beta3.Alert{}, event)
}

// SendFor implements alertSender.
func (s *statusSender) SendFor(ctx context.Context, alert *notificationv1beta3.Alert, event *eventv1.Event) error {
	commit, err := commitOf(event)
	if errors.Is(err, errNoRevision) {
		return nil
	}
	if err != nil {
		return Final(err)
	}
	name, err := s.context(ctx, alert, event)
	if err != nil {
		return Final(fmt.Errorf("spec.commitStatusExpr: %w", err))
	}
	want := commitStatus{
		Commit: commit, Context: name, State: stateSuccess,
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

// context returns the name of the status: the expression's, else the default.
func (s *statusSender) context(ctx context.Context, alert *notificationv1beta3.Alert, event *eventv1.Event) (string, error) {
	if s.name == nil {
		return statusContext(event, s.uid), nil
	}
	data, err := plainData(map[string]any{"event": event, "alert": alert, "provider": s.provider})
	if err != nil {
		return "", err
	}
	name, err := s.name.Text(ctx, data)
	switch {
	case err != nil:
		return "", err
	case strings.TrimSpace(name) == "":
		return "", errors.New("its result is empty, and a status needs a name")
	case len(name) > maxStatusName:
		return "", fmt.Errorf("its result is longer than %d bytes", maxStatusName)
	}
	return name, nil
}

// statusContext is the name under which a status is kept: one for each object
// and Provider, so that clusters with the same objects do not overwrite each
// other's.
func statusContext(event *eventv1.Event, uid string) string {
	first, _, _ := strings.Cut(uid, "-")
	o := event.InvolvedObject
	name := cut(o.Name, max(maxStatusName-len(o.Kind)-len(first)-len("//"), 10))
	return strings.ToLower(o.Kind + "/" + name + "/" + first)
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
