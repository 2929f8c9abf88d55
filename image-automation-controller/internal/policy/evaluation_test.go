package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/image-automation-controller/internal/policy"
)

// TestEvaluationIsTheWholeInPieces asserts of random tags, in random pieces and
// orders, that the choice is the one that all of them at once give.
func TestEvaluationIsTheWholeInPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	filter, err := policy.NewFilter(`^(?:[a-c]-)?v?(\d.*)$`, "$1")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for range 2_000 {
		var tags []string
		for range 1 + rng.IntN(12) {
			tags = append(tags, fmt.Sprintf("%s%d.%d.%d%s", []string{"", "v", "a-", "b-v"}[rng.IntN(4)], rng.IntN(2), rng.IntN(3), rng.IntN(2), []string{"", "", "-rc.1", "+x"}[rng.IntN(4)]))
		}
		slices.Sort(tags)
		tags = slices.Compact(tags)
		for _, spec := range []string{"semver >=0.0.0-0", "semver 1.x", "alphabetical", "alphabetical desc"} {
			o, err := order(t, spec)
			if err != nil {
				t.Fatal(err)
			}
			if rng.IntN(3) == 0 {
				o = o.ByBuildTime(func(tag string) (time.Time, bool) { return time.Unix(int64(len(tag)), 0), !strings.HasSuffix(tag, "1") })
			}
			want, wantErr := policy.Latest(tags, filter, o)
			mixed := slices.Clone(tags)
			rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			e := policy.Evaluate(filter, o)
			for len(mixed) > 0 {
				n := 1 + rng.IntN(len(mixed))
				if err := e.Add(mixed[:n]...); err != nil {
					t.Fatal(err)
				}
				mixed = mixed[n:]
			}
			got, gotErr := e.Latest()
			if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("%s of %q: %q (%v) in pieces, %q (%v) at once", spec, tags, got, gotErr, want, wantErr)
			}
			if want != "" {
				compared++
				if e.Without(want) {
					t.Errorf("the choice %q may go", want)
				}
			}
		}
	}
	if compared < 4_000 {
		t.Errorf("only %d choices were compared", compared)
	}
}
