package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFilter(t *testing.T) {
	const (
		yes = iota
		no
		fails
		refused
	)
	tests := map[string]int{
		`req.tag.contains(res.metadata.name)`:                               yes,
		`req.tag.split('/').last().split(':').first() == res.metadata.name`: yes,
		`res.metadata.labels['team'] == 'b'`:                                no,
		`has(res.metadata.annotations)`:                                     no,
		`req.missing == 1`:                                                  fails,
		`req.tag`:                                                           fails,
		`[].last() == 1`:                                                    fails,
		`1 + 1`:                                                             refused,
		`res.`:                                                              refused,
		`claims.sub == 'x'`:                                                 refused,
		strings.Repeat("!", maxFilter) + `true`:                             refused,
		`req.many.all(a, req.many.all(b, req.many.all(c, a + b + c >= 0)))`:    fails, // costs too much
		`req.many.map(a, req.many.map(b, req.many.map(c, 'x'))).size() >= 100`: fails,
	}
	body, err := json.Marshal(map[string]any{"tag": "host/apps:v1", "many": make([]int, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	var req any
	if err := json.Unmarshal(body, &req); err != nil {
		t.Fatal(err)
	}
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "apps", Labels: map[string]string{"team": "a"}}}
	for text, want := range tests {
		f, err := newFilter(text)
		if want == refused || err != nil {
			if !errors.Is(err, errFilter) || want != refused {
				t.Errorf("%.80s: %v", text, err)
			}
			continue
		}
		got, err := f.wants(context.Background(), obj, req)
		if (err != nil) != (want == fails) || got != (want == yes) || err != nil && !errors.Is(err, ErrPayload) {
			t.Errorf("%s: got %t, %v", text, got, err)
		}
	}
}
