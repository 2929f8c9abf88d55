package gitserver

import (
	"bytes"
	"crypto/subtle"
	"io"
	"net/http"
	"net/http/cgi"
	"path/filepath"
	"strings"
)

// maxPush bounds the body of a push that is sent without its length.
const maxPush = 256 << 20

// handler is counting, then authentication, then git's own CGI program.
func (s *Server) handler() (http.Handler, error) {
	dir, err := execPath()
	if err != nil {
		return nil, err
	}
	backend := filepath.Join(dir, "git-http-backend")
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveGit(backend, w, r) })
	h = s.authenticate(h)
	if s.o.Middleware != nil {
		h = s.o.Middleware(h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.counter.requests.Add(1)
		h.ServeHTTP(w, r)
	}), nil
}

func (s *Server) authenticate(next http.Handler) http.Handler {
	if s.o.Username == "" && s.o.Password == "" && s.o.Bearer == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, basic := r.BasicAuth()
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case basic && s.o.Username+s.o.Password != "" && same(user, s.o.Username) && same(password, s.o.Password):
		case bearer && s.o.Bearer != "" && same(token, s.o.Bearer):
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "authentication required", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Server) serveGit(backend string, w http.ResponseWriter, r *http.Request) {
	// CGI needs the length, and git sends large packs without it.
	if r.ContentLength < 0 {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPush))
		if err != nil {
			http.Error(w, "request body: "+err.Error(), http.StatusBadRequest)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	}
	protocol := r.Header.Get("Git-Protocol")
	if s.o.V0 {
		protocol = ""
	}
	r.Header.Del("Git-Protocol") // else the CGI handler sets HTTP_GIT_PROTOCOL and git reads that too
	env := append(s.env(), "GIT_PROJECT_ROOT="+s.root, "GIT_HTTP_EXPORT_ALL=1")
	if protocol != "" {
		env = append(env, "GIT_PROTOCOL="+protocol)
	}
	(&cgi.Handler{Path: backend, Env: env}).ServeHTTP(w, r)
	if name, ok := strings.CutSuffix(r.URL.Path, "/git-receive-pack"); ok && r.Method == http.MethodPost {
		s.pushed(strings.TrimPrefix(name, "/"))
	}
}

func (s *Server) pushed(name string) {
	if s.o.OnPush != nil {
		s.o.OnPush(name)
	}
}
