// Package pullrequest opens and updates pull requests at hosts of Git
// repositories.
//
// A branch has one open pull request at most; when there is one, it is used,
// whoever has opened it. One that people have closed without a merge is an
// answer: it is not opened again for the same commit.
package pullrequest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

var (
	// ErrAddress is wrapped when the host or the repository cannot be told from an
	// address; it needs an edit.
	ErrAddress = errors.New("pull request")
	// ErrHost is wrapped when the host does not do what it is asked.
	ErrHost = errors.New("the host of the repository")
)

// Busy is the error of a host that asked to be left alone for a while.
type Busy struct{ After time.Duration }

func (b *Busy) Error() string {
	return fmt.Sprintf("the host asks to wait for %s (too many requests)", b.After.Round(time.Second))
}

// A Wish is the pull request that there should be.
type Wish struct {
	Head, Base  string // branches of the same repository
	Commit      string // the tip of Head
	Title, Body string
	// Refresh gives an open one the title and body, because Head has moved.
	Refresh bool
}

// A Request is a pull request that there is.
type Request struct {
	Number      int64
	URL         string
	Title, Body string
	Commit      string // the tip of its branch when it was last open
	Open        bool
	// Created says that it was opened just now.
	Created bool
}

// An api is what is needed of a kind of host.
type api interface {
	// find lists the pull requests from head to base in the same repository,
	// those that are not open any more included.
	find(ctx context.Context, head, base string) ([]Request, error)
	create(ctx context.Context, w Wish) (Request, error)
	edit(ctx context.Context, number int64, title, body string) error
}

// A kind is a kind of host.
type kind struct {
	// base is where the API is at a host.
	base func(host *url.URL) string
	open func(o Options, base string, repository []string, client *http.Client) (api, error)
	// nested allows repositories in groups of groups.
	nested bool
}

var kinds = map[string]kind{
	"github": {base: githubBase, open: openGitHub},
	"gitlab": {base: func(host *url.URL) string { return host.String() + "/api/v4" }, open: openGitLab, nested: true},
	"gitea":  {base: (*url.URL).String, open: openGitea},
}

// Kinds are the names of the kinds of hosts.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// Options say where pull requests are, and who asks.
type Options struct {
	Kind       string // one of Kinds
	Repository string // the address of the Git repository
	// Address of the API; "" means as the host of the repository usually has it.
	Address string
	Token   string
	CA      []byte   // PEM; replaces the system's authorities
	Proxy   *url.URL // nil: as the environment says
}

// Host asks for pull requests of one repository.
type Host struct{ api api }

// Open prepares a Host. Nothing is asked yet. Errors wrap ErrAddress.
func Open(o Options) (*Host, error) {
	k, known := kinds[o.Kind]
	if !known {
		return nil, fmt.Errorf("%w: the host %q is not known: there are %q", ErrAddress, o.Kind, Kinds())
	}
	at, path, err := locate(o.Repository)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(path, "/")
	if slices.Contains(parts, "") || len(parts) < 2 || len(parts) > 2 && !k.nested {
		return nil, fmt.Errorf("%w: the path %q is no repository of %q: it must be <owner>/<name>", ErrAddress, path, o.Kind)
	}
	base := k.base(at)
	if o.Address != "" {
		u, err := url.Parse(o.Address)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%w: the address %q is no http or https URL without user and query", ErrAddress, o.Address)
		}
		base = strings.TrimRight(u.String(), "/")
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	api, err := k.open(o, base, parts, client)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return &Host{api}, nil
}

// locate finds the web address of the host and the path of the repository.
func locate(repository string) (*url.URL, string, error) {
	u, err := url.Parse(repository)
	if err != nil || u.Hostname() == "" {
		return nil, "", fmt.Errorf("%w: the address of the repository is no URL", ErrAddress)
	}
	at := &url.URL{Scheme: u.Scheme, Host: u.Host}
	if u.Scheme == "ssh" {
		at.Scheme, at.Host = "https", u.Hostname() // the port is that of SSH
	}
	return at, strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git"), nil
}

// Ensure makes the pull request be there, and returns it. One with Open unset
// was closed for this very commit, and stays so. Errors wrap ErrHost or are a
// *Busy.
func (h *Host) Ensure(ctx context.Context, w Wish) (Request, error) {
	all, err := h.api.find(ctx, w.Head, w.Base)
	if err != nil {
		return Request{}, fmt.Errorf("%w cannot list pull requests: %w", ErrHost, err)
	}
	for _, r := range all {
		if !r.Open {
			continue
		}
		if w.Refresh && (r.Title != w.Title || r.Body != w.Body) {
			if err := h.api.edit(ctx, r.Number, w.Title, w.Body); err != nil {
				return r, fmt.Errorf("%w cannot change the pull request %d: %w", ErrHost, r.Number, err)
			}
			r.Title, r.Body = w.Title, w.Body
		}
		return r, nil
	}
	for _, r := range all {
		if r.Commit == w.Commit {
			return r, nil
		}
	}
	r, err := h.api.create(ctx, w)
	if err != nil {
		return r, fmt.Errorf("%w cannot open a pull request: %w", ErrHost, err)
	}
	r.Created, r.Open = true, true
	return r, nil
}
