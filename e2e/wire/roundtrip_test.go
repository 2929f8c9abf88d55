package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds is the number of random objects per kind and direction; at half of it every field has been seen.
const seeds = 120

// TestRoundTrip fills objects of Flux's types at random, reads them as ours and compares what comes out with what went
// in, and the other way round. A field that only one side has, or that they spell or encode differently, fails it.
func TestRoundTrip(t *testing.T) {
	for kind, p := range pairs {
		t.Run(kind+"/from Flux", func(t *testing.T) { roundTrip(t, p.theirs, p.ours) })
		t.Run(kind+"/to Flux", func(t *testing.T) { roundTrip(t, p.ours, p.theirs) })
	}
}

func roundTrip(t *testing.T, from, to reflect.Type) {
	missing := map[string]bool{}
	fieldsOf(from, from.Name(), missing)
	if len(missing) < 10 {
		t.Fatalf("%v has only %d fields", from, len(missing))
	}
	for seed := range int64(seeds) {
		in, out := reflect.New(from), reflect.New(to)
		newFiller(seed).Fill(in.Interface())
		markFilled(in.Elem(), from.Name(), missing)

		want := encode(t, in.Interface())
		decodeStrictly(t, want, out.Interface())
		if diff := cmp.Diff(generic(t, want), generic(t, encode(t, out.Interface()))); diff != "" {
			t.Fatalf("seed %d (-%v +%v):\n%s", seed, from, to, diff)
		}
	}
	if len(missing) > 0 {
		t.Errorf("%d seeds never filled %v", seeds, slices.Sorted(maps.Keys(missing)))
	}
}

// TestZero compares what objects look like that have nothing set: both sides must leave out the same fields.
func TestZero(t *testing.T) {
	for kind, p := range pairs {
		theirs, ours := encode(t, reflect.New(p.theirs).Interface()), encode(t, reflect.New(p.ours).Interface())
		if diff := cmp.Diff(generic(t, theirs), generic(t, ours)); diff != "" {
			t.Errorf("%s (-theirs +ours):\n%s", kind, diff)
		}
	}
}

func encode(t *testing.T, object any) []byte {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decodeStrictly(t *testing.T, data []byte, object any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(object); err != nil {
		t.Fatalf("%s\nis no %T: %v", data, object, err)
	}
}

// generic reads JSON without a type. Numbers keep their digits.
func generic(t *testing.T, data []byte) any {
	t.Helper()
	var value any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
