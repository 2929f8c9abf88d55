package imagepolicy

import (
	"testing"

	"github.com/fluxcd/pkg/apis/acl"
)

func TestAllow(t *testing.T) {
	open := func(selectors ...map[string]string) *acl.AccessFrom {
		a := &acl.AccessFrom{}
		for _, s := range selectors {
			a.NamespaceSelectors = append(a.NamespaceSelectors, acl.NamespaceSelector{MatchLabels: s})
		}
		return a
	}
	team := map[string]string{"team": "a", "kubernetes.io/metadata.name": "from"}
	for name, c := range map[string]struct {
		request request
		granted bool
	}{
		"same namespace":               {request{From: "a", To: "a"}, true},
		"same namespace when closed":   {request{From: "a", To: "a", NoCrossNamespace: true}, true},
		"no list":                      {request{From: "a", To: "b", FromLabels: team}, false},
		"empty list":                   {request{From: "a", To: "b", FromLabels: team, AccessFrom: open()}, false},
		"everybody":                    {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(nil)}, true},
		"matching label":               {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(map[string]string{"team": "a"})}, true},
		"other label":                  {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(map[string]string{"team": "b"})}, false},
		"all labels of one are needed": {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(map[string]string{"team": "a", "x": "y"})}, false},
		"any of several":               {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(map[string]string{"team": "b"}, map[string]string{"team": "a"})}, true},
		"everybody, but turned off":    {request{From: "a", To: "b", FromLabels: team, AccessFrom: open(nil), NoCrossNamespace: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := allow(c.request); (err == nil) != c.granted {
				t.Errorf("got %v, want granted %v", err, c.granted)
			}
		})
	}
	absent := allow(request{From: "a", To: "b", Repository: "r"})
	closed := allow(request{From: "a", To: "b", Repository: "r", AccessFrom: open(map[string]string{"x": "y"})})
	if absent.Error() != closed.Error() {
		t.Errorf("a refusal tells whether the repository exists: %q, %q", absent, closed)
	}
}
