package pullrequest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const token = "token-of-the-host"

// standIn is a host of one repository. It refuses what the documentation of the
// real one does not name.
type standIn struct {
	kind     string
	server   *httptest.Server
	requests []map[string]any // newest last
	calls    []string         // method, path and what counts of body or query
	fail     func(w http.ResponseWriter) bool
}

func newStandIn(t *testing.T, kind string) *standIn {
	t.Helper()
	s := &standIn{kind: kind}
	mux := http.NewServeMux()
	root := map[string]string{"github": "/api/v3/repos/org/fleet/pulls", "gitlab": "/api/v4/projects/org%2Fsub%2Ffleet/merge_requests", "gitea": "/api/v1/repos/org/fleet/pulls"}[kind]
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		auth := map[string]string{"github": "Bearer " + token, "gitlab": token, "gitea": "token " + token}[kind]
		header := map[string]string{"gitlab": "Private-Token"}[kind]
		if header == "" {
			header = "Authorization"
		}
		switch {
		case r.Header.Get(header) != auth:
			http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
		case s.fail != nil && s.fail(w):
		case r.Method == http.MethodGet && path == root:
			s.list(w, r)
		case r.Method == http.MethodPost && path == root:
			s.create(t, w, r)
		case r.Method == map[string]string{"github": "PATCH", "gitlab": "PUT", "gitea": "PATCH"}[kind] && path == root+"/1":
			s.edit(t, w, r)
		default:
			t.Errorf("%s %s is not in the documentation", r.Method, path)
			http.NotFound(w, r)
		}
	})
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	return s
}

func (s *standIn) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.calls = append(s.calls, "list "+map[string]string{
		"github": q.Get("state") + " " + q.Get("head") + " " + q.Get("base"),
		"gitlab": q.Get("state") + " " + q.Get("source_branch") + " " + q.Get("target_branch"),
		"gitea":  q.Get("state"),
	}[s.kind])
	_ = json.NewEncoder(w).Encode(s.requests)
}

func (s *standIn) create(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	get := func(names ...string) string { return fmt.Sprint(body[names[map[string]int{"gitlab": 1}[s.kind]]]) }
	head, base, title, text := get("head", "source_branch"), get("base", "target_branch"), get("title", "title"), get("body", "description")
	s.calls = append(s.calls, fmt.Sprintf("create %s %s %q %q", head, base, title, text))
	for _, p := range s.requests {
		if p["state"] == "open" || p["state"] == "opened" {
			http.Error(w, `{"message":"it is there already"}`, http.StatusConflict)
			return
		}
	}
	p := s.add("commit", head, base, title, text, true)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(p)
}

func (s *standIn) edit(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	text := body["body"]
	if s.kind == "gitlab" {
		text = body["description"]
	}
	s.calls = append(s.calls, fmt.Sprintf("edit %q %q", body["title"], text))
	_ = json.NewEncoder(w).Encode(s.requests[0])
}

// add makes a pull request as the host shows it.
func (s *standIn) add(commit, head, base, title, text string, open bool) map[string]any {
	n := len(s.requests) + 1
	url := fmt.Sprintf("https://host/pulls/%d", n)
	state := "closed"
	if open {
		state = map[string]string{"gitlab": "opened"}[s.kind]
		if state == "" {
			state = "open"
		}
	}
	p := map[string]any{
		"number": n, "html_url": url, "title": title, "body": text, "state": state,
		"head": map[string]any{"ref": head, "sha": commit, "repo_id": 1}, "base": map[string]any{"ref": base, "repo_id": 1},
	}
	if s.kind == "gitlab" {
		p = map[string]any{
			"iid": n, "web_url": url, "title": title, "description": text, "state": state, "sha": commit,
			"source_branch": head, "target_branch": base, "source_project_id": 7, "target_project_id": 7,
		}
	}
	s.requests = append(s.requests, p)
	return p
}

func (s *standIn) open(t *testing.T, token string) *Host {
	t.Helper()
	path := "/org/fleet.git"
	if s.kind == "gitlab" {
		path = "/org/sub/fleet.git"
	}
	h, err := Open(Options{Kind: s.kind, Repository: s.server.URL + path, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (s *standIn) took() []string {
	out := s.calls
	s.calls = nil
	return out
}

func TestEnsure(t *testing.T) {
	list := map[string]string{"github": "list all org:updates main", "gitlab": "list all updates main", "gitea": "list all"}
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			s := newStandIn(t, kind)
			h := s.open(t, token)
			wish := Wish{Head: "updates", Base: "main", Commit: "commit", Title: "Update web", Body: "- 1 -> 2"}
			ensure := func(want Request, calls ...string) {
				t.Helper()
				got, err := h.Ensure(t.Context(), wish)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(append([]string{list[kind]}, calls...), s.took()); diff != "" {
					t.Error(diff)
				}
			}
			one := Request{Number: 1, URL: "https://host/pulls/1", Title: "Update web", Body: "- 1 -> 2", Commit: "commit", Open: true, Created: true}
			ensure(one, `create updates main "Update web" "- 1 -> 2"`)
			one.Created = false
			ensure(one)
			wish.Title = "Update web again" // not refreshed: people may have changed the title
			ensure(one)
			wish.Refresh = true
			one.Title = wish.Title
			ensure(one, `edit "Update web again" "- 1 -> 2"`)

			// Closed by people: an answer, until there is another commit.
			s.requests[0]["state"] = "closed"
			one.Open, one.Title = false, "Update web"
			ensure(one)
			wish.Commit = "another"
			two := Request{Number: 2, URL: "https://host/pulls/2", Title: wish.Title, Body: wish.Body, Commit: "commit", Open: true, Created: true}
			ensure(two, `create updates main "Update web again" "- 1 -> 2"`)

			// Those of other branches, and of forks, are not ours.
			s.requests = nil
			s.add("another", "other", "main", "x", "y", true)
			s.add("another", "updates", "dev", "x", "y", true)
			fork := s.add("another", "updates", "main", "x", "y", true)
			switch kind {
			case "gitlab":
				fork["source_project_id"] = 8
			case "gitea":
				fork["head"].(map[string]any)["repo_id"] = 2
			default:
				s.requests = s.requests[:2] // GitHub filters by the owner of the branch
			}
			for _, p := range s.requests {
				p["state"] = "closed" // else the stand-in refuses another one
			}
			wish.Refresh = false
			r, err := h.Ensure(t.Context(), wish)
			if err != nil || !r.Created {
				t.Errorf("another's pull request was taken for ours: %+v, %v", r, err)
			}
		})
	}
}

func TestHostRefuses(t *testing.T) {
	for _, kind := range Kinds() {
		t.Run(kind, func(t *testing.T) {
			s := newStandIn(t, kind)
			_, err := s.open(t, "wrong-token").Ensure(t.Context(), Wish{Head: "a", Base: "b"})
			if !errors.Is(err, ErrHost) || !strings.Contains(err.Error(), "401") && !strings.Contains(err.Error(), "Bad credentials") || strings.Contains(err.Error(), "wrong-token") {
				t.Errorf("got %v", err)
			}
			for header, c := range map[string]struct {
				status int
				value  string
				least  time.Duration
			}{
				"Retry-After":       {http.StatusTooManyRequests, "90", 80 * time.Second},
				"X-Ratelimit-Reset": {http.StatusForbidden, fmt.Sprint(time.Now().Add(2 * time.Minute).Unix()), 100 * time.Second},
			} {
				tries := 0
				s.fail = func(w http.ResponseWriter) bool {
					tries++
					w.Header().Set(header, c.value)
					w.Header().Set("X-Ratelimit-Remaining", "0")
					w.WriteHeader(c.status)
					return true
				}
				_, err := s.open(t, token).Ensure(t.Context(), Wish{Head: "a", Base: "b"})
				busy, ok := errors.AsType[*Busy](err)
				if !ok || busy.After < c.least || busy.After > 2*time.Minute+time.Second || tries != 1 {
					t.Errorf("%s: got %v after %d tries", header, err, tries)
				}
			}
			elsewhere := 0
			other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
			defer other.Close()
			s.fail = func(w http.ResponseWriter) bool {
				w.Header().Set("Location", other.URL)
				w.WriteHeader(http.StatusTemporaryRedirect)
				return true
			}
			if _, err := s.open(t, token).Ensure(t.Context(), Wish{Head: "a", Base: "b"}); err == nil || elsewhere != 0 {
				t.Errorf("a redirect was followed: %d, %v", elsewhere, err)
			}
			s.fail = func(w http.ResponseWriter) bool {
				fmt.Fprint(w, `[{"title":"`+strings.Repeat("x", maxAnswer)+`"}]`)
				return true
			}
			if _, err := s.open(t, token).Ensure(t.Context(), Wish{Head: "a", Base: "b"}); err == nil {
				t.Error("an endless answer was read")
			}
		})
	}
}

func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		text    string
	}{
		"unknown host":    {Options{Kind: "sourceforge", Repository: "https://host/a/b"}, `"sourceforge"`},
		"no owner":        {Options{Kind: "github", Repository: "https://github.com/a"}, "<owner>/<name>"},
		"too deep":        {Options{Kind: "gitea", Repository: "https://host/a/b/c"}, "<owner>/<name>"},
		"empty part":      {Options{Kind: "gitlab", Repository: "https://host/a//b"}, "<owner>/<name>"},
		"no URL":          {Options{Kind: "gitlab", Repository: "://"}, "no URL"},
		"a user":          {Options{Kind: "gitlab", Repository: "https://host/a/b", Address: "https://u:p@host"}, "without user"},
		"another scheme":  {Options{Kind: "gitlab", Repository: "https://host/a/b", Address: "file:///etc"}, "no http"},
		"no certificates": {Options{Kind: "gitlab", Repository: "https://host/a/b", CA: []byte("x")}, "no certificate"},
		"deep at gitlab":  {Options{Kind: "gitlab", Repository: "ssh://git@host:2222/a/b/c.git"}, ""},
		"github":          {Options{Kind: "github", Repository: "ssh://git@github.com/a/b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(c.options)
			if c.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
	for repository, want := range map[string]string{
		"https://github.com/a/b": "https://api.github.com", "ssh://git@github.com/a/b.git": "https://api.github.com",
		"https://ghe.example.com:8443/a/b": "https://ghe.example.com:8443/api/v3", "ssh://git@ghe.example.com:22/a/b": "https://ghe.example.com/api/v3",
	} {
		at, _, err := locate(repository)
		if err != nil || githubBase(at) != want {
			t.Errorf("%s: got %s, %v", repository, githubBase(at), err)
		}
	}
}
