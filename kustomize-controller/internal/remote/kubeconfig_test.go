package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weirhq/weir/internal/apply"
)

const good = `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://127.0.0.1:1"CLUSTER}}]
users: [{name: u, user: {token: abcdefgh USER}}]
`

func kubeconfig(cluster, user string) []byte {
	return []byte(strings.NewReplacer("CLUSTER", cluster, " USER", user).Replace(good))
}

func TestParse(t *testing.T) {
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := Policy{Exec: true, InsecureTLS: true}
	for name, tt := range map[string]struct {
		data   []byte
		policy Policy
		says   string // "" is accepted
	}{
		"good":                   {data: kubeconfig("", "")},
		"exec":                   {data: kubeconfig("", ", exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true, interactiveMode: Never}"), says: "--insecure-kubeconfig-exec"},
		"exec, allowed":          {data: kubeconfig("", ", exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true, interactiveMode: Never}"), policy: all},
		"auth provider":          {data: kubeconfig("", ", auth-provider: {name: gcp}"), policy: all, says: "auth-provider"},
		"CA file":                {data: kubeconfig(", certificate-authority: "+there, ""), policy: all, says: "certificate-authority"},
		"CA file that is absent": {data: kubeconfig(", certificate-authority: "+there+"-not", ""), policy: all, says: "certificate-authority"},
		"certificate file":       {data: kubeconfig("", ", client-certificate: "+there), policy: all, says: "client-certificate"},
		"key file":               {data: kubeconfig("", ", client-key: "+there), policy: all, says: "client-key"},
		"token file":             {data: kubeconfig("", ", tokenFile: "+there), policy: all, says: "tokenFile"},
		"proxy":                  {data: kubeconfig(", proxy-url: http://127.0.0.1:2", ""), policy: all, says: "proxy-url"},
		"unverified":             {data: kubeconfig(", insecure-skip-tls-verify: true", ""), says: "--insecure-kubeconfig-tls"},
		"unverified, allowed":    {data: kubeconfig(", insecure-skip-tls-verify: true", ""), policy: all},
		"http":                   {data: []byte(strings.Replace(string(kubeconfig("", "")), "https:", "http:", 1)), says: "https"},
		"another scheme":         {data: []byte(strings.Replace(string(kubeconfig("", "")), "https:", "unix:", 1)), policy: all, says: "https"},
		"no server":              {data: []byte(strings.Replace(string(kubeconfig("", "")), "https://127.0.0.1:1", "", 1)), says: "server"},
		"no context":             {data: []byte(strings.Replace(string(kubeconfig("", "")), "current-context: c", "", 1)), says: "current-context"},
		"not YAML":               {data: []byte("{abcdefgh"), says: "not valid"},
		"too large":              {data: make([]byte, maxKubeconfig+1), says: "larger"},
		"hidden in another user": {data: []byte(strings.Replace(string(kubeconfig("", "")), "users: [", "users: [{name: other, user: {tokenFile: /etc/passwd}}, ", 1)), says: `"other"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parse(tt.data, tt.policy)
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says == "" && (cfg.Host != "https://127.0.0.1:1" || cfg.BearerToken != "abcdefgh" || cfg.Dial == nil):
				t.Errorf("configuration is %+v", cfg)
			case tt.says == "":
			case !errors.Is(err, ErrKubeconfig) || !strings.Contains(err.Error(), tt.says):
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			case strings.Contains(err.Error(), there) || strings.Contains(err.Error(), "abcdefgh"):
				t.Errorf("the error quotes content: %v", err)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	valid := map[string]string{"provider": "generic", "address": "https://k.example.com", "serviceAccountName": "a", "audiences": "b\n\n a \n"}
	for name, tt := range map[string]struct {
		key, value string
		err        error
	}{
		"valid":          {},
		"unknown cloud":  {"provider", "acme", ErrProvider},
		"no cluster":     {"provider", "aws", ErrKubeconfig},
		"no provider":    {"provider", "", ErrProvider},
		"http":           {"address", "http://k.example.com", ErrKubeconfig},
		"no address":     {"address", "", ErrKubeconfig},
		"user in URL":    {"address", "https://u:p@k.example.com", ErrKubeconfig},
		"nobody to act":  {"serviceAccountName", "", ErrKubeconfig},
		"own audiences":  {"audiences", "", nil},
		"a certificate?": {"ca.crt", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string]string{}
			for k, v := range valid {
				data[k] = v
			}
			data[tt.key] = tt.value
			a, err := ParseAddress(data, "")
			if !errors.Is(err, tt.err) {
				t.Fatalf("error is %v, want %v", err, tt.err)
			}
			if err == nil && len(a.Audiences) == 0 {
				t.Error("no audiences")
			}
		})
	}
}

func TestParseClouds(t *testing.T) {
	const arn = "arn:aws:eks:eu-west-1:111122223333:cluster/prod"
	for name, tt := range map[string]struct {
		data map[string]string
		err  error
	}{
		"aws":                {map[string]string{"provider": "aws", "cluster": arn}, nil},
		"aws, no cluster":    {map[string]string{"provider": "aws", "address": "https://x", "ca.crt": "y"}, ErrKubeconfig},
		"azure":              {map[string]string{"provider": "azure", "cluster": "/subscriptions/s"}, nil},
		"gcp, known address": {map[string]string{"provider": "gcp", "address": "https://x", "ca.crt": "y"}, nil},
		"gcp, half known":    {map[string]string{"provider": "gcp", "address": "https://x"}, ErrKubeconfig},
		"gcp, http":          {map[string]string{"provider": "gcp", "cluster": "c", "address": "http://x"}, ErrKubeconfig},
	} {
		a, err := ParseAddress(tt.data, "fallback")
		if !errors.Is(err, tt.err) || err == nil && a.Account != "fallback" {
			t.Errorf("%s: %+v, %v; want %v", name, a, err, tt.err)
		}
	}
}

// A cloud is asked once, however often the cluster is used, and what it says
// has to be https.
func TestUseCloud(t *testing.T) {
	c := New(apply.Options{}, Policy{})
	defer c.Close()
	owner, asked, host := types.NamespacedName{Namespace: "ns", Name: "one"}, 0, "192.0.2.1"
	connect := func(context.Context) (Connection, error) {
		asked++
		return Connection{Host: host, Token: Token{Value: "t", Expires: time.Now().Add(time.Hour)}}, nil
	}
	a := Address{Provider: "gcp", Cluster: "c"}
	first, err := c.UseCloud(t.Context(), owner, a, connect)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.UseCloud(t.Context(), owner, a, connect); err != nil || again != first || asked != 1 {
		t.Errorf("again %v, %v; the cloud was asked %d times, want once", again == first, err, asked)
	}
	a.Account, host = "deployer", "http://192.0.2.1"
	if _, err := c.UseCloud(t.Context(), owner, a, connect); !errors.Is(err, ErrKubeconfig) || asked != 2 {
		t.Errorf("http: %v, asked %d times", err, asked)
	}
}

// A cluster that was made anew under its name is found when a token is due.
func TestUseCloudAfterAMove(t *testing.T) {
	c := New(apply.Options{}, Policy{})
	defer c.Close()
	one, two, host := types.NamespacedName{Namespace: "ns", Name: "one"}, types.NamespacedName{Namespace: "ns", Name: "two"}, "127.0.0.1:1"
	connect := func(context.Context) (Connection, error) {
		return Connection{Host: host, Token: Token{Value: "t", Expires: time.Now()}}, nil
	}
	use := func(owner types.NamespacedName) *apply.Cluster {
		t.Helper()
		cluster, err := c.UseCloud(t.Context(), owner, Address{Provider: "gcp", Cluster: "c"}, connect)
		if err != nil {
			t.Fatal(err)
		}
		return cluster
	}
	first := use(one)
	ask := func() error {
		ref := apply.Ref{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespace: "ns", Name: "a"}
		_, _, err := first.As("").Prune(t.Context(), one, []apply.Ref{ref}, apply.PruneOptions{})
		return err
	}
	if err := ask(); err == nil || errors.Is(err, errMoved) || use(one) != first || use(two) != first {
		t.Fatalf("before the move: %v", err)
	}
	host = "127.0.0.1:2"
	if err := ask(); !errors.Is(err, errMoved) {
		t.Errorf("after the move: %v", err)
	}
	second := use(one)
	if second == first || use(two) != second || len(c.open) != 1 {
		t.Errorf("another cluster: %v, shared: %v, %d are open", second != first, use(two) == second, len(c.open))
	}
}

func TestSharingAndLeaving(t *testing.T) {
	c := New(apply.Options{}, Policy{})
	defer c.Close()
	one, two := types.NamespacedName{Name: "one"}, types.NamespacedName{Name: "two"}
	use := func(owner types.NamespacedName, data []byte) *apply.Cluster {
		t.Helper()
		cluster, err := c.Use(owner, data)
		if err != nil {
			t.Fatal(err)
		}
		return cluster
	}
	first := use(one, kubeconfig("", ""))
	if use(one, kubeconfig("", "")) != first || use(two, kubeconfig("", "")) != first {
		t.Error("the same kubeconfig opens another cluster")
	}
	rotated := []byte(strings.Replace(string(kubeconfig("", "")), "abcdefgh", "ijklmnop", 1))
	if use(one, rotated) == first {
		t.Error("another kubeconfig gives the same cluster")
	}
	if len(c.open) != 2 {
		t.Errorf("%d clusters are open, want 2", len(c.open))
	}
	c.Leave(two)
	c.Leave(two)
	if len(c.open) != 1 {
		t.Errorf("%d clusters are open after one was left, want 1", len(c.open))
	}
	c.Leave(one)
	if len(c.open) != 0 || len(c.users) != 0 {
		t.Errorf("left over: %v, %v", c.open, c.users)
	}
}
