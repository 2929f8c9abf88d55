package install

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

const accounts = "system:serviceaccount:" + namespace + ":"

// places are the arguments about addresses and folders, which on this machine
// are others than in a pod.
var places = regexp.MustCompile(`^--(events-addr|storage-path|storage-adv-addr)=`)

// run starts the programs with the arguments and the service accounts of
// config/default.
func run(t *testing.T, c client.Client, components ...string) *toolkit.Toolkit {
	t.Helper()
	o := toolkit.Options{BinDir: "../../bin", WorkDir: t.TempDir(), Namespace: namespace,
		Kubeconfig: filepath.Join(t.TempDir(), "nobody"), Kubeconfigs: map[string]string{}, Flags: map[string][]string{}}
	for name, d := range deployments(t, render(t, "default", components...)) {
		o.Kubeconfigs[name] = kubeconfig(t, c, d.Spec.Template.Spec.ServiceAccountName)
		for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
			if !places.MatchString(arg) {
				o.Flags[name] = append(o.Flags[name], arg)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tools, err := toolkit.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range toolkit.All {
				t.Logf("log of %s:\n%s", name, tools.Process(name).Tail(15))
			}
		}
		if err := tools.Stop(); err != nil {
			t.Error(err)
		}
	})
	return tools
}

// kubeconfig writes one that has a token of a service account and nothing else.
func kubeconfig(t *testing.T, c client.Client, account string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}, request); err != nil {
		t.Fatalf("token of %s: %v", account, err)
	}
	admin := testenv.Config(t)
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["it"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData, CertificateAuthority: admin.CAFile}
	cfg.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: request.Status.Token}
	cfg.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: account}
	cfg.CurrentContext = "it"
	path := filepath.Join(t.TempDir(), account)
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// requests returns what the controllers asked for after the first skip requests.
func requests(t *testing.T, skip int) []testenv.AuditEvent {
	t.Helper()
	var out []testenv.AuditEvent
	for _, e := range testenv.Audit(t)[skip:] {
		if strings.HasPrefix(e.User, accounts) {
			out = append(out, e)
		}
	}
	return out
}

func describe(e testenv.AuditEvent) string {
	resource := e.Resource
	if e.Subresource != "" {
		resource += "/" + e.Subresource
	}
	return fmt.Sprintf("%s: %s %s.%s %s/%s", strings.TrimPrefix(e.User, accounts), e.Verb, resource, e.Group, e.Namespace, e.Name)
}
