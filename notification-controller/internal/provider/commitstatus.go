package provider

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

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
