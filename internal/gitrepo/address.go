package gitrepo

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// address is a parsed repository URL.
type address struct {
	scheme, host, path string // host with its port where the URL has one
	user, password     string // from the URL; credentials of a Secret go first
}

var scpForm = regexp.MustCompile(`^(?:([^@/:]+)@)?([^/:]+):([^/].*)$`)

// parseAddress accepts http, https and ssh URLs.
func parseAddress(raw string) (address, error) {
	if m := scpForm.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		user := m[1]
		if user == "" {
			user = "git"
		}
		return address{}, fmt.Errorf("%w: the short form of SSH addresses is not supported: write it as ssh://%s@%s/%s", ErrURL, user, m[2], m[3])
	}
	u, err := url.Parse(raw)
	if err != nil { // the error of url.Parse repeats the URL with its password
		return address{}, fmt.Errorf("%w: not a URL: write https://host/path or ssh://user@host/path", ErrURL)
	}
	a := address{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host), path: strings.TrimRight(u.Path, "/")}
	a.user = u.User.Username()
	a.password, _ = u.User.Password()
	switch {
	case a.scheme != "http" && a.scheme != "https" && a.scheme != "ssh":
		return address{}, fmt.Errorf("%w: scheme %q is not supported: use http, https or ssh", ErrURL, a.scheme)
	case u.Hostname() == "":
		return address{}, fmt.Errorf("%w: %s has no host", ErrURL, a)
	case u.RawQuery != "" || u.Fragment != "":
		return address{}, fmt.Errorf("%w: %s: a query or fragment is no part of a repository's address: remove it", ErrURL, a)
	case strings.Trim(a.path, "/") == "":
		return address{}, fmt.Errorf("%w: %s has no path: name a repository", ErrURL, a)
	case strings.ContainsAny(a.path, "\x00\n\r'") || a.scheme == "ssh" && strings.ContainsAny(a.path, "\\!"):
		return address{}, fmt.Errorf("%w: the path of %s has a character that is not allowed", ErrURL, a.host)
	case a.scheme == "ssh" && a.password != "":
		return address{}, fmt.Errorf("%w: %s: a password in an SSH address is not supported: use a key", ErrURL, a)
	}
	return a, nil
}

// String is the URL without user, password and query, for people and as
// identity.
func (a address) String() string {
	return (&url.URL{Scheme: a.scheme, Host: a.host, Path: a.path}).String()
}

// dialAddress is host:port of an SSH server.
func (a address) dialAddress() string {
	if _, _, err := net.SplitHostPort(a.host); err == nil {
		return a.host
	}
	return net.JoinHostPort(strings.Trim(a.host, "[]"), "22")
}
