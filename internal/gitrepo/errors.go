package gitrepo

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// What can go wrong, for errors.Is. The text around them names the repository
// (without user and query), the ref and what to do.
var (
	// ErrURL: the URL or the credentials' shape cannot be used; needs an edit.
	ErrURL = errors.New("unusable repository address")
	// ErrAuth: credentials are missing, unusable or refused.
	ErrAuth = errors.New("authentication failed")
	// ErrNotFound: the repository, ref or commit does not exist (for these credentials).
	ErrNotFound = errors.New("not found")
	// ErrEmpty: the repository has no branch and no tag yet; always with ErrNotFound.
	ErrEmpty = errors.New("the repository is empty")
	// ErrUnreachable: no answer, or one that makes no sense; try again.
	ErrUnreachable = errors.New("server cannot be reached")
	// ErrHostKey: the SSH server's key is not the one in known_hosts.
	ErrHostKey = errors.New("host key verification failed")
	// ErrNonFastForward: the branch moved; poll, edit again, push again.
	ErrNonFastForward = errors.New("branch has moved")
	// ErrRejected: the server refused the push by a rule (hook, protected branch).
	ErrRejected = errors.New("push rejected")
	// ErrProtected: the branch is protected, and will be until somebody changes
	// that; always with ErrRejected.
	ErrProtected = fmt.Errorf("%w: the branch is protected", ErrRejected)
	// ErrTooLarge: the repository or a file exceeds a limit.
	ErrTooLarge = errors.New("limit exceeded")
	// ErrIncomplete: objects of the mirror are missing or damaged. The next
	// Fetch gets them anew.
	ErrIncomplete = errors.New("mirror is missing objects")
	// ErrBadTree: the repository holds an entry no client may check out.
	ErrBadTree = errors.New("invalid tree")
)

// busy is ErrUnreachable with the time the server asked to wait.
type busy struct {
	status string
	after  time.Duration
}

func (b *busy) Error() string { return fmt.Sprintf("%v: %s", ErrUnreachable, b.status) }

func (b *busy) Unwrap() error { return ErrUnreachable }

// Busy is an error of a server that asked to be left alone, see RetryAfter.
func Busy(status string, after time.Duration) error { return &busy{status: status, after: after} }

// RetryAfter is how long the server asked to be left alone (Retry-After of a
// 429 or 503 answer); 0 when it did not.
func RetryAfter(err error) time.Duration {
	if b, ok := errors.AsType[*busy](err); ok {
		return b.after
	}
	return 0
}

// maxServerText bounds what of a server's words goes into an error, in bytes.
const maxServerText = 1024

// serverText makes one printable, bounded text of what a server said.
func serverText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	s = strings.TrimSpace(s)
	if len(s) > maxServerText {
		s = strings.ToValidUTF8(s[:maxServerText], "") + " …"
	}
	return s
}
