package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/config"
)

const (
	// maxModules bounds .gitmodules, in bytes and in submodules.
	maxModulesFile = 64 << 10
	maxModules     = 200
)

// Submodule is what a commit says of one of its submodules (gitmodules(5)).
type Submodule struct {
	Name   string
	Path   string // clean, relative to the root of the commit
	URL    string // absolute
	Branch string // where its commit may be found; "" when it says nothing
	Commit string // the tree pins this one
}

// Submodules lists the submodules of the View's commit that .gitmodules describes
// and the tree has. base is the address of the repository itself, to which their
// addresses may be relative. Errors wrap ErrBadTree.
func (v *View) Submodules(base string) ([]Submodule, error) {
	data, err := v.ReadFile(".gitmodules", maxModulesFile)
	if errors.Is(err, ErrNotFound) {
		return nil, nil // a symlink is no file either
	}
	if err != nil {
		return nil, err
	}
	described, err := parseModules(data)
	if err != nil {
		return nil, err
	}
	var out []Submodule
	seen := map[string]bool{}
	for _, m := range described {
		e, err := v.Stat(m.Path)
		if errors.Is(err, ErrNotFound) || err == nil && !e.Submodule {
			continue // described, and not there, or something else by now
		}
		if err != nil {
			return nil, err
		}
		if seen[m.Path] {
			return nil, fmt.Errorf("%w: .gitmodules has two submodules at %q", ErrBadTree, m.Path)
		}
		seen[m.Path] = true
		if m.URL, err = resolve(base, m.URL); err != nil {
			return nil, fmt.Errorf("%w: submodule %q: %w", ErrBadTree, m.Path, err)
		}
		m.Commit = e.Hash
		out = append(out, m)
	}
	return out, nil
}

// parseModules reads .gitmodules. What it cannot mean is an error.
func parseModules(data []byte) ([]Submodule, error) {
	cfg := config.New()
	if err := config.NewDecoder(bytes.NewReader(data)).Decode(cfg); err != nil {
		return nil, fmt.Errorf("%w: .gitmodules: %s", ErrBadTree, serverText(err.Error()))
	}
	sections := cfg.Section("submodule").Subsections
	if len(sections) > maxModules {
		return nil, fmt.Errorf("%w: .gitmodules has more than %d submodules", ErrTooLarge, maxModules)
	}
	var out []Submodule
	for _, s := range sections {
		m := Submodule{Name: s.Name, Path: strings.TrimSuffix(s.Option("path"), "/"), URL: s.Option("url"), Branch: s.Option("branch")}
		if m.Path == "" && m.URL == "" {
			continue
		}
		for name := range strings.SplitSeq(m.Path, "/") {
			if checkName(name) != nil || len(m.Path) > 4096 {
				return nil, fmt.Errorf("%w: .gitmodules: the path %q of a submodule leads nowhere", ErrBadTree, serverText(m.Path))
			}
		}
		if m.URL == "" {
			return nil, fmt.Errorf("%w: .gitmodules: submodule %q has no url", ErrBadTree, m.Path)
		}
		if checkRefName("refs/heads/"+m.Branch) != nil {
			m.Branch = "" // "." stands for the branch of the repository itself
		}
		out = append(out, m)
	}
	return out, nil
}

// resolve returns the absolute address of a submodule: relative ones count from
// the repository's own, the short form of SSH is written out.
func resolve(base, raw string) (string, error) {
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		u, err := url.Parse(base)
		if err != nil {
			return "", fmt.Errorf("%w: not a URL", ErrURL)
		}
		folder, rest := strings.Trim(u.Path, "/"), raw
		for {
			if after, ok := strings.CutPrefix(rest, "./"); ok {
				rest = after
			} else if after, ok := strings.CutPrefix(rest, "../"); ok {
				if folder == "" {
					return "", fmt.Errorf("%w: the address %q leads above the server's root", ErrURL, serverText(raw))
				}
				folder = folder[:max(strings.LastIndexByte(folder, '/'), 0)]
				rest = after
			} else {
				break
			}
		}
		for part := range strings.SplitSeq(rest, "/") {
			if part == ".." {
				return "", fmt.Errorf("%w: the address %q has dots in its middle", ErrURL, serverText(raw))
			}
		}
		u.Path, u.RawPath = "/"+strings.TrimPrefix(folder+"/"+rest, "/"), ""
		raw = u.String()
	} else if m := scpForm.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") && !strings.Contains(m[2], "[") && m[1] != "" {
		raw = (&url.URL{Scheme: "ssh", User: url.User(m[1]), Host: m[2], Path: "/" + m[3]}).String()
	}
	_, err := parseAddress(raw)
	return raw, err
}

// SameOrigin tells whether two addresses have the same scheme, host and port, so
// that the credentials of the one may go to the other.
func SameOrigin(a, b string) bool {
	x, err1 := parseAddress(a)
	y, err2 := parseAddress(b)
	return err1 == nil && err2 == nil && x.scheme == y.scheme && x.origin() == y.origin()
}

// origin is the host with its port, the usual one of the scheme written out.
func (a address) origin() string {
	u := url.URL{Host: a.host}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ssh": "22"}[a.scheme]
	}
	return u.Hostname() + ":" + port
}
