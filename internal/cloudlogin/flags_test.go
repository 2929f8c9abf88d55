package cloudlogin

import (
	"errors"
	"testing"

	"github.com/fluxcd/pkg/auth"

	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/testenv"
)

// TestDefaultServiceAccount asserts that the account which the flag names logs in for
// objects that name none, and that a program without the gate says so and ends.
func TestDefaultServiceAccount(t *testing.T) {
	env := &process.Env{DefaultServiceAccount: "tenant"}
	if _, err := (Flags{}).Logins(env); !errors.Is(err, ErrGate) {
		t.Errorf("without the gate: %v", err)
	}
	if name := auth.GetDefaultServiceAccount(); name != "" {
		t.Errorf("%q logs in nevertheless", name)
	}

	auth.EnableObjectLevelWorkloadIdentity()
	t.Cleanup(func() {
		auth.DisableObjectLevelWorkloadIdentity()
		auth.SetDefaultServiceAccount("")
	})
	if err := lockDown("tenant"); err != nil {
		t.Fatal(err)
	}
	c := testenv.Client(t)
	l, err := New(Options{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	namespace := testenv.Namespace(t)
	for name, want := range map[string]error{"": auth.ErrDefaultServiceAccountNotFound, "own": nil} {
		options, err := l.Options(Identity{Kind: "Bucket", Namespace: namespace, Name: "app", ServiceAccount: name})
		if err != nil {
			t.Fatal(err)
		}
		_, err = auth.GetAccessToken(t.Context(), providers["azure"], options...)
		if err == nil || want != nil && !errors.Is(err, want) || want == nil && errors.Is(err, auth.ErrDefaultServiceAccountNotFound) {
			t.Errorf("the account %q: %v, want %v", name, err, want)
		}
	}
}
