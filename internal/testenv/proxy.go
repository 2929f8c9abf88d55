package testenv

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Proxy stands between programs under test and an API server and makes what
// trouble it is told to. Everybody is the administrator to it.
type Proxy struct {
	URL string

	forward *httputil.ReverseProxy
	server  *httptest.Server
	gate    gate // for everything
	watches gate // for what watches say

	mu      sync.Mutex
	trouble Trouble
	random  *rand.Rand
	made    map[int]int
	writes  []Write
}

// Trouble is what a Proxy does to requests.
type Trouble struct {
	// Share of the requests that are answered with an error or a broken
	// connection, between 0 and 1. Half of those that change something still
	// reach the API server: only the answer is lost.
	Share float64
	// Latency is the most that an answer is held back.
	Latency time.Duration
	// Refuse says, unless it is nil, which requests are answered as an API
	// server does that cannot reach etcd.
	Refuse func(*http.Request) bool
}

// Write is a request that changes something and has reached the API server.
type Write struct {
	Time         time.Time
	Method, Path string
}

// StartProxy returns a proxy to the API server of cfg that makes no trouble yet.
func StartProxy(t testing.TB, cfg *rest.Config) *Proxy {
	t.Helper()
	target, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatalf("address of the API server: %v", err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatalf("transport of the proxy: %v", err)
	}
	p := &Proxy{random: rand.New(rand.NewPCG(1, 2)), made: map[int]int{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // clients go away in the middle of requests
		ModifyResponse: func(resp *http.Response) error {
			watch := resp.Request.URL.Query().Get("watch") == "true"
			resp.Body = &gated{ReadCloser: resp.Body, ctx: resp.Request.Context(), proxy: p, watch: watch}
			return nil
		},
	}
	p.server = httptest.NewTLSServer(p)
	p.URL = p.server.URL
	t.Cleanup(func() {
		p.Thaw()
		p.ResumeWatches()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// Config says how to reach the API server through the proxy.
func (p *Proxy) Config() *rest.Config {
	return &rest.Config{Host: p.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: p.authority()}}
}

// authority is the certificate that the proxy is known by.
func (p *Proxy) authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
}

// Kubeconfig writes a file that says the same as Config, for programs.
func (p *Proxy) Kubeconfig(t testing.TB) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["proxy"] = &clientcmdapi.Cluster{Server: p.URL, CertificateAuthorityData: p.authority()}
	c.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy"}
	c.CurrentContext = "proxy"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatalf("kubeconfig of the proxy: %v", err)
	}
	return file
}

// Make sets the trouble from now on; the zero value ends it.
func (p *Proxy) Make(tr Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = tr
}

// Freeze holds everything back until Thaw: requests that come, and what is
// still to be said about those under way.
func (p *Proxy) Freeze() { p.gate.close() }

// Thaw ends a Freeze.
func (p *Proxy) Thaw() { p.gate.open() }

// StallWatches lets nothing through that watches have to say, without ending them.
func (p *Proxy) StallWatches() { p.watches.close() }

// ResumeWatches delivers what was held back.
func (p *Proxy) ResumeWatches() { p.watches.open() }

// CutConnections breaks every connection, watches included.
func (p *Proxy) CutConnections() { p.server.CloseClientConnections() }

// Made returns how often each HTTP status was made up; 0 is a broken connection.
func (p *Proxy) Made() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[int]int{}
	for code, n := range p.made {
		out[code] = n
	}
	return out
}

// Writes returns what has changed something, leases excepted.
func (p *Proxy) Writes() []Write {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Write(nil), p.writes...)
}

// faults are the answers that are made up; 0 breaks the connection.
var faults = []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusConflict, http.StatusGatewayTimeout, 0}

// plan decides what happens to one request.
func (p *Proxy) plan(r *http.Request) (fault int, failed, late bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble.Latency > 0 {
		delay = time.Duration(p.random.Int64N(int64(p.trouble.Latency)))
	}
	if p.trouble.Refuse != nil && p.trouble.Refuse(r) {
		p.made[http.StatusInternalServerError]++
		return http.StatusInternalServerError, true, false, delay
	}
	if p.random.Float64() >= p.trouble.Share {
		return 0, false, false, delay
	}
	fault = faults[p.random.IntN(len(faults))]
	p.made[fault]++
	// That the server has done the work is only possible where the answer does not deny it.
	late = r.Method != http.MethodGet && (fault == 0 || fault >= 500) && p.random.IntN(2) == 0
	return fault, true, late, delay
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.gate.wait(r.Context()) {
		return
	}
	fault, failed, late, delay := p.plan(r)
	select {
	case <-r.Context().Done():
		return
	case <-time.After(delay):
	}
	if !failed || late {
		p.note(r)
	}
	if !failed {
		p.forward.ServeHTTP(w, r)
		return
	}
	if late {
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
	}
	if fault == 0 {
		panic(http.ErrAbortHandler) // net/http closes the connection
	}
	if fault == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(fault),
		Reason: reasons[fault], Message: fmt.Sprintf("etcdserver: request timed out (made up by a test, %d)", fault),
	})
}

var reasons = map[int]metav1.StatusReason{
	http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
	http.StatusConflict: metav1.StatusReasonConflict, http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
}

func (p *Proxy) note(r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(r.URL.Path, "/leases") || strings.Contains(r.URL.RawQuery, "dryRun") {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, Write{time.Now(), r.Method, r.URL.Path})
}

// gate holds back those who wait while it is closed. The zero value is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed by open; nil while open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// wait reports whether the gate was open before the context ended.
func (g *gate) wait(ctx context.Context) bool {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return ctx.Err() == nil
	}
	select {
	case <-shut:
		return true
	case <-ctx.Done():
		return false
	}
}

// gated is an answer that passes the gates with each piece of it.
type gated struct {
	io.ReadCloser
	ctx   context.Context
	proxy *Proxy
	watch bool
}

func (b *gated) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	if !b.proxy.gate.wait(b.ctx) || b.watch && !b.proxy.watches.wait(b.ctx) {
		return 0, os.ErrDeadlineExceeded
	}
	return n, err
}
