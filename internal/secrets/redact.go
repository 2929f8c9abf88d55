package secrets

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// minLength is the shortest value that is redacted. Shorter ones occur in
	// ordinary words, and are no secrets worth the name.
	minLength = 6
	// maxValues bounds the registry; the oldest values are forgotten first.
	maxValues = 4096
	mask      = "***"
)

var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"'@]+@`)
	query    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'?]+)\?[^\s"']+`)
)

var registry struct {
	sync.Mutex
	known    map[string]bool
	order    []string
	replacer atomic.Pointer[strings.Replacer] // nil: to be made from order
}

// Register makes Redact remove the values from now on: as they are, in
// base64, and as they stand in a URL. Values shorter than six bytes are
// ignored.
func Register(values ...string) {
	registry.Lock()
	defer registry.Unlock()
	for _, v := range values {
		v = strings.TrimSpace(v)
		if len(v) < minLength || registry.known[v] {
			continue
		}
		if registry.known == nil {
			registry.known = map[string]bool{}
		}
		if len(registry.order) == maxValues {
			delete(registry.known, registry.order[0])
			registry.order = registry.order[1:]
		}
		registry.known[v] = true
		registry.order = append(registry.order, v)
		registry.replacer.Store(nil)
	}
}

// current makes the replacer when it is first needed after a change, as most
// Secrets are read far more often than anything is redacted.
func current() *strings.Replacer {
	if r := registry.replacer.Load(); r != nil {
		return r
	}
	registry.Lock()
	defer registry.Unlock()
	r := replacerOf(registry.order)
	registry.replacer.Store(r)
	return r
}

func replacerOf(values []string) *strings.Replacer {
	pairs := make([]string, 0, 8*len(values))
	add := func(form string) { pairs = append(pairs, form, mask) }
	for _, v := range values {
		add(v)
		// The last bytes of a base64 text depend on what follows the value,
		// so only the part that does not is looked for.
		whole := v[:len(v)/3*3]
		add(base64.StdEncoding.EncodeToString([]byte(whole)))
		add(base64.URLEncoding.EncodeToString([]byte(whole)))
		add(url.QueryEscape(v))
		add(url.PathEscape(v))
	}
	return strings.NewReplacer(pairs...)
}

// Redact returns s without registered secret values, and with URLs stripped
// of user information and query.
func Redact(s string) string {
	s = current().Replace(s)
	if strings.Contains(s, "://") {
		s = userinfo.ReplaceAllString(s, "$1")
		s = query.ReplaceAllString(s, "$1")
	}
	return s
}
