package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/testenv"
)

// pretended makes an ImageRepository that lists tags of its own making, and a
// policy for it.
func (l *lab) pretended(tags []string) (*imagev1.ImageRepository, *imagev1.ImagePolicy) {
	l.t.Helper()
	repo := l.repository("many")
	l.registry.pretend("many", tags...)
	p := l.policy("many", "many", ">=1.0.0")
	l.rescan(repo, p)
	return repo, p
}

// rescan scans and chooses.
func (l *lab) rescan(repo *imagev1.ImageRepository, policies ...*imagev1.ImagePolicy) {
	l.t.Helper()
	if err := l.scan(repo); err != nil {
		l.t.Fatal(err)
	}
	for _, p := range policies {
		_ = l.choose(p)
	}
}

// TestOnlyNewTagsAreExamined asserts that one new tag among 10,000 costs a look
// at one, and no read of the file with the others.
func TestOnlyNewTagsAreExamined(t *testing.T) {
	t.Parallel()
	const n = 10_000
	l := newLab(t, labOptions{})
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("1.%d.%d", i/100, i%100)
	}
	repo, p := l.pretended(tags)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to 1.99.99")
	if got := l.chooser.Examined(); got != n {
		t.Fatalf("the first evaluation looked at %d tags, want %d", got, n)
	}
	step := func(want string, examined int) {
		t.Helper()
		if err := l.scan(repo); err != nil {
			t.Fatal(err)
		}
		before, reads := l.chooser.Examined(), l.tags.Reads()
		if err := l.choose(p); err != nil {
			t.Fatal(err)
		}
		l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to "+want)
		if got := l.chooser.Examined() - before; got != examined {
			t.Errorf("looked at %d tags, want %d", got, examined)
		}
		if got := l.tags.Reads() - reads; (got > 0) != (examined > 10) {
			t.Errorf("read %d files", got)
		}
	}
	step("1.99.99", 0) // nothing new
	l.registry.pretend("many", append(tags, "2.0.0")...)
	step("2.0.0", 1)
	l.registry.pretend("many", append(tags, "2.0.0", "0.5.0", "1.50.50-rc.1")...)
	step("2.0.0", 2)
	l.registry.pretend("many", append(tags[1:], "2.0.0")...)
	step("2.0.0", 0) // what is gone did not matter
	l.registry.pretend("many", tags...)
	step("1.99.99", n) // the choice is gone
	l.registry.pretend("many", append(tags, "3.0.0")...)
	if err := l.scan(repo); err != nil {
		t.Fatal(err)
	}
	l.registry.pretend("many", append(tags, "3.0.0", "3.1.0")...)
	step("3.1.0", n+2) // two scans since: the last difference is not enough
	l.update(p, func() { p.Spec.Policy.SemVer.Range = "3.0.x" })
	step("3.0.0", n+2) // other rules
}

func TestBuildTime(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	repo := l.repository("web")
	day := func(n int) *time.Time { at := time.Date(2026, 1, n, 12, 0, 0, 0, time.UTC); return &at }
	epoch := time.Unix(0, 0)
	l.registry.pushBuilt("web", "main-aaa", day(3))
	l.registry.pushBuilt("web", "main-bbb", day(9))
	l.registry.pushBuilt("web", "main-ccc", day(1))
	l.registry.pushBuilt("web", "main-zzz", &epoch) // a reproducible build has no age
	l.registry.pushBuilt("web", "dev-new", day(20))
	p := l.policyWith("web", func(s *imagev1.ImagePolicySpec) {
		s.Policy = imagev1.ImagePolicyChoice{Alphabetical: &imagev1.AlphabeticalPolicy{}}
		s.FilterTags = &imagev1.TagFilter{Pattern: "^main-"}
	})
	l.rescan(repo, p)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-zzz")
	l.update(p, func() { p.Annotations = map[string]string{"weir.dev/order": "build-time"} })
	requests := l.registry.requests.Load()
	l.rescan(repo, p)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-bbb")
	// The list, and three requests for each of the four that pass the filter.
	if n := l.registry.requests.Load() - requests; n != 1+4*3 {
		t.Errorf("cost %d requests, want 13", n)
	}

	hits, misses := testenv.Metric(t, "weir_cache_requests_total", "cache", "build_times", "result", "hit"), testenv.Metric(t, "weir_cache_requests_total", "cache", "build_times", "result", "miss")
	l.registry.pushBuilt("web", "main-0", day(10))
	requests = l.registry.requests.Load()
	l.rescan(repo, p)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-0")
	if n := l.registry.requests.Load() - requests; n != 1+3 {
		t.Errorf("one new tag cost %d requests, want 4", n)
	}

	// A restart knows the digests, and asks which the tags have.
	l.chooser.Forget(p)
	requests = l.registry.requests.Load()
	_ = l.choose(p)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-0")
	if n := l.registry.requests.Load() - requests; n != 5 {
		t.Errorf("after a restart %d requests, want one for each of five tags", n)
	}
	hits, misses = testenv.Metric(t, "weir_cache_requests_total", "cache", "build_times", "result", "hit")-hits, testenv.Metric(t, "weir_cache_requests_total", "cache", "build_times", "result", "miss")-misses
	if hits != 5 || misses != 1 {
		t.Errorf("measured as %v hits and %v misses, want those of five known images and a new one", hits, misses)
	}

	// A moved tag is noticed where digests are always looked up.
	l.update(p, func() {
		p.Spec.DigestReflectionPolicy, p.Spec.Interval = imagev1.ReflectAlways, ptr(duration.New(time.Minute))
	})
	_ = l.choose(p)
	digest := l.registry.pushBuilt("web", "main-ccc", day(11))
	_ = l.choose(p)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to main-ccc with digest "+digest)

	many := make([]string, 1_001)
	for i := range many {
		many[i] = fmt.Sprintf("main-%d", i)
	}
	l.registry.pretend("web", many...)
	requests = l.registry.requests.Load()
	l.rescan(repo, p)
	l.ready(p, metav1.ConditionFalse, imagev1.InvalidPolicyReason, "filterTags")
	if n := l.registry.requests.Load() - requests; n != 1 {
		t.Errorf("too many images cost %d requests, want the scan's", n)
	}
}

func TestYanked(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	tags := []string{"1.0.0", "1.1.0", "1.2.0", "1.2.0.yanked"}
	repo, p := l.pretended(tags)
	l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to 1.2.0")
	l.update(p, func() { p.Annotations = map[string]string{"weir.dev/yanked": "skip"} })
	step := func(want string, examined int, tags ...string) {
		t.Helper()
		l.registry.pretend("many", tags...)
		before := l.chooser.Examined()
		l.rescan(repo, p)
		l.ready(p, metav1.ConditionTrue, meta.SucceededReason, "resolved to "+want)
		if got := l.chooser.Examined() - before; got != examined {
			t.Errorf("%s: looked at %d tags, want %d", want, got, examined)
		}
	}
	step("1.1.0", 2, tags...)
	step("1.3.0", 1, append(tags, "1.3.0")...)
	step("1.3.0", 0, append(tags, "1.3.0", "1.0.0.yanked")...)
	step("1.1.0", 1, append(tags, "1.3.0", "1.3.0.yanked", "1.0.0.yanked")...)
	step("1.3.0", 4, "1.0.0", "1.1.0", "1.2.0", "1.3.0") // all of them are back
	step("1.3.0", 0, "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0.yanked")
	step("1.3.0", 0, "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0.yanked", "1.4.0") // withdrawn before it came

	for key, value := range map[string]string{"weir.dev/yanked": "maybe", "weir.dev/order": "age", "weir.dev/ordre": "build-time"} {
		l.update(p, func() { p.Annotations = map[string]string{key: value} })
		_ = l.choose(p)
		l.ready(p, metav1.ConditionFalse, imagev1.InvalidPolicyReason, key)
		if !stalled(p) {
			t.Errorf("%s: %s is not refused for good", key, value)
		}
	}
}
