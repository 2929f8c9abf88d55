package artifact

import (
	"net/http"
	"strings"
	"time"
)

// Handler serves the artifacts of the store to GET and HEAD, with the digest as a
// strong ETag and byte ranges. Nothing else is there: no listings, no archives by
// digest, no temporary files. "/" answers 200 with nothing, for readiness probes.
// A file whose bytes are not what they were published as is answered with 404.
func (s *Store) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			w.WriteHeader(http.StatusOK)
			return
		}
		s.serve(w, r, name)
	})
}

func (s *Store) serve(w http.ResponseWriter, r *http.Request, name string) {
	if !publishable(name) {
		http.Error(w, "artifact not found", http.StatusNotFound)
		return
	}
	f, err := s.open(name)
	if err != nil {
		http.Error(w, "artifact not found", http.StatusNotFound)
		return
	}
	defer f.Close()
	d, err := parseDigest(f.recorded)
	if err != nil || s.matches(f.File, d) != nil {
		http.Error(w, "artifact not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Content-Type", contentType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, time.Time{}, f.File)
}

func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		return "application/gzip"
	case strings.HasSuffix(name, ".yaml"):
		return "application/yaml"
	default:
		return "application/octet-stream"
	}
}
