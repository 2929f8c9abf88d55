package provider

import "testing"

func TestCommitLink(t *testing.T) {
	for address, want := range map[string]string{
		"https://github.com/o/r":               "https://github.com/o/r/commit/" + sha,
		"https://github.com/o/r.git/":          "https://github.com/o/r/commit/" + sha,
		"https://gitlab.example.com/a/b/c":     "https://gitlab.example.com/a/b/c/-/commit/" + sha,
		"https://bitbucket.org/o/r":            "https://bitbucket.org/o/r/commits/" + sha,
		"https://me:secret@codeberg.org/o/r?t": "https://codeberg.org/o/r/commit/" + sha,
		"ssh://git@github.com/o/r":             "",
		"javascript:alert(1)":                  "",
		"":                                     "",
	} {
		e := sample()
		e.Metadata[sourceKey] = address
		if got := commitLink(e, "main@sha1:"+sha); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
		if got := commitLink(e, "1.2.3"); got != "" {
			t.Errorf("%s: a revision without a commit leads to %q", address, got)
		}
	}
	if got := shortRevision("main@sha1:" + sha); got != "main@sha1:0123456" {
		t.Errorf("got %q", got)
	}
}
