package remote

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrKubeconfig is wrapped by errors about kubeconfigs that cannot be used.
// They hold no content of the kubeconfig but names of its fields.
var ErrKubeconfig = errors.New("unusable kubeconfig")

// Policy says what a kubeconfig may ask for beyond connecting.
type Policy struct {
	// Exec allows credential plugins: programs of the controller's image.
	Exec bool
	// InsecureTLS allows http and unverified certificates.
	InsecureTLS bool
}

const maxKubeconfig = 256 << 10 // bytes

// parse returns how to reach what a kubeconfig's current context names. The
// kubeconfig has to be self-contained: it may not name files, programs or
// proxies. Each part of it is looked at, also those that are not used, and
// nothing is asked or opened, so that the answer tells nothing of this machine.
func parse(data []byte, p Policy) (*rest.Config, error) {
	if len(data) > maxKubeconfig {
		return nil, fmt.Errorf("%w: it is larger than %d KiB", ErrKubeconfig, maxKubeconfig>>10)
	}
	cfg, err := clientcmd.Load(data)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not valid YAML of kind Config", ErrKubeconfig)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Clusters)) {
		if field := refusedInCluster(cfg.Clusters[name], p); field != "" {
			return nil, fmt.Errorf("%w: cluster %q: %s", ErrKubeconfig, name, field)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.AuthInfos)) {
		if field := refusedInUser(cfg.AuthInfos[name], p); field != "" {
			return nil, fmt.Errorf("%w: user %q: %s", ErrKubeconfig, name, field)
		}
	}
	current, ok := cfg.Contexts[cfg.CurrentContext]
	if !ok || cfg.Clusters[current.Cluster] == nil || cfg.AuthInfos[current.AuthInfo] == nil {
		return nil, fmt.Errorf("%w: current-context %q must name a context with a cluster and a user", ErrKubeconfig, cfg.CurrentContext)
	}
	out, err := clientcmd.NewNonInteractiveClientConfig(*cfg, cfg.CurrentContext, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: the context %q is not complete", ErrKubeconfig, cfg.CurrentContext)
	}
	return dialed(out), nil
}

// dialed gives a configuration a way of its own to connect: the transport that
// it would share otherwise is closed in this process.
func dialed(cfg *rest.Config) *rest.Config {
	cfg.Dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	cfg.UserAgent = "kustomize-controller"
	return cfg
}

func refusedInCluster(c *clientcmdapi.Cluster, p Policy) string {
	server, err := url.Parse(c.Server)
	switch {
	case c.CertificateAuthority != "":
		return "certificate-authority names a file; use certificate-authority-data"
	case c.ProxyURL != "":
		return "proxy-url is not allowed"
	case c.InsecureSkipTLSVerify && !p.InsecureTLS:
		return "insecure-skip-tls-verify is not allowed (--insecure-kubeconfig-tls)"
	case err != nil || server.Host == "":
		return "server is not a URL"
	case server.Scheme != "https" && (server.Scheme != "http" || !p.InsecureTLS):
		return "server must be an https URL"
	}
	return ""
}

func refusedInUser(u *clientcmdapi.AuthInfo, p Policy) string {
	switch {
	case u.Exec != nil && !p.Exec:
		return "exec is not allowed (--insecure-kubeconfig-exec)"
	case u.AuthProvider != nil:
		return "auth-provider is not allowed"
	case u.ClientCertificate != "":
		return "client-certificate names a file; use client-certificate-data"
	case u.ClientKey != "":
		return "client-key names a file; use client-key-data"
	case u.TokenFile != "":
		return "tokenFile names a file; use token"
	}
	return ""
}
