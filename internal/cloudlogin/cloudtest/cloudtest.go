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
	"log"
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

// signer is the authority of every Internet of this process.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var authority = sync.OnceValue(func() *signer {
	a := &signer{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		log.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		log.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
})

// Authority is the certificate, in PEM, that signs for the hosts of every Internet.
func Authority() []byte { return authority().pem }

// Trust makes this process trust every Internet, and nobody else: its authority
// becomes the system's only one. A TestMain calls it before anything speaks TLS, and
// the function that it returns at the end. It ends the process when it fails.
func Trust() (undo func()) {
	f, err := os.CreateTemp("", "authority-*.pem")
	if err != nil {
		log.Fatal(err)
	}
	_, err = f.Write(Authority())
	if err := errors.Join(err, f.Close(), os.Setenv("SSL_CERT_FILE", f.Name()), os.Setenv("SSL_CERT_DIR", os.DevNull)); err != nil {
		log.Fatal(err)
	}
	return func() { os.Remove(f.Name()) }
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
	a := authority()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}, err
}
