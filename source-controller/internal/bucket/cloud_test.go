package bucket

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// internet is a proxy behind which handlers stand for hosts, under an authority of
// its own.
type internet struct {
	hosts map[string]http.HandlerFunc
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey

	mu    sync.Mutex
	asked []string
}

// newInternet starts the proxy and makes the Secrets "net" and "net-ca" for it.
func newInternet(g *rig, hosts map[string]http.HandlerFunc) *internet {
	g.t.Helper()
	n := &internet{hosts: hosts}
	var err error
	n.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(g.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, n.key.Public(), n.key)
	must(g.t, err)
	n.cert, err = x509.ParseCertificate(der)
	must(g.t, err)
	s := httptest.NewServer(n)
	g.t.Cleanup(s.Close)
	g.secret("net", "address", s.URL)
	g.secret("net-ca", "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return n
}

// through makes a Bucket reach its storage through the proxy.
func (n *internet) through(s *sourcev1.BucketSpec) {
	s.ProxySecretRef, s.CertSecretRef = &meta.LocalObjectReference{Name: "net"}, &meta.LocalObjectReference{Name: "net-ca"}
}

// ServeHTTP answers CONNECT, and then for the host that was asked for.
func (n *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.URL.Hostname()
	handler, found := n.hosts[host]
	n.mu.Lock()
	n.asked = append(n.asked, host)
	n.mu.Unlock()
	if r.Method != http.MethodConnect || !found {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, n.cert, n.key.Public(), n.key)
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: n.key}}})
	request, err := http.ReadRequest(bufio.NewReader(secure))
	if err != nil {
		return
	}
	answer := httptest.NewRecorder()
	handler(answer, request)
	result := answer.Result()
	result.Close = true // one request a connection is enough here
	_ = result.Write(secure)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// walk publishes the bucket, changes one object of it and publishes it again, and
// asserts what the second time cost.
func (g *rig) walk(name string, files map[string]string, change func(), gets func() []string) {
	g.t.Helper()
	files["dir/a b.yaml"] = "a: 1\n"
	files["c.yaml"] = "c: 1\n"
	if got := g.content(g.ready(name).Status.Artifact); len(got) != 2 || got["dir/a b.yaml"] != "a: 1\n" {
		g.t.Errorf("got %q", got)
	}
	gets()
	before := g.get(name)
	if after := g.ready(name); before.ResourceVersion != after.ResourceVersion || len(gets()) > 0 {
		g.t.Error("nothing new was something")
	}
	files["c.yaml"] = "c: 2\n"
	change()
	if got := g.content(g.ready(name).Status.Artifact); got["c.yaml"] != "c: 2\n" {
		g.t.Errorf("got %q", got)
	}
	if got := gets(); !slices.Equal(got, []string{"c.yaml"}) {
		g.t.Errorf("one change cost %q", got)
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
