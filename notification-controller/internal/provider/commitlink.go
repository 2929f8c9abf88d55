package provider

import (
	"net/url"
	"regexp"
	"strings"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// sourceKey is the metadata key with the address of the repository that
// revisions are commits of.
const sourceKey = "source_url"

var anyHash = regexp.MustCompile(`\b[0-9a-f]{40,64}\b`)

// commitLink returns the page of a revision's commit at a forge, or "" when
// the event does not say which repository it is in.
func commitLink(event *eventv1.Event, revision string) string {
	hash := anyHash.FindString(revision)
	u, err := url.Parse(event.Metadata[sourceKey])
	if err != nil || hash == "" || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Contains(revision, "sha256:") {
		return ""
	}
	page := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), ".git")}
	switch at := strings.ToLower(u.Hostname()); {
	case strings.Contains(at, "gitlab"):
		page = page.JoinPath("-/commit", hash)
	case strings.Contains(at, "bitbucket"):
		page = page.JoinPath("commits", hash)
	default:
		page = page.JoinPath("commit", hash)
	}
	return page.String()
}

// shortRevision shortens the hash in a revision: main@sha1:0123456.
func shortRevision(revision string) string {
	return anyHash.ReplaceAllStringFunc(revision, func(hash string) string { return hash[:7] })
}
