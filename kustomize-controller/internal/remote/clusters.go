// Package remote keeps the clusters that Kustomizations apply to besides the
// one the controller runs in. There is one for each kubeconfig, shared by all
// who use it, with the watches that see drift; the last one to leave closes it.
package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/weirhq/weir/internal/apply"
)

// maxClusters bounds what is open at one time.
const maxClusters = 500

// Clusters holds open clusters. It is safe for concurrent use.
type Clusters struct {
	options apply.Options
	policy  Policy

	mu    sync.Mutex
	open  map[string]*cluster
	users map[types.NamespacedName]string // the ID of the cluster that an owner uses
}

type cluster struct {
	*apply.Cluster
	users int
	moved *atomic.Bool // what it was reached by is another cluster's now
}

// New returns an empty Clusters. Close it after use.
func New(o apply.Options, p Policy) *Clusters {
	return &Clusters{options: o, policy: p, open: map[string]*cluster{}, users: map[types.NamespacedName]string{}}
}

// Use returns the cluster that a kubeconfig describes. The owner leaves the one
// it has used before, if that is another one.
func (c *Clusters) Use(owner types.NamespacedName, kubeconfig []byte) (*apply.Cluster, error) {
	cfg, err := parse(kubeconfig, c.policy)
	if err != nil {
		return nil, err
	}
	return c.use(owner, fmt.Sprintf("kubeconfig %x", sha256.Sum256(kubeconfig)), cfg, new(atomic.Bool))
}

// UseAddress returns the cluster at an address, reached with tokens. What the
// address is reached with is part of what it is.
func (c *Clusters) UseAddress(owner types.NamespacedName, a Address, token func(context.Context) (Token, error)) (*apply.Cluster, error) {
	cfg, err := a.config(token)
	if err != nil {
		return nil, err
	}
	return c.use(owner, a.id(owner), cfg, new(atomic.Bool))
}

// UseCloud returns the cluster that a cloud knows. The cloud is asked when the
// cluster is opened, and for tokens; what it says has to be https. When a token
// comes with another address, as of a cluster that was made anew under its name,
// the cluster is opened again.
func (c *Clusters) UseCloud(ctx context.Context, owner types.NamespacedName, a Address, connect func(context.Context) (Connection, error)) (*apply.Cluster, error) {
	id := a.id(owner)
	c.mu.Lock()
	switch at := c.open[id]; {
	case at == nil:
	case at.moved.Load():
		c.abandon(id)
	case c.users[owner] == id:
		c.mu.Unlock()
		return at.Cluster, nil
	}
	c.mu.Unlock()
	found, err := find(ctx, connect)
	if err != nil {
		return nil, err
	}
	a.Host, a.CA = found.Host, found.CA
	first, moved := &found.Token, new(atomic.Bool)
	cfg, err := a.config(func(ctx context.Context) (Token, error) {
		if t := first; t != nil { // the one that came with the address
			first = nil
			return *t, nil
		}
		again, err := find(ctx, connect)
		if err != nil {
			return Token{}, err
		}
		if again.Host != a.Host || !bytes.Equal(again.CA, a.CA) {
			moved.Store(true)
			return Token{}, errMoved
		}
		return again.Token, nil
	})
	if err != nil {
		return nil, err
	}
	return c.use(owner, id, cfg, moved)
}

// errMoved says that a token is for another address than the one that is used.
var errMoved = errors.New("the cloud has another cluster under this name than before: it is connected to at the next attempt")

// find asks a cloud for a cluster.
func find(ctx context.Context, connect func(context.Context) (Connection, error)) (Connection, error) {
	found, err := connect(ctx)
	if err != nil {
		return Connection{}, err
	}
	if !strings.Contains(found.Host, "://") {
		found.Host = "https://" + found.Host // an endpoint is a bare address in some clouds
	}
	if u, err := url.Parse(found.Host); err != nil || u.Scheme != "https" {
		return Connection{}, fmt.Errorf("%w: the cloud's answer has no https endpoint", ErrKubeconfig)
	}
	return found, nil
}

func (a Address) id(owner types.NamespacedName) string {
	return fmt.Sprintf("address %q", []string{owner.Namespace, a.Provider, a.Cluster, a.Host, string(a.CA), a.Account, fmt.Sprint(a.Audiences)})
}

func (c *Clusters) use(owner types.NamespacedName, id string, cfg *rest.Config, moved *atomic.Bool) (*apply.Cluster, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users[owner] == id {
		return c.open[id].Cluster, nil
	}
	c.leave(owner)
	at := c.open[id]
	if at == nil {
		if len(c.open) >= maxClusters {
			return nil, fmt.Errorf("%d clusters are in use, which is the limit of this controller: share the work among several", maxClusters)
		}
		opened, err := apply.NewCluster(cfg, c.options)
		if err != nil {
			return nil, fmt.Errorf("%w: a client cannot be made from it", ErrKubeconfig)
		}
		at = &cluster{Cluster: opened, moved: moved}
		c.open[id] = at
	}
	at.users++
	c.users[owner] = id
	return at.Cluster, nil
}

// Leave says that the owner uses none of these clusters any more.
func (c *Clusters) Leave(owner types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(owner)
}

func (c *Clusters) leave(owner types.NamespacedName) {
	id, ok := c.users[owner]
	if !ok {
		return
	}
	delete(c.users, owner)
	at := c.open[id]
	at.Forget(owner)
	if at.users--; at.users == 0 {
		at.Close()
		delete(c.open, id)
	}
}

// abandon closes a cluster that others may be using. They open it again.
func (c *Clusters) abandon(id string) {
	c.open[id].Close()
	delete(c.open, id)
	maps.DeleteFunc(c.users, func(_ types.NamespacedName, used string) bool { return used == id })
}

// Close closes all clusters.
func (c *Clusters) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.open {
		at.Close()
	}
	clear(c.open)
	clear(c.users)
}
