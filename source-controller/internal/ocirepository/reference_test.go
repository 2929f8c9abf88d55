package ocirepository

import (
	"regexp"
	"testing"

	"github.com/Masterminds/semver/v3"
)

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		tags         []string
		within, only string
		want         string
	}{
		"highest":             {[]string{"1.2.0", "1.10.0", "1.9.0"}, "*", "", "1.10.0"},
		"in the range":        {[]string{"1.2.0", "2.0.0"}, "1.x", "", "1.2.0"},
		"with a v":            {[]string{"v1.2.0", "1.1.0"}, "*", "", "v1.2.0"},
		"two spellings":       {[]string{"v1.2.0", "1.2.0"}, "*", "", "1.2.0"},
		"whatever the order":  {[]string{"1.2.0", "v1.2.0"}, "*", "", "1.2.0"},
		"no pre-release":      {[]string{"1.2.0", "1.3.0-rc.1"}, "*", "", "1.2.0"},
		"pre-release":         {[]string{"1.2.0", "1.3.0-rc.1"}, "*-0", "", "1.3.0-rc.1"},
		"not shortened":       {[]string{"1", "1.2", "v2", "latest", "1.0.0"}, "*", "", "1.0.0"},
		"filtered":            {[]string{"1.0.0-a", "2.0.0-b"}, "*-0", "-a$", "1.0.0-a"},
		"filtered in the end": {[]string{"1.0.0"}, "*", "never", ""},
		"nothing":             {nil, "*", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			within, err := semver.NewConstraint(c.within)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := choose(c.tags, within, regexp.MustCompile(c.only)); got != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %t; want %q", got, ok, c.want)
			}
		})
	}
}
