package receiver

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/internal/expression"
)

func TestFilter(t *testing.T) {
	const (
		yes = iota
		no
		fails
		refused
	)
	tests := map[string]int{
		`req.tag.contains(res.metadata.name)`:                             yes,
		`req.tag.split('/').last().value().startsWith(res.metadata.name)`: yes,
		`res.metadata.labels['team'] == 'b'`:                              no,
		`has(res.metadata.annotations)`:                                   no,
		`claims.sub == 'me'`:                                              yes,
		`req.missing == 1`:                                                fails,
		`req.tag`:                                                         refused,
		`1 + 1`:                                                           refused,
		`res.`:                                                            refused,
		`request.body == 'x'`:                                             refused,
		strings.Repeat("!", 10_000) + `true`:                              refused,
		`req.many.all(a, req.many.all(b, req.many.all(c, a + b + c >= 0)))`:    fails, // costs too much
		`req.many.map(a, req.many.map(b, req.many.map(c, 'x'))).size() >= 100`: fails,
	}
	body, err := json.Marshal(map[string]any{"tag": "host/apps:v1", "many": make([]int, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "apps", Labels: map[string]string{"team": "a"}}}
	for text, want := range tests {
		f, err := newFilter("generic-oidc", text)
		if want == refused || err != nil {
			if !errors.Is(err, expression.ErrInvalid) || want != refused {
				t.Errorf("%.80s: %v", text, err)
			}
			continue
		}
		got, problems := chosen(t.Context(), []*expression.Expression{f}, []*metav1.PartialObjectMetadata{obj}, Call{Body: body, JSON: true, Claims: Claims{"sub": "me"}})
		if (len(problems) > 0) != (want == fails) || (len(got) == 1) != (want == yes) {
			t.Errorf("%s: got %v, %v", text, got, problems)
		}
		for _, p := range problems {
			if !errors.Is(p, ErrPayload) {
				t.Errorf("%s: %v", text, p)
			}
		}
	}
	if _, err := newFilter("generic", `claims.sub == 'me'`); !errors.Is(err, expression.ErrInvalid) {
		t.Errorf("claims of a type without tokens: %v", err)
	}
}

// Both the filter of the Receiver and that of the resource have to hold, and a
// body that is not called JSON has no fields.
func TestFiltersTogether(t *testing.T) {
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "apps"}}
	for name, tt := range map[string]struct {
		filters []string
		call    Call
		want    bool
		problem bool
	}{
		"both":          {[]string{"true", "req.a == 1"}, Call{Body: []byte(`{"a":1}`), JSON: true}, true, false},
		"the first not": {[]string{"false", "true"}, Call{Body: []byte(`{}`), JSON: true}, false, false},
		"the other not": {[]string{"true", "false"}, Call{Body: []byte(`{}`), JSON: true}, false, false},
		"not JSON":      {[]string{"!has(req.a)"}, Call{Body: []byte(`{"a":1}`)}, true, false},
		"no object":     {[]string{"true"}, Call{Body: []byte(`[]`), JSON: true}, false, true},
		"broken":        {[]string{"true"}, Call{Body: []byte(`{`), JSON: true}, false, true},
	} {
		var filters []*expression.Expression
		for _, text := range tt.filters {
			f, err := newFilter("generic", text)
			if err != nil {
				t.Fatal(err)
			}
			filters = append(filters, f)
		}
		got, problems := chosen(t.Context(), filters, []*metav1.PartialObjectMetadata{obj}, tt.call)
		if (len(got) == 1) != tt.want || (len(problems) > 0) != tt.problem {
			t.Errorf("%s: %v, %v", name, got, problems)
		}
	}
}
