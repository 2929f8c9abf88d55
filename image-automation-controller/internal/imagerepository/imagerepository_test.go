package imagerepository

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/registry"
)

func TestTimeout(t *testing.T) {
	given := func(interval, timeout time.Duration) *imagev1.ImageRepository {
		repo := &imagev1.ImageRepository{}
		repo.Spec.Interval = duration.New(interval)
		if timeout > 0 {
			d := duration.New(timeout)
			repo.Spec.Timeout = &d
		}
		return repo
	}
	for name, c := range map[string]struct {
		repo *imagev1.ImageRepository
		want time.Duration
	}{
		"the interval":              {given(time.Minute, 0), time.Minute},
		"of a long interval a part": {given(24*time.Hour, 0), 2 * time.Minute},
		"its own":                   {given(time.Minute, 10*time.Minute), 10 * time.Minute},
		"at least a second":         {given(time.Millisecond, 0), time.Second},
	} {
		if got := Timeout(c.repo); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestLatestTags(t *testing.T) {
	tags := []string{"a", "c", "b", "c"}
	if diff := cmp.Diff([]string{"c", "b", "a"}, latest(tags)); diff != "" {
		t.Error(diff)
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("%02d", i))
	}
	if got := latest(many); len(got) != latestTags || got[0] != "29" {
		t.Errorf("got %q", got)
	}
}

func TestExclusions(t *testing.T) {
	list, err := compile([]string{`^.*\.sig$`, "^dev-"})
	if err != nil || len(list) != 2 || !list[1].MatchString("dev-1") || list[1].MatchString("x-dev-1") {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := compile([]string{"a", "("}); err == nil || !strings.Contains(err.Error(), "spec.exclusionList[1]") {
		t.Errorf("got %v", err)
	}
}

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		reason string
		final  bool
		after  time.Duration
	}{
		"name":        {registry.ErrName, imagev1.ImageURLInvalidReason, true, 0},
		"gate":        {fmt.Errorf("x: %w", cloudlogin.ErrGate), meta.FeatureGateDisabledReason, true, 0},
		"host":        {cloudlogin.ErrRegistry, imagev1.AuthenticationFailedReason, true, 0},
		"plain":       {errInsecureLogin, imagev1.AuthenticationFailedReason, true, 0},
		"login":       {cloudlogin.ErrLogin, imagev1.AuthenticationFailedReason, false, 0},
		"credentials": {registry.ErrCredentials, imagev1.AuthenticationFailedReason, false, 0},
		"busy":        {&registry.Busy{After: time.Minute}, imagev1.ReadOperationFailedReason, false, time.Minute},
		"busy, now":   {&registry.Busy{}, imagev1.ReadOperationFailedReason, false, time.Second},
		"missing":     {registry.ErrNotFound, imagev1.ReadOperationFailedReason, false, 0},
		"anything":    {errors.New("x"), imagev1.ReadOperationFailedReason, false, 0},
	} {
		f, ok := errors.AsType[*loop.Failure](Classify(c.err))
		if !ok || f.Reason != c.reason || f.Final != c.final || f.After != c.after || !errors.Is(f, c.err) {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}
