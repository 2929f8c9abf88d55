package gitrepo

import (
	"errors"
	"strings"
	"testing"
)

func TestSubmoduleAddresses(t *testing.T) {
	for _, c := range []struct{ base, raw, want string }{
		{"https://git.test/org/app.git", "../lib.git", "https://git.test/org/lib.git"},
		{"https://git.test/org/app.git/", "./lib", "https://git.test/org/app.git/lib"},
		{"https://git.test/org/app", "../../other/lib", "https://git.test/other/lib"},
		{"https://git.test/app", "../lib", "https://git.test/lib"},
		{"ssh://git@git.test:2222/org/app", "../lib", "ssh://git@git.test:2222/org/lib"},
		{"https://git.test/org/app", "git@git.test:org/lib.git", "ssh://git@git.test/org/lib.git"},
		{"https://git.test/org/app", "https://else.test/lib", "https://else.test/lib"},
		{"https://git.test/org/app", "../../../lib", ""},
		{"https://git.test/org/app", "../x/../../../lib", ""},
		{"https://git.test/org/app", "ext::sh -c id", ""},
		{"https://git.test/org/app", "file:///etc", ""},
		{"https://git.test/org/app", "/etc/lib", ""},
		{"https://git.test/org/app", "-oProxyCommand=id", ""},
		{"https://git.test/org/app", "-oProxyCommand=id@git.test:lib", "ssh://-oProxyCommand=id@git.test/lib"}, // a user's name, and no program's argument
		{"https://git.test/org/app", "ssh://git.test/a\nb", ""},
		{"https://git.test/org/app", "", ""},
	} {
		got, err := resolve(c.base, c.raw)
		if (err != nil) != (c.want == "") || err == nil && got != c.want || err != nil && !errors.Is(err, ErrURL) {
			t.Errorf("%q from %q: %q, %v, want %q", c.raw, c.base, got, err, c.want)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	const base = "https://git.test/org/app"
	for url, want := range map[string]bool{
		"https://git.test/else": true, "https://GIT.test:443/else": true, "https://u:p@git.test/else": true,
		"http://git.test/else": false, "https://git.test:8443/else": false, "https://git.test.evil.test/else": false,
		"https://git.test@evil.test/else": false, "ssh://git@git.test/else": false, "nonsense": false,
	} {
		if got := SameOrigin(base, url); got != want {
			t.Errorf("%q: %t, want %t", url, got, want)
		}
	}
}

func FuzzModules(f *testing.F) {
	f.Add([]byte("[submodule \"a\"]\n\tpath = a\n\turl = ../a\n\tbranch = .\n"), "../a")
	f.Add([]byte("[submodule \"../x\"]\npath=\"..\\\\x\"\nurl=\\\n; \xff\n[include]\npath=/etc/passwd\n"), "git@host:x")
	f.Add([]byte("[submodule]\npath\nurl"), "./../..//")
	f.Fuzz(func(t *testing.T, data []byte, raw string) {
		modules, err := parseModules(data)
		if err == nil && len(modules) > maxModules {
			t.Errorf("%d submodules", len(modules))
		}
		for _, m := range modules {
			for name := range strings.SplitSeq(m.Path, "/") {
				if name == ".." || name == "" || strings.EqualFold(name, ".git") {
					t.Errorf("the path %q passed", m.Path)
				}
			}
		}
		const base = "https://git.test/org/app"
		if url, err := resolve(base, raw); err == nil {
			if _, err := parseAddress(url); err != nil {
				t.Errorf("%q became %q: %v", raw, url, err)
			}
			if strings.HasPrefix(raw, ".") && !SameOrigin(base, url) {
				t.Errorf("the relative %q left the server: %q", raw, url)
			}
		}
	})
}
