package duration_test

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weirhq/weir/api/duration"
)

// pattern is what the schema of an interval admits.
var pattern = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

func TestDuration(t *testing.T) {
	tests := map[string]struct {
		in       string // JSON
		want     time.Duration
		unusable bool
		out      string // JSON; "" means in
	}{
		"minutes":              {in: `"10m"`, want: 10 * time.Minute, out: `"10m0s"`},
		"written in full":      {in: `"1h0m0s"`, want: time.Hour},
		"fraction":             {in: `"1.5h"`, want: 90 * time.Minute, out: `"1h30m0s"`},
		"milliseconds":         {in: `"500ms"`, want: 500 * time.Millisecond},
		"below a nanosecond":   {in: `"0.0000001ms"`, want: 0, out: `"0s"`},
		"zero":                 {in: `"0s"`, want: 0},
		"zero, without a unit": {in: `"0"`, want: 0, out: `"0s"`},
		"longest":              {in: `"2562047h47m16.854775807s"`, want: math.MaxInt64},
		"null is no value":     {in: `null`, want: 0, out: `"0s"`},
		"overflow":             {in: `"9999999999h"`, unusable: true},
		"overflow by one":      {in: `"2562047h47m16.854775808s"`, unusable: true},
		"overflow of the sum":  {in: `"2562047h2562047h"`, unusable: true},
		"overflow of a number": {in: `"99999999999999999999999999s"`, unusable: true},
		"negative":             {in: `"-5m0s"`, want: -5 * time.Minute, unusable: true},
		"no unit":              {in: `"15"`, unusable: true},
		"empty":                {in: `""`, unusable: true},
		"escaped text":         {in: `"<\u003c>"`, unusable: true, out: `"\u003c\u003c\u003e"`},
		"number":               {in: `60`, unusable: true},
		"object":               {in: `{"seconds":60}`, unusable: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got duration.Duration
			if err := json.Unmarshal([]byte(tt.in), &got); err != nil {
				t.Fatalf("decoding %s: %v", tt.in, err)
			}
			if got.Duration != tt.want {
				t.Errorf("got %v, want %v", got.Duration, tt.want)
			}
			if err := got.Err(); (err != nil) != tt.unusable || (err != nil && !errors.Is(err, duration.ErrUnusable)) {
				t.Errorf("Err() = %v, want an error: %v", err, tt.unusable)
			}
			want := tt.out
			if want == "" {
				want = tt.in
			}
			if out, err := json.Marshal(got); err != nil || string(out) != want {
				t.Errorf("encoded as %s (%v), want %s", out, err, want)
			}
		})
	}
}

func TestString(t *testing.T) {
	var unusable duration.Duration
	if err := json.Unmarshal([]byte(`"9999999999h"`), &unusable); err != nil {
		t.Fatal(err)
	}
	if got := unusable.String(); got != `"9999999999h"` {
		t.Errorf("unusable: got %s", got)
	}
	if got := duration.New(90 * time.Second).String(); got != "1m30s" {
		t.Errorf("usable: got %s", got)
	}
}

// spec stands for any API object: pointers, slices, maps, inlined and named structs, a status.
type spec struct {
	Inlined  `json:",inline"`
	Spec     *body             `json:"spec,omitempty"`
	Untagged duration.Duration `json:",omitempty"`
	Skipped  duration.Duration `json:"-"`
	Status   body              `json:"status"`
}

type Inlined struct {
	Top duration.Duration `json:"top"`
}

type body struct {
	Timeout *duration.Duration           `json:"timeout,omitempty"`
	List    []body                       `json:"list,omitempty"`
	Map     map[string]duration.Duration `json:"map,omitempty"`
	Any     any                          `json:"any,omitempty"`
}

func TestCheck(t *testing.T) {
	bad := duration.Duration{Raw: `"9999999999h"`}
	good := duration.New(time.Minute)
	tests := map[string]struct {
		in   any
		path string // "" means no error
	}{
		"nil":                {in: nil},
		"nil pointer":        {in: (*spec)(nil)},
		"zero":               {in: &spec{}},
		"good everywhere":    {in: &spec{Spec: &body{Timeout: &good, Map: map[string]duration.Duration{"a": good}}}},
		"inlined":            {in: &spec{Inlined: Inlined{Top: bad}}, path: "top"},
		"pointer":            {in: &spec{Spec: &body{Timeout: &bad}}, path: "spec.timeout"},
		"value":              {in: spec{Spec: &body{Timeout: &bad}}, path: "spec.timeout"},
		"slice":              {in: &spec{Spec: &body{List: []body{{}, {Timeout: &bad}}}}, path: "spec.list[1].timeout"},
		"map, least key":     {in: &spec{Spec: &body{Map: map[string]duration.Duration{"b": bad, "a": bad}}}, path: `spec.map["a"]`},
		"interface":          {in: &spec{Spec: &body{Any: &body{Timeout: &bad}}}, path: "spec.any.timeout"},
		"without a JSON tag": {in: &spec{Untagged: bad}, path: "Untagged"},
		"not part of JSON":   {in: &spec{Skipped: bad}},
		"status":             {in: &spec{Status: body{Timeout: &bad}}},
		"negative":           {in: &spec{Spec: &body{Timeout: &duration.Duration{Duration: -1}}}, path: "spec.timeout"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := duration.Check(tt.in)
			if tt.path == "" {
				if err != nil {
					t.Fatalf("got %v, want no error", err)
				}
				return
			}
			if !errors.Is(err, duration.ErrUnusable) {
				t.Fatalf("got %v, want ErrUnusable", err)
			}
			if got := err.Error(); len(got) <= len(tt.path) || got[:len(tt.path)+2] != tt.path+": " {
				t.Errorf("got %q, want it to start with the path %q", got, tt.path)
			}
		})
	}
}

// TestUnstructured makes sure that an unusable text survives the conversions that clients and caches make.
func TestUnstructured(t *testing.T) {
	in := &body{Timeout: &duration.Duration{Raw: `"9999999999h"`}, Map: map[string]duration.Duration{"a": duration.New(time.Hour)}}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"timeout": "9999999999h", "map": map[string]any{"a": "1h0m0s"}}
	if diff := cmp.Diff(want, content); diff != "" {
		t.Errorf("unstructured (-want +got):\n%s", diff)
	}
	out := &body{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

// FuzzDuration holds for any text: decoding never fails, a text is usable exactly if Go reads it as a time span that is
// not negative, and encoding gives back the same value, or the same text when Go does not read it.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"10m", "1h30m", "0.5ms", "9999999999h", "-1s", "1d", "", "1us", "\x00", "1e3s", "1.s", ".5s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in, err := json.Marshal(text)
		if err != nil {
			t.Skip("not a text")
		}
		var first, second duration.Duration
		if err := json.Unmarshal(in, &first); err != nil {
			t.Fatalf("decoding %s: %v", in, err)
		}
		out, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("encoding %q: %v", text, err)
		}
		if err := json.Unmarshal(out, &second); err != nil || !first.Equal(second) {
			t.Fatalf("%s became %s, which is %v (%v)", in, out, second, err)
		}
		span, parseErr := time.ParseDuration(text)
		if usable := parseErr == nil && span >= 0; usable != (first.Err() == nil) {
			t.Fatalf("%q: Err() = %v, but Go says %v (%v)", text, first.Err(), span, parseErr)
		}
		if parseErr != nil && string(out) != string(in) {
			t.Fatalf("%s was not kept but became %s", in, out)
		}
		if parseErr == nil && first.Duration != span {
			t.Fatalf("%q: got %v, want %v", text, first.Duration, span)
		}
		if pattern.MatchString(text) && first.Err() != nil && first.Raw == "" {
			t.Fatalf("%q passes the schema and is refused for another reason than its size: %v", text, first.Err())
		}
	})
}
