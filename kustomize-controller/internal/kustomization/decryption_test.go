package kustomization

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/yaml"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

const planted = "correct-horse-battery-staple"

// sealed encrypts a document for an age identity, as the sops program does.
func sealed(t *testing.T, store sops.Store, plain string, to *age.X25519Identity) string {
	t.Helper()
	branches, err := store.LoadPlainFile([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	dataKey := make([]byte, 32)
	_, _ = rand.Read(dataKey)
	key, err := sopsage.MasterKeyFromRecipient(to.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Encrypt(dataKey); err != nil {
		t.Fatal(err)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{{key}},
		EncryptedRegex: "^(data|stringData|PASSWORD)$", Version: "3.13.3", LastModified: time.Now().UTC()}}
	mac, err := tree.Encrypt(dataKey, aes.NewCipher())
	if err != nil {
		t.Fatal(err)
	}
	if tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(mac, dataKey, tree.Metadata.LastModified.Format(time.RFC3339)); err != nil {
		t.Fatal(err)
	}
	out, err := store.EmitEncryptedFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (g *rig) secret(name string) map[string][]byte {
	g.Helper()
	var all corev1.SecretList
	if err := g.List(g.Context(), &all); err != nil {
		g.Fatal(err)
	}
	for _, s := range all.Items {
		if s.Namespace == g.ns && strings.HasPrefix(s.Name, name) {
			return s.Data
		}
	}
	return nil
}

func (g *rig) setSecret(name string, data map[string][]byte) {
	g.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: g.ns}, Data: data}
	if err := g.Update(g.Context(), s); err != nil {
		if err := g.Create(g.Context(), s); err != nil {
			g.Fatal(err)
		}
	}
}

func TestDecryption(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	asYAML := yaml.NewStore(&config.NewStoresConfig().YAML)
	asDotenv := dotenv.NewStore(&config.NewStoresConfig().Dotenv)
	manifest := func(name, more string) string {
		return sealed(t, asYAML, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n    name: %s%s\nstringData:\n    password: %s\n", name, more, planted), identity)
	}
	g.publish("v1", map[string]string{
		"app/manifest.yaml":       manifest("manifest", ""),
		"app/skipped.yaml":        manifest("skipped", "\n    annotations:\n        kustomize.toolkit.fluxcd.io/decrypt: disabled\n        kustomize.toolkit.fluxcd.io/reconcile: disabled"),
		"app/kustomization.yaml":  "resources: [manifest.yaml, skipped.yaml, ../base]\nsecretGenerator:\n- name: generated\n  envs: [values.env]\n  files: [raw=sub/raw.env]\n",
		"app/values.env":          sealed(t, asDotenv, "PASSWORD="+planted+"\n", identity),
		"app/sub/raw.env":         sealed(t, asDotenv, "PASSWORD="+planted+"\n", identity),
		"base/kustomization.yaml": "secretGenerator:\n- name: base\n  envs: [values.env]\n",
		"base/values.env":         sealed(t, asDotenv, "PASSWORD="+planted+"\n", identity),
	})
	g.setSecret("keys", map[string][]byte{"a.agekey": []byte(identity.String())})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	for name, want := range map[string]map[string]string{
		"manifest": {"password": planted}, "base": {"PASSWORD": planted},
		"generated": {"PASSWORD": planted, "raw": "PASSWORD=" + planted + "\n"},
	} {
		got := g.secret(name)
		for field, value := range want {
			if !bytes.Equal(got[field], []byte(value)) {
				t.Errorf("Secret %s has %s = %q, want %q", name, field, got[field], value)
			}
		}
	}

	// With another key nothing is decrypted, though nothing in the source changed.
	g.setSecret("keys", map[string][]byte{"a.agekey": []byte(other.String())})
	k, _ = g.reconcile("app")
	message := g.wantReady(k, metav1.ConditionFalse, meta.BuildFailedReason)
	if !strings.Contains(message, "age recipient") || strings.Contains(message, planted) {
		t.Errorf("Ready says %q", message)
	}
	g.setSecret("keys", map[string][]byte{"a.agekey": []byte(identity.String())})
	k, _ = g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	for _, e := range g.told() {
		if strings.Contains(e, planted) {
			t.Errorf("an event holds the secret: %s", e)
		}
	}
}

func TestAgeIdentitiesForAll(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	g.setSecret("shared", map[string][]byte{"a.agekey": []byte(identity.String()), "sops.vault-token": []byte("not for tenants")})
	g.o.AgeSecret = g.key("shared")
	g.restart()
	g.publish("v1", map[string]string{"app/a.yaml": sealed(t, yaml.NewStore(&config.NewStoresConfig().YAML),
		"apiVersion: v1\nkind: Secret\nmetadata:\n    name: a\nstringData:\n    password: "+planted+"\n", identity)})
	g.kustomization("app", func(s *kustomizev1.KustomizationSpec) { s.Decryption = &kustomizev1.Decryption{Provider: "sops"} })
	k, _ := g.reconcile("app")
	g.wantReady(k, metav1.ConditionTrue, meta.ReconciliationSucceededReason)
	if got := g.secret("a")["password"]; string(got) != planted {
		t.Errorf("password = %q", got)
	}
}
