package artifact

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/secrets"
)

// tokenAge is how long a token is used before its file is read again. The kubelet
// renews it long before it expires.
const tokenAge = 30 * time.Second

const maxToken = 16 << 10 // bytes

// Identity is a token in a file, which is shown to some hosts and to no others: who
// gets one can act with it where its audience is accepted.
type Identity struct {
	file  string
	hosts map[string]bool

	mu    sync.Mutex
	token string
	read  time.Time
}

// NewIdentity returns the identity of the token in file for the hosts, each as
// host[:port]. Without a file there is none, and it returns nil.
func NewIdentity(file string, hosts []string) (*Identity, error) {
	switch {
	case file == "" && len(hosts) == 0:
		return nil, nil
	case file == "":
		return nil, errors.New("there are hosts to show a token to, and no file with one")
	case len(hosts) == 0:
		return nil, errors.New("there is a file with a token, and no host to show it to")
	}
	i := &Identity{file: file, hosts: map[string]bool{}}
	for _, host := range hosts {
		if host == "" || strings.ContainsAny(host, "/@?# ") {
			return nil, fmt.Errorf("%q is not host[:port]", host)
		}
		i.hosts[canonical("http", host)] = true
	}
	return i, nil
}

// NewToken returns the identity of the token in file, for no host in particular: it is
// for Show. Without a file there is none, and it returns nil.
func NewToken(file string) (*Identity, error) {
	if file == "" {
		return nil, nil
	}
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("the file with the token: %w", pathless(err))
	}
	return &Identity{file: file}, nil
}

// Authorize adds the token to r if it is for the host of r.
func (i *Identity) Authorize(r *http.Request) error {
	if i == nil || !i.hosts[canonical(r.URL.Scheme, r.URL.Host)] {
		return nil
	}
	return i.Show(r)
}

// Show adds the token to r, whatever its host.
func (i *Identity) Show(r *http.Request) error {
	if i == nil {
		return nil
	}
	token, err := i.current()
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (i *Identity) current() (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.token != "" && time.Since(i.read) < tokenAge {
		return i.token, nil
	}
	data, err := os.ReadFile(i.file)
	if err != nil {
		return "", fmt.Errorf("reading the token for artifacts: %w", pathless(err))
	}
	token := strings.TrimSpace(string(data))
	if token == "" || len(token) > maxToken || strings.ContainsAny(token, " \r\n\t") {
		return "", errors.New("reading the token for artifacts: the file holds no token")
	}
	secrets.Register(token)
	i.token, i.read = token, time.Now()
	return token, nil
}

// canonical writes a host with its port and without the dot that ends a full name.
func canonical(scheme, host string) string {
	u := url.URL{Host: host}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return strings.ToLower(net.JoinHostPort(strings.TrimSuffix(u.Hostname(), "."), port))
}

// bearer is a transport that shows an identity. It looks at each request alone, so a
// redirect takes the token nowhere.
type bearer struct {
	identity *Identity
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.identity != nil {
		r = r.Clone(r.Context())
		if err := b.identity.Authorize(r); err != nil {
			return nil, err
		}
	}
	return b.next.RoundTrip(r)
}

// CloseIdleConnections is found by http.Client.
func (b *bearer) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
