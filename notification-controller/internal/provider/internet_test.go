package provider

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
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/testenv"
)

// authority signs for every host of the internet. The libraries trust it
// because it is the system's only one.
var authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func TestMain(m *testing.M) {
	file, err := trustAuthority()
	if err != nil {
		log.Fatal(err)
	}
	testenv.Main(m, testenv.Options{After: func() { os.Remove(file) }})
}

func trustAuthority() (file string, err error) {
	if authority.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, authority.key.Public(), authority.key)
	if err != nil {
		return "", err
	}
	if authority.cert, err = x509.ParseCertificate(der); err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "authority-*.pem")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return "", err
	}
	return f.Name(), errors.Join(os.Setenv("SSL_CERT_FILE", f.Name()), os.Setenv("SSL_CERT_DIR", os.DevNull))
}

// internet is a proxy behind which functions stand for hosts.
type internet struct {
	hosts map[string]func(net.Conn) // by host:port

	mu    sync.Mutex
	asked []string
}

// behind returns the address of a proxy to the hosts.
func behind(t *testing.T, hosts map[string]func(net.Conn)) (*url.URL, *internet) {
	t.Helper()
	n := &internet{hosts: hosts}
	s := httptest.NewServer(n)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, n
}

// ServeHTTP answers CONNECT, and then for the host that was asked for.
func (n *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, found := n.hosts[r.Host]
	n.mu.Lock()
	n.asked = append(n.asked, r.Host)
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
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	host, _, _ := net.SplitHostPort(r.Host)
	certificate, err := certificateOf(host)
	if err != nil {
		return
	}
	serve(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}))
}

func certificateOf(host string) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, authority.key.Public(), authority.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: authority.key}, err
}

// web makes a host of a handler, for one request a connection.
func web(handler http.HandlerFunc) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		answer := httptest.NewRecorder()
		handler(answer, request)
		result := answer.Result()
		result.Close = true
		_ = result.Write(conn)
		_ = conn.Close()
	}
}
