package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/image-automation-controller/internal/policy"
)

func order(t *testing.T, spec string) (policy.Order, error) {
	t.Helper()
	kind, argument, _ := strings.Cut(spec, " ")
	switch kind {
	case "semver":
		return policy.SemVer(argument)
	case "alphabetical":
		return policy.Alphabetical(argument)
	case "numerical":
		return policy.Numerical(argument)
	}
	t.Fatalf("no such order %q", kind)
	return policy.Order{}, nil
}

func TestLatest(t *testing.T) {
	for name, c := range map[string]struct {
		tags             string
		order            string
		pattern, extract string
		want             string
		err              error
		text             string
	}{
		"semver highest":                  {tags: "1.9.0 1.10.0 1.2.0", order: "semver *", want: "1.10.0"},
		"semver range":                    {tags: "1.9.0 1.10.0 2.0.0", order: "semver 1.x", want: "1.10.0"},
		"semver with v":                   {tags: "v1.0.0 v1.1.0 latest", order: "semver >=1.0.0", want: "v1.1.0"},
		"semver mixed v":                  {tags: "v1.0.0 1.1.0", order: "semver ^1", want: "1.1.0"},
		"semver leaves pre-releases out":  {tags: "1.0.0 1.1.0-rc.1", order: "semver >=1.0.0", want: "1.0.0"},
		"semver takes pre-releases":       {tags: "1.0.0 1.1.0-rc.1 1.1.0-rc.10 1.1.0-rc.2", order: "semver >=1.0.0-0", want: "1.1.0-rc.10"},
		"semver wants three numbers":      {tags: "1.2 1 1.0.0", order: "semver *", want: "1.0.0"},
		"semver none in range":            {tags: "1.0.0 x", order: "semver 2.x", err: policy.ErrNoTag, text: `"2.x"`},
		"semver bad range":                {tags: "1.0.0", order: "semver one", err: policy.ErrInvalid, text: `"one"`},
		"alphabetical default":            {tags: "a c b", order: "alphabetical", want: "c"},
		"alphabetical asc":                {tags: "a c b", order: "alphabetical asc", want: "c"},
		"alphabetical desc":               {tags: "a c b", order: "alphabetical desc", want: "a"},
		"alphabetical bad":                {tags: "a", order: "alphabetical up", err: policy.ErrInvalid, text: `"up"`},
		"numerical asc":                   {tags: "9 10 2", order: "numerical asc", want: "10"},
		"numerical desc":                  {tags: "9 10 2", order: "numerical desc", want: "2"},
		"numerical fraction":              {tags: "1.5 1.25", order: "numerical", want: "1.5"},
		"numerical beyond a float":        {tags: "20261121093001123457 20261121093001123456", order: "numerical", want: "20261121093001123457"},
		"numerical huge exponent":         {tags: "1e99999999 5", order: "numerical", want: "1e99999999"},
		"numerical word":                  {tags: "1 latest", order: "numerical", text: `"latest"`},
		"numerical not a number":          {tags: "1 NaN", order: "numerical", text: `"NaN"`},
		"numerical infinite":              {tags: "1 Inf", order: "numerical", text: `"Inf"`},
		"no tags":                         {order: "alphabetical", err: policy.ErrNoTag},
		"filter":                          {tags: "main-1 dev-9 main-3", order: "alphabetical", pattern: "^main-", want: "main-3"},
		"filter matches none":             {tags: "a b", order: "alphabetical", pattern: "^x", err: policy.ErrNoTag, text: "of the 2"},
		"filter bad":                      {tags: "a", order: "alphabetical", pattern: "(", err: policy.ErrInvalid, text: "filterTags.pattern"},
		"extract named":                   {tags: "main-abc-9 main-def-10 x", order: "numerical", pattern: `^main-[a-f]+-(?P<n>\d+)$`, extract: "$n", want: "main-def-10"},
		"extract numbered":                {tags: "r1-5 r2-4", order: "numerical", pattern: `^r(\d)-(\d)$`, extract: "$2", want: "r1-5"},
		"extract composed":                {tags: "v1_2_3 v1_10_0", order: "semver *", pattern: `^v(\d+)_(\d+)_(\d+)$`, extract: "$1.$2.$3", want: "v1_10_0"},
		"extract unknown group is empty":  {tags: "a-1 b-2", order: "alphabetical", pattern: `^(\w)-\d$`, extract: "$nothing", want: "b-2"},
		"extract same key: the later tag": {tags: "a-1 b-1", order: "numerical", pattern: `^\w-(\d)$`, extract: "$1", want: "b-1"},
		"extract too long":                {tags: "a", order: "alphabetical", pattern: "a", extract: strings.Repeat("$0", 4096), err: policy.ErrInvalid},
		"build metadata ranks equally":    {tags: "1.0.0 1.0.0-x", order: "semver *", want: "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := latest(t, strings.Fields(c.tags), c.order, c.pattern, c.extract)
			if (err != nil) != (c.want == "") || c.err != nil && !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Fatalf("got error %v, want %v with %q", err, c.err, c.text)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func latest(t *testing.T, tags []string, spec, pattern, extract string) (string, error) {
	t.Helper()
	o, err := order(t, spec)
	if err != nil {
		return "", err
	}
	f := policy.Filter{}
	if pattern != "" {
		if f, err = policy.NewFilter(pattern, extract); err != nil {
			return "", err
		}
	}
	slices.Sort(tags)
	return policy.Latest(tags, f, o)
}

// FuzzFilter asserts that no pattern, template or tag list panics, and that the
// answer is always one of the tags.
func FuzzFilter(f *testing.F) {
	f.Add(`^main-(?P<n>\d+)$`, "$n", "main-1 main-2")
	f.Add(`(a*)*b`, "${1}$$", "aaab 1.0.0 v2")
	f.Fuzz(func(t *testing.T, pattern, extract, list string) {
		filter, err := policy.NewFilter(pattern, extract)
		if err != nil {
			return
		}
		tags := strings.Fields(list)
		slices.Sort(tags)
		for _, spec := range []string{"semver *", "alphabetical", "numerical desc"} {
			o, _ := order(t, spec)
			if got, err := policy.Latest(tags, filter, o); err == nil && !slices.Contains(tags, got) {
				t.Errorf("%q is not among %q", got, tags)
			}
		}
	})
}

func BenchmarkSemVer(b *testing.B) {
	tags := make([]string, 10_000)
	for i := range tags {
		tags[i] = fmt.Sprintf("v1.%d.%d", i/100, i%100)
	}
	slices.Sort(tags)
	o, err := policy.SemVer("*")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := policy.Latest(tags, policy.Filter{}, o); err != nil {
			b.Fatal(err)
		}
	}
}
