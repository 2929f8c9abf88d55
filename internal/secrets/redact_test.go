package secrets

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	const planted = "s3cr3t/pass word"
	Register(planted, "git", "")
	for name, tt := range map[string]struct{ in, want string }{
		"plain text stays":       {"git clone failed: no such branch", "git clone failed: no such branch"},
		"raw value":              {"login with " + planted + " refused", "login with *** refused"},
		"url userinfo":           {`Get "https://me:hunter2222@example.com/x.git": EOF`, `Get "https://example.com/x.git": EOF`},
		"ssh user":               {"ssh://git@example.com/x", "ssh://example.com/x"},
		"url query":              {`Get "https://example.com/x?token=abc&y=1": EOF`, `Get "https://example.com/x": EOF`},
		"an address is no match": {"mail me@example.com", "mail me@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Redact(tt.in); got != tt.want {
				t.Errorf("Redact(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
	for name, form := range map[string]string{
		"base64 alone":     base64.StdEncoding.EncodeToString([]byte(planted)),
		"base64 in a text": base64.StdEncoding.EncodeToString([]byte(planted + ":more")),
		"query":            url.QueryEscape(planted),
		"path":             url.PathEscape(planted),
	} {
		t.Run(name, func(t *testing.T) {
			if got := Redact("x " + form + " y"); strings.Contains(got, form) || !strings.Contains(got, mask) {
				t.Errorf("Redact kept %q: %q", form, got)
			}
		})
	}
}

func TestRegisterIsBounded(t *testing.T) {
	for i := range maxValues + 100 {
		Register(strings.Repeat("x", 6) + string(rune('a'+i%26)) + strings.Repeat("y", i%97) + url.QueryEscape(string(rune(0x4e00+i))))
	}
	registry.Lock()
	defer registry.Unlock()
	if len(registry.order) > maxValues || len(registry.known) != len(registry.order) {
		t.Errorf("registry holds %d values in order and %d known, want at most %d", len(registry.order), len(registry.known), maxValues)
	}
}
