package sender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/internal/events"
	"github.com/weirhq/weir/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// The API server issues tokens and reviews them.
func TestTokensOfServiceAccounts(t *testing.T) {
	c, ns, other := testenv.Client(t), testenv.Namespace(t), testenv.Namespace(t)
	token := func(namespace string, audiences ...string) string {
		r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
		if err := c.SubResource("token").Create(t.Context(), account, r); err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	asked := 0
	g, err := New(Options{Accounts: []string{ns + "/default"}, Review: func(ctx context.Context, r *authenticationv1.TokenReview) error {
		asked++
		return c.Create(ctx, r)
	}})
	if err != nil {
		t.Fatal(err)
	}
	good := token(ns, events.TokenAudience)
	for range 10 {
		if err := g.Check(t.Context(), bearer(good)); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("the API server was asked %d times about one token", asked)
	}
	for name, tt := range map[string]struct {
		header http.Header
		want   error
	}{
		"none":                     {nil, ErrToken},
		"no bearer":                {http.Header{"Authorization": {"Basic " + good}}, ErrToken},
		"empty":                    {bearer(""), ErrToken},
		"no token at all":          {bearer("x"), ErrToken},
		"with a wrong signature":   {bearer(good[:len(good)-8] + "AAAAAAAA"), ErrToken},
		"for the API server":       {bearer(token(ns)), ErrToken},
		"for somebody else":        {bearer(token(ns, "somebody")), ErrToken},
		"of another account":       {bearer(token(other, events.TokenAudience)), ErrAccount},
		"for us and somebody else": {bearer(token(ns, "somebody", events.TokenAudience)), nil},
	} {
		if err := g.Check(t.Context(), tt.header); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("a token %s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestVerdictsAreKept(t *testing.T) {
	now, asked, fails := time.Unix(0, 0), 0, false
	g, err := New(Options{Now: func() time.Time { return now }, Accounts: []string{"ns/*"}, Review: func(_ context.Context, r *authenticationv1.TokenReview) error {
		asked++
		if fails {
			return errors.New("away")
		}
		r.Status.Authenticated, r.Status.Audiences = r.Spec.Token == "good", r.Spec.Audiences
		r.Status.User.Username = "system:serviceaccount:ns:any"
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		token string
		after time.Duration
		fails bool
		want  error
		asked int
	}{
		{"good", 0, true, ErrUnknown, 1}, // is no verdict, and not kept
		{"good", 0, false, nil, 2},
		{"good", keepGood - 1, true, nil, 2},
		{"good", 1, true, ErrUnknown, 3},
		{"bad", 0, false, ErrToken, 4},
		{"bad", keepBad - 1, true, ErrToken, 4},
		{"bad", 1, true, ErrUnknown, 5},
	} {
		now, fails = now.Add(step.after), step.fails
		if err := g.Check(t.Context(), bearer(step.token)); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) || asked != step.asked {
			t.Errorf("step %d: %v after %d questions, want %v after %d", i, err, asked, step.want, step.asked)
		}
	}
	fails = false
	for i := range 3 * maxKept {
		_ = g.Check(t.Context(), bearer(fmt.Sprint(i)))
	}
	if len(g.kept) > maxKept {
		t.Errorf("%d tokens are remembered", len(g.kept))
	}
}

func TestAccounts(t *testing.T) {
	for _, list := range [][]string{nil, {""}, {"a"}, {"/a"}, {"a/"}, {"*/a"}, {"a/b/c"}, {"a:b/c"}} {
		if _, err := New(Options{Accounts: list}); err == nil {
			t.Errorf("%q was accepted", list)
		}
	}
}
