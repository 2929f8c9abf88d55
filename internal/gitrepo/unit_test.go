package gitrepo

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/gitserver"
)

func TestAddresses(t *testing.T) {
	cases := map[string]struct{ want, text string }{
		"https://example.com/org/repo.git":          {"https://example.com/org/repo.git", ""},
		"https://user:hunter2@Example.com/repo/":    {"https://example.com/repo", ""},
		"ssh://git@example.com:2222/org/repo":       {"ssh://example.com:2222/org/repo", ""},
		"git@example.com:org/repo.git":              {"", "ssh://git@example.com/org/repo.git"},
		"file:///etc/passwd":                        {"", "not supported"},
		"git://example.com/repo":                    {"", "not supported"},
		"ext::sh -c hunter2":                        {"", ""},
		"https://user:hunter2@example.com":          {"", "no path"},
		"https://:hunter2@/repo":                    {"", "no host"},
		"https://example.com/repo?token=hunter2":    {"", "query"},
		"https://example.com/re%0apo":               {"", "character"},
		"ssh://example.com/repo';id;'":              {"", "character"},
		"ssh://git:hunter2@example.com/repo":        {"", "key"},
		"https://user:hunter2@exa mple.com/%zzrepo": {"", "not a URL"},
	}
	for raw, c := range cases {
		a, err := parseAddress(raw)
		if c.want != "" {
			if err != nil || a.String() != c.want {
				t.Errorf("%q: %q, %v; want %q", raw, a, err, c.want)
			}
			continue
		}
		if !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %v, want ErrURL with %q", raw, err, c.text)
		}
		if strings.Contains(err.Error(), "hunter2") && raw != "ext::sh -c hunter2" {
			t.Errorf("%q: the error tells the secret: %v", raw, err)
		}
	}
}

func TestParseAuth(t *testing.T) {
	key, _, err := gitserver.NewIdentity("sesame")
	must(t, err)
	host := []byte("example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")
	bytes := func(kv ...string) map[string][]byte {
		m := map[string][]byte{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = []byte(kv[i+1])
		}
		return m
	}
	cases := map[string]struct {
		url    string
		secret map[string][]byte
		text   string // of the error; "" for none
	}{
		"none":            {"https://example.com/r", nil, ""},
		"basic":           {"https://example.com/r", bytes("username", "u", "password", "p"), ""},
		"no user":         {"https://example.com/r", bytes("password", "p"), `"username"`},
		"both":            {"https://example.com/r", bytes("username", "u", "password", "p", "bearerToken", "b"), `"bearerToken"`},
		"bad CA":          {"https://example.com/r", bytes("ca.crt", "x"), `"ca.crt"`},
		"half a pair":     {"https://example.com/r", bytes("tls.crt", "x"), `"tls.key"`},
		"no identity":     {"ssh://git@example.com/r", bytes("known_hosts", string(host)), `"identity"`},
		"no known_hosts":  {"ssh://git@example.com/r", bytes("identity", string(key), "password", "sesame"), `"known_hosts"`},
		"bad known_hosts": {"ssh://git@example.com/r", bytes("identity", string(key), "password", "sesame", "known_hosts", "# none\n"), `"known_hosts"`},
		"locked":          {"ssh://git@example.com/r", bytes("identity", string(key), "known_hosts", string(host)), `"password"`},
		"wrong phrase":    {"ssh://git@example.com/r", bytes("identity", string(key), "known_hosts", string(host), "password", "hunter2"), `passphrase`},
		"ssh":             {"ssh://example.com/r", bytes("identity", string(key), "known_hosts", string(host), "password", "sesame"), ""},
	}
	for title, c := range cases {
		a, err := ParseAuth(c.url, c.secret)
		switch {
		case c.text == "" && err != nil:
			t.Errorf("%s: %v", title, err)
		case c.text != "" && (!errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v, want ErrAuth with %s", title, err, c.text)
		case title == "ssh" && (a.Username != "git" || a.Password != "" || a.IdentityPassphrase != "sesame"):
			t.Errorf("%s: user %q, password %q", title, a.Username, a.Password)
		}
	}
}

func TestRefsThatCannotBe(t *testing.T) {
	p := pool(t, Options{})
	r := open(t, p, "http://127.0.0.1:1/repo", Auth{})
	for _, ref := range []Ref{{Branch: "a b"}, {Branch: "a\nref-prefix refs/"}, {Tag: "../x"}, {Name: "main"}, {Name: "refs/x.lock"}, {SemVer: "not a range"}, {Commit: "abc"}, {Commit: strings.Repeat("1", 40), Branch: "a..b"}} {
		if _, err := r.Poll(t.Context(), ref); err == nil || errors.Is(err, ErrUnreachable) {
			t.Errorf("%+v: %v, want an error before anything is dialled", ref, err)
		}
	}
	if _, err := r.Poll(t.Context(), Ref{Branch: "main"}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("closed port: %v", err)
	}
}

func TestNewestVersion(t *testing.T) {
	var refs []remoteRef
	for _, n := range []string{"refs/heads/9.0.0", "refs/tags/1.0.0", "refs/tags/v1.10.0", "refs/tags/v1.9.0", "refs/tags/v2.0.0-rc.1", "refs/tags/junk"} {
		refs = append(refs, remoteRef{Name: n})
	}
	for constraint, want := range map[string]string{"*": "v1.10.0", "1.9.x": "v1.9.0", ">=1.0.0-0": "v2.0.0-rc.1", "<1.5": "1.0.0"} {
		target, err := Ref{SemVer: constraint}.target()
		must(t, err)
		if _, shown, err := target.pick(refs); err != nil || shown != want {
			t.Errorf("%s: %q (%v), want %q", constraint, shown, err, want)
		}
	}
}

func TestHostileTrees(t *testing.T) {
	hash := strings.Repeat("h", 20)
	for _, n := range []string{"", ".", "..", ".git", ".GiT", ".git ", ".git.", "GIT~1", ".g\u200cit", "a/b", "a\\b", strings.Repeat("x", 256), "\xff"} {
		if _, err := parseTree([]byte("100644 " + n + "\x00" + hash)); !errors.Is(err, ErrBadTree) {
			t.Errorf("the name %q passed: %v", n, err)
		}
	}
	for _, data := range []string{"100644 a\x00short", "100644", "777777 a\x00" + hash, "100644 a\x00" + hash + "100644 a\x00" + hash} {
		if _, err := parseTree([]byte(data)); !errors.Is(err, ErrBadTree) {
			t.Errorf("%q passed: %v", data, err)
		}
	}
	for _, n := range []string{"a", ".gitignore", "..a", "a b", "é"} {
		if _, err := parseTree([]byte("100644 " + n + "\x00" + hash)); err != nil {
			t.Errorf("the name %q: %v", n, err)
		}
	}
}
