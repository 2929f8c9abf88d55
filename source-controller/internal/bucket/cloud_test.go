package bucket

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/cloudlogin/cloudtest"
)

// internet starts a proxy behind which handlers stand for hosts, and returns what makes
// a Bucket reach its storage through it: the Secrets "net" and "net-ca".
func (g *rig) internet(hosts map[string]http.HandlerFunc) (through func(*sourcev1.BucketSpec), n *cloudtest.Internet) {
	g.T.Helper()
	n = &cloudtest.Internet{Hosts: hosts}
	g.Secret("net", "address", n.Start(g.T).String())
	g.Secret("net-ca", "ca.crt", string(cloudtest.Authority()))
	return func(s *sourcev1.BucketSpec) {
		s.ProxySecretRef, s.CertSecretRef = &meta.LocalObjectReference{Name: "net"}, &meta.LocalObjectReference{Name: "net-ca"}
	}, n
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// walk publishes the bucket, changes one object of it and publishes it again, and
// asserts what the second time cost.
func (g *rig) walk(name string, files map[string]string, change func(), gets func() []string) {
	g.T.Helper()
	files["dir/a b.yaml"] = "a: 1\n"
	files["c.yaml"] = "c: 1\n"
	if got := g.Content(g.Ready(name).Status.Artifact); len(got) != 2 || got["dir/a b.yaml"] != "a: 1\n" {
		g.T.Errorf("got %q", got)
	}
	gets()
	before := g.Get(name)
	if after := g.Ready(name); before.ResourceVersion != after.ResourceVersion || len(gets()) > 0 {
		g.T.Error("nothing new was something")
	}
	files["c.yaml"] = "c: 2\n"
	change()
	if got := g.Content(g.Ready(name).Status.Artifact); got["c.yaml"] != "c: 2\n" {
		g.T.Errorf("got %q", got)
	}
	if got := gets(); !slices.Equal(got, []string{"c.yaml"}) {
		g.T.Errorf("one change cost %q", got)
	}
}

// gets records which objects were asked for.
type gets struct {
	mu   sync.Mutex
	keys []string
}

func (s *gets) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

func (s *gets) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.keys
	s.keys = nil
	return out
}

// resumed asserts that a storage takes up a download, and refuses another version.
func resumed(t *testing.T, s storage, version string) {
	t.Helper()
	var o object
	must(t, s.list(t.Context(), "c.", func(found object) error { o = found; return nil }))
	body, err := s.open(t.Context(), o, 3)
	must(t, err)
	defer body.Close()
	if data, err := io.ReadAll(body); err != nil || string(data) != "2\n" {
		t.Errorf("got %q, %v", data, err)
	}
	o.version = version
	if _, err := s.open(t.Context(), o, 0); err == nil || !strings.Contains(err.Error(), errChanged.Error()) {
		t.Errorf("another version: %v", err)
	}
}
