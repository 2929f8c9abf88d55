package kustomization

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/stores/yaml"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/testenv"
)

// vaultServer is a stand-in of Vault: its Kubernetes auth method, which has the
// API server review tokens, and its transit engine.
type vaultServer struct {
	*httptest.Server
	key     []byte
	logins  []string // roles
	refused int
}

func startVault(g *rig) *vaultServer {
	v := &vaultServer{key: make([]byte, 32)}
	_, _ = rand.Read(v.key)
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Role, JWT, Ciphertext string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v1/auth/kubernetes/login":
			review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: body.JWT, Audiences: []string{v.URL}}}
			if err := g.Create(context.Background(), review); err != nil || !review.Status.Authenticated ||
				review.Status.User.Username != "system:serviceaccount:"+strings.Replace(body.Role, "_", ":", 1) {
				v.refused++
				http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
				return
			}
			v.logins = append(v.logins, body.Role)
			fmt.Fprintf(w, `{"auth":{"client_token":"hvs.%s","lease_duration":600}}`, body.Role)
		case "/v1/transit/decrypt/sops":
			if !strings.HasPrefix(r.Header.Get("X-Vault-Token"), "hvs.") {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			fmt.Fprintf(w, `{"data":{"plaintext":%q}}`, base64.StdEncoding.EncodeToString(v.key))
		default:
			http.NotFound(w, r)
		}
	}))
	g.Cleanup(v.Close)
	return v
}

// seal encrypts a Secret with the Vault's key.
func (v *vaultServer) seal(t *testing.T, plain string) string {
	t.Helper()
	store := yaml.NewStore(&config.NewStoresConfig().YAML)
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	key := &hcvault.MasterKey{VaultAddress: v.URL, EnginePath: "transit", KeyName: "sops", EncryptedKey: "vault:v1:x", CreationDate: time.Now()}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{{key}},
		EncryptedRegex: "^(data|stringData)$", Version: "3.13.3", LastModified: time.Now().UTC()}}
	mac, err := tree.Encrypt(v.key, aes.NewCipher())
	if err != nil {
		t.Fatal(err)
	}
	if tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, v.key, tree.Metadata.LastModified.Format(time.RFC3339)); err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (g *rig) create(objects ...client.Object) {
	g.Helper()
	for _, o := range objects {
		if err := g.Create(g.Context(), o); err != nil {
			g.Fatal(err)
		}
	}
}

// TestVaultByServiceAccount decrypts as a service account that logs in to a
// Vault with a token of the real API server, until the account is gone.
func TestVaultByServiceAccount(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	v := startVault(g)
	tokens, err := cache.NewTokenCache(10)
	if err != nil {
		t.Fatal(err)
	}
	g.o.WorkloadIdentity, g.o.Tokens, g.o.VaultConfig = true, tokens, g.key("vaults")
	g.restart()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "sops", Namespace: g.ns}}
	g.create(account, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "vaults", Namespace: g.ns},
		Data: map[string]string{"config.yaml": "instances: [{address: '" + v.URL + "', loginPath: auth/kubernetes/login}]\n"}})
	manifest := func(value string) map[string]string {
		return map[string]string{"app/a.yaml": v.seal(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: "+value+"}\n")}
	}
	g.publish("v1", manifest(planted))
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "sops"}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if got := string(g.secret("a")["password"]); got != planted {
		t.Errorf("password = %q", got)
	}
	g.publish("v2", manifest(planted+"-2"))
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if role := g.ns + "_sops"; len(v.logins) != 1 || v.logins[0] != role || v.refused > 0 {
		t.Errorf("log-ins as %v, %d refused; want one as %s", v.logins, v.refused, role)
	}
	if told := strings.Join(g.told(), "\n"); strings.Contains(told, planted) || strings.Contains(told, "hvs.") {
		t.Errorf("events show a secret:\n%s", told)
	}
	if err := g.Delete(g.Context(), account); err != nil {
		t.Fatal(err)
	}
	k, _ = g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason); !strings.Contains(message, "spec.decryption.serviceAccountName") {
		t.Errorf("without the account Ready says %q", message)
	}
	// The default account need not exist where nothing asks for it.
	g.o.DecryptionAccount = "sops"
	g.restart()
	g.edit("app", func(k *kustomizev1.Kustomization) { k.Spec.Decryption.ServiceAccountName = "" })
	k, _ = g.reconcile("app")
	if message := g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason); !strings.Contains(message, "--default-decryption-service-account") {
		t.Errorf("without the default account Ready says %q", message)
	}
	g.publish("v3", map[string]string{"app/a.yaml": configMap("plain", "1")})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
}

// TestClusterOfACloud applies to a cluster that AWS describes, with a role that
// a service account's token is exchanged for. The cloud is a stand-in behind
// the libraries of AWS, the cluster the real API server. It knows no IAM, so it
// refuses the token; that it does shows that the right cluster was reached.
func TestClusterOfACloud(t *testing.T) { // alone: the gate is of the whole process
	auth.EnableObjectLevelWorkloadIdentity()
	t.Cleanup(auth.DisableObjectLevelWorkloadIdentity)
	cfg := testenv.Config(t)
	asked := map[string]int{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked[r.Host]++
		switch {
		case strings.HasPrefix(r.Host, "sts.") && r.Form.Get("WebIdentityToken") != "" && r.Form.Get("RoleArn") == "arn:aws:iam::1:role/deployer":
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case strings.HasPrefix(r.Host, "eks.") && r.URL.Path == "/clusters/prod":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"cluster":{"endpoint":%q,"certificateAuthority":{"data":%q}}}`, cfg.Host, base64.StdEncoding.EncodeToString(cfg.CAData))
		default:
			http.Error(w, "no", http.StatusForbidden)
		}
	}))
	defer server.Close()
	before := http.DefaultTransport
	http.DefaultTransport = &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	t.Cleanup(func() { http.DefaultTransport = before })
	t.Cleanup(build.Confine())

	g := newRig(t)
	g.o.WorkloadIdentity = true
	g.restart()
	g.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer", Namespace: g.ns,
		Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/deployer"}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "far", Namespace: g.ns}, Data: map[string]string{
			"provider": "aws", "cluster": "arn:aws:eks:eu-west-1:111122223333:cluster/prod", "serviceAccountName": "deployer"}})
	g.publish("v1", map[string]string{"app/a.yaml": configMap("a", "1")})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "far"}}
	})
	k, _ := g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.ReconciliationFailedReason)
	if !strings.Contains(strings.ToLower(message), "unauthorized") || asked["eks.eu-west-1.amazonaws.com"] != 1 || asked["sts.eu-west-1.amazonaws.com"] == 0 {
		t.Errorf("Ready says %q, asked %v", message, asked)
	}
	n := asked["eks.eu-west-1.amazonaws.com"]
	g.reconcile("app")
	if asked["eks.eu-west-1.amazonaws.com"] != n {
		t.Error("the cloud was asked again for a cluster that is in use")
	}
	g.o.WorkloadIdentity = false
	g.restart()
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionFalse, meta.FeatureGateDisabledReason)
}
