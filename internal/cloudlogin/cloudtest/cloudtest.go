// Package cloudtest lets handlers stand for hosts of the internet, so that tests run
// the libraries of cloud providers as they are.
package cloudtest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// authority signs for every host of an Internet.
var authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// Trust makes this process trust every Internet, and nobody else: its authority
// becomes the system's only one. A TestMain calls it before anything speaks TLS, and
// the function that it returns at the end.
func Trust() (undo func(), err error) {
	if authority.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, authority.key.Public(), authority.key)
	if err != nil {
		return nil, err
	}
	if authority.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	authority.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	f, err := os.CreateTemp("", "authority-*.pem")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(authority.pem)
	err = errors.Join(err, f.Close(), os.Setenv("SSL_CERT_FILE", f.Name()), os.Setenv("SSL_CERT_DIR", os.DevNull))
	return func() { os.Remove(f.Name()) }, err
}

// Internet is a proxy behind which handlers stand for hosts, over TLS.
type Internet struct {
	Hosts map[string]http.HandlerFunc
	// Conns are hosts that speak something else than HTTP.
	Conns map[string]func(net.Conn)

	mu    sync.Mutex
	asked []string
}

// Start starts the proxy for the time of the test.
func (n *Internet) Start(t testing.TB) *url.URL {
	t.Helper()
	s := httptest.NewServer(n)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Asked lists the hosts that somebody wanted to reach.
func (n *Internet) Asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// ServeHTTP answers CONNECT, and then for the host that was asked for.
func (n *Internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.URL.Hostname()
	handler, web := n.Hosts[host]
	serve, found := n.Conns[host]
	n.mu.Lock()
	n.asked = append(n.asked, host)
	n.mu.Unlock()
	if r.Method != http.MethodConnect || !web && !found {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	certificate, err := certificateOf(host)
	if err != nil {
		return
	}
	secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
	if found {
		serve(secure)
		return
	}
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

func certificateOf(host string) (tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, authority.key.Public(), authority.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: authority.key}, err
}
