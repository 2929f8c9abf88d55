// Package chartindex reads the index of a Helm repository, the file index.yaml, and
// keeps of it what it takes to find a chart.
//
// An index is read as a stream: whatever its size, there is never more of it in
// memory than one entry and what is kept. It is hostile input; its entries are
// bounded in bytes and number, and one that cannot be used is passed over, as Helm
// does it. The format is that of Helm's "Chart Repository Guide".
package chartindex

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
)

var (
	// ErrIndex is wrapped when an index cannot be read.
	ErrIndex = errors.New("index of the Helm repository")
	// ErrTooLarge is wrapped when an index has more than is allowed.
	ErrTooLarge = errors.New("larger than allowed")
	// ErrNoChart is wrapped when an index does not have a chart, or no version of it in the range.
	ErrNoChart = errors.New("not in the index")
	// ErrRange is wrapped when a version range cannot be used.
	ErrRange = errors.New("version range")
)

// Bounds of an index.
const (
	maxLine    = 1 << 20 // bytes of a line
	maxEntry   = 4 << 20 // bytes of what is read of one version
	maxEntries = 500_000 // versions of all charts
	maxWhole   = 1 << 20 // bytes of an index that is not laid out as Helm does it
)

// Version is one version of a chart.
type Version struct {
	Version string // as the index has it
	URL     string // absolute or relative to the repository's
	Digest  string // SHA-256 of the archive in hexadecimal; may be ""
	parsed  *semver.Version
}

// Index is what a repository has. It is immutable.
type Index struct {
	charts map[string][]Version
	count  int
}

// entry is one version as it stands in the file.
type entry struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
}

// Charts returns the number of charts.
func (x *Index) Charts() int { return len(x.charts) }

// Versions returns the number of versions of all charts.
func (x *Index) Versions() int { return x.count }

// add keeps e unless it is of no use.
func (x *Index) add(chart string, e entry) error {
	if x.count == maxEntries {
		return fmt.Errorf("%w: it has more than %d versions: %w", ErrIndex, maxEntries, ErrTooLarge)
	}
	parsed, err := semver.NewVersion(e.Version)
	if err != nil || len(e.URLs) == 0 || e.URLs[0] == "" || !plain(chart) || e.Name != "" && e.Name != chart {
		return nil
	}
	x.count++
	x.charts[strings.Clone(chart)] = append(x.charts[chart], Version{
		Version: strings.Clone(e.Version), URL: strings.Clone(e.URLs[0]), Digest: strings.Clone(e.Digest), parsed: parsed,
	})
	return nil
}

// plain tells whether name can be that of a chart: it becomes part of a file name.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && name == path.Base(name) && !strings.ContainsAny(name, "\\\x00")
}

// Find returns the version of the chart that is spelled as text, or else the
// highest one in the range that text is; "" is the highest release. Errors are
// ErrNoChart and ErrRange.
func (x *Index) Find(chart, text string) (Version, error) {
	versions, found := x.charts[chart]
	if !found {
		return Version{}, fmt.Errorf("the chart %q is %w", chart, ErrNoChart)
	}
	for _, v := range versions {
		if v.Version == text {
			return v, nil
		}
	}
	within, err := Range(text)
	if err != nil {
		return Version{}, err
	}
	var best *Version
	for i := range versions {
		v := &versions[i]
		if within.Check(v.parsed) && (best == nil || v.parsed.GreaterThan(best.parsed)) {
			best = v
		}
	}
	if best == nil {
		return Version{}, fmt.Errorf("the chart %q has no version in the range %q: %w", chart, text, ErrNoChart)
	}
	return *best, nil
}

// Range reads a range of semantic versions; "" is that of all releases. The error
// is ErrRange.
func Range(text string) (*semver.Constraints, error) {
	if text == "" {
		text = "*"
	}
	within, err := semver.NewConstraint(text)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrRange, text, err)
	}
	return within, nil
}
