package salvage_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/weirhq/weir/api/internal/salvage"
)

type Request struct {
	Handled string `json:"handled,omitempty"`
}

type status struct {
	Request    `json:",inline"`
	Generation int64              `json:"generation"`
	Conditions []metav1.Condition `json:"conditions"`
	Artifact   *artifact          `json:"artifact"`
	Pushed     *metav1.Time       `json:"pushed"`
	Refs       map[string]ref     `json:"refs"`
}

type artifact struct {
	Updated  metav1.Time `json:"updated"`
	Revision string      `json:"revision"`
	Size     *int64      `json:"size"`
}

type ref struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestDecode(t *testing.T) {
	epoch := metav1.NewTime(time.Unix(0, 0).UTC())
	good := metav1.NewTime(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Local())
	tests := map[string]struct {
		in   string
		want status
	}{
		"all well": {
			in:   `{"handled":"h","generation":3,"artifact":{"updated":"2024-01-01T00:00:00Z","revision":"r"}}`,
			want: status{Request: Request{Handled: "h"}, Generation: 3, Artifact: &artifact{Updated: good, Revision: "r"}},
		},
		"empty": {in: `{}`},
		"null":  {in: `null`},
		"a time, and nothing else with it": {
			in:   `{"handled":"h","generation":3,"artifact":{"updated":"2024-01-01t00:00:00z","revision":"r"}}`,
			want: status{Request: Request{Handled: "h"}, Generation: 3, Artifact: &artifact{Updated: epoch, Revision: "r"}},
		},
		"a pointer to a time": {in: `{"pushed":"2024-01-01T00:00:00+25:00"}`, want: status{Pushed: &epoch}},
		"a time in a list": {
			in: `{"conditions":[{"type":"A","lastTransitionTime":"x"},{"type":"B","lastTransitionTime":"2024-01-01T00:00:00Z"}]}`,
			want: status{Conditions: []metav1.Condition{
				{Type: "A", LastTransitionTime: epoch}, {Type: "B", LastTransitionTime: good},
			}},
		},
		"an integer that is too large": {in: `{"handled":"h","generation":999999999999999999999999999999}`, want: status{Request: Request{Handled: "h"}}},
		"an integer in a map": {
			in:   `{"refs":{"a":{"name":"n","count":1e40},"b":{"name":"m","count":2}}}`,
			want: status{Refs: map[string]ref{"a": {Name: "n"}, "b": {Name: "m", Count: 2}}},
		},
		"other types than expected": {in: `{"handled":7,"generation":"x","conditions":{},"artifact":[],"refs":"x"}`, want: status{Artifact: &artifact{}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got status
			if err := salvage.Decode([]byte(tt.in), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, in := range []string{``, `[]`, `"text"`, `{"handled":`} {
		if err := salvage.Decode([]byte(in), &status{}); err == nil {
			t.Errorf("%q: want an error", in)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"handled":"h","generation":1e30,"artifact":{"updated":"2024-01-01t00:00:00z"},"refs":{"a":{"count":"x"}}}`))
	f.Add([]byte(`{"conditions":[{"lastTransitionTime":3},null,[]],"pushed":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var members map[string]any
		if err := salvage.Decode(data, &status{}); err != nil && json.Unmarshal(data, &members) == nil {
			t.Fatalf("%q is a JSON object and is refused: %v", data, err)
		}
	})
}
