package bucket

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

var modified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	accessKey = "AKIATESTER"
	secretKey = "correct-horse-battery"
	page      = 1000 // objects of one answer, the most that S3 gives
)

// s3Server is a server of one bucket, "app", that speaks what is used of the S3 API.
type s3Server struct {
	*httptest.Server
	anonymous bool
	token     string // required of temporary keys; "" for none

	mu      sync.Mutex
	objects map[string]string
	seen    []string // "list" or "get <key> <range>"
	bytes   int      // of objects that were sent
	wrap    func(http.Handler) http.Handler
	ignore  bool // ranges are not understood
}

func newS3Server(t testing.TB, tls bool) *s3Server {
	t.Helper()
	s := &s3Server{objects: map[string]string{}}
	if tls {
		s.Server = sourcetest.TLS(t, http.HandlerFunc(s.front))
		return s
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.front))
	t.Cleanup(s.Close)
	return s
}

func (s *s3Server) host() string {
	_, host, _ := strings.Cut(s.URL, "://")
	return host
}

// put stores objects, pairs of key and content.
func (s *s3Server) put(pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		s.objects[pairs[i]] = pairs[i+1]
	}
}

func (s *s3Server) remove(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.objects, key)
	}
}

func (s *s3Server) through(wrap func(http.Handler) http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrap = wrap
}

// requests returns what was asked, and the bytes of objects that were sent, since
// the last call.
func (s *s3Server) requests() ([]string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, n := s.seen, s.bytes
	s.seen, s.bytes = nil, 0
	slices.Sort(seen)
	return seen, n
}

func etagOf(content string) string {
	sum := md5.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}

func (s *s3Server) front(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	wrap := s.wrap
	s.mu.Unlock()
	if wrap != nil {
		wrap(http.HandlerFunc(s.serve)).ServeHTTP(w, r)
		return
	}
	s.serve(w, r)
}

func s3Fails(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<Error><Code>%s</Code><Message>it is %s</Message></Error>`, code, code)
}

func (s *s3Server) serve(w http.ResponseWriter, r *http.Request) {
	signed := strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+accessKey+"/") && r.Header.Get("X-Amz-Date") != ""
	if !s.anonymous && !signed || r.Header.Get("X-Amz-Security-Token") != s.token {
		s3Fails(w, http.StatusForbidden, "InvalidAccessKeyId")
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket != "app":
		s3Fails(w, http.StatusNotFound, "NoSuchBucket")
	case r.URL.Query().Has("location"):
		fmt.Fprint(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
	case r.URL.Query().Get("list-type") == "2":
		s.list(w, r.URL.Query())
	case r.Method == http.MethodGet && key != "":
		s.get(w, r, key)
	default:
		s3Fails(w, http.StatusNotImplemented, "NotImplemented")
	}
}

type listed struct {
	Key          string
	ETag         string
	Size         int
	LastModified time.Time
}

func (s *s3Server) list(w http.ResponseWriter, q url.Values) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, "list")
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, q.Get("prefix")) && key > q.Get("continuation-token") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		EncodingType          string
		Contents              []listed
	}
	out.EncodingType = q.Get("encoding-type")
	if out.IsTruncated = len(keys) > page; out.IsTruncated {
		keys = keys[:page]
		out.NextContinuationToken = keys[page-1]
	}
	for _, key := range keys {
		name := key
		if out.EncodingType == "url" {
			name = url.QueryEscape(key)
		}
		out.Contents = append(out.Contents, listed{name, `"` + etagOf(s.objects[key]) + `"`, len(s.objects[key]), modified})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out)
}

func (s *s3Server) get(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	s.seen = append(s.seen, strings.TrimSpace("get "+key+" "+r.Header.Get("Range")))
	content, present := s.objects[key]
	if s.ignore {
		r.Header.Del("Range")
	}
	s.mu.Unlock()
	if !present {
		s3Fails(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	if r.Header.Get("If-Match") != `"`+etagOf(content)+`"` {
		s3Fails(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	w.Header().Set("ETag", `"`+etagOf(content)+`"`)
	counted := &counter{ResponseWriter: w, s: s}
	http.ServeContent(counted, r, "", modified, strings.NewReader(content))
}

// counter counts the bytes of objects.
type counter struct {
	http.ResponseWriter
	s *s3Server
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.s.mu.Lock()
	c.s.bytes += n
	c.s.mu.Unlock()
	return n, err
}
