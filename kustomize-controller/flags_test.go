package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weirhq/weir/internal/process"
)

func TestStage(t *testing.T) {
	for text, want := range map[string]*schema.GroupKind{
		"rbac.authorization.k8s.io/Role": {Group: "rbac.authorization.k8s.io", Kind: "Role"},
		"Secret":                         {Kind: "Secret"},
		"/Secret":                        {Kind: "Secret"},
		"apps/v1/Deployment":             nil,
		"apps/":                          nil,
		"":                               nil,
	} {
		o := options{stageKinds: []string{text}}
		got, err := o.stage()
		if (err == nil) != (want != nil) {
			t.Errorf("%q: error is %v", text, err)
		}
		if want != nil && err == nil {
			if diff := cmp.Diff([]schema.GroupKind{*want}, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", text, diff)
			}
		}
	}
}

func TestWhatIsNotSupportedIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		o       options
		env     process.Env
		refused bool
	}{
		"nothing":             {},
		"Vault logins":        {o: options{vaultConfigMap: "x"}, env: process.Env{RuntimeNamespace: "flux-system"}},
		"Vaults, homeless":    {o: options{vaultConfigMap: "x"}, refused: true},
		"accounts, no gate":   {o: options{decryptAs: "x"}, refused: true},
		"accounts, no gate 2": {o: options{kubeconfigAs: "x"}, refused: true},
		"an order":            {o: options{deletionOrder: dependentsFirst}},
		"another order":       {o: options{deletionOrder: "random"}, refused: true},
		"an unknown home":     {o: options{ageSecret: "x"}, refused: true},
		"age identities":      {o: options{ageSecret: "x"}, env: process.Env{RuntimeNamespace: "flux-system"}},
		"another's namespace": {env: process.Env{RuntimeNamespace: "flux-system"}},
	} {
		if tt.o.deletionOrder == "" {
			tt.o.deletionOrder = "any" // the flag's default
		}
		if err := tt.o.check(&tt.env); (err != nil) != tt.refused {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
