package kustomization

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/build/remote"
)

// web serves the files of a case that its kustomizations name by URL.
type web struct {
	*httptest.Server
	files sync.Map // of texts, by path
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	text, ok := w.files.Load(r.URL.Path)
	if !ok {
		http.NotFound(rw, r)
		return
	}
	_, _ = io.WriteString(rw, text.(string))
}

// serve puts a file on the case's web server, which runs from the first one on;
// an empty text takes it away.
func (s *stage) serve(path, text string) {
	s.Helper()
	if s.web == nil {
		s.web = &web{}
		s.web.Server = httptest.NewServer(s.web)
		s.Cleanup(s.web.Close)
		loader, err := remote.New(remote.Options{Dir: s.TempDir(), Hosts: []string{"127.0.0.1"}, Timeout: 10 * time.Second})
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { _ = loader.Close() })
		s.o.Builder = build.New(build.Options{Remote: loader})
		s.restart()
	}
	if text == "" {
		s.web.files.Delete(path)
		return
	}
	s.web.files.Store(path, text)
}
