package v1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
)

func TestTimeout(t *testing.T) {
	tests := map[string]struct {
		interval time.Duration
		timeout  time.Duration // 0 means none
		want     time.Duration
	}{
		"from the interval":       {interval: 10 * time.Minute, want: 9*time.Minute + 30*time.Second},
		"from a short interval":   {interval: 40 * time.Second, want: 30 * time.Second},
		"its own":                 {interval: 10 * time.Minute, timeout: 2 * time.Minute, want: 2 * time.Minute},
		"its own, above interval": {interval: time.Minute, timeout: time.Hour, want: time.Hour},
		"its own, too short":      {interval: 10 * time.Minute, timeout: time.Second, want: 30 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			k := &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Interval: duration.New(tt.interval)}}
			if tt.timeout != 0 {
				k.Spec.Timeout = &duration.Duration{Duration: tt.timeout}
			}
			if got := k.GetTimeout(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	k := &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Interval: duration.New(time.Minute)}}
	if got := k.GetRetryInterval(); got != time.Minute {
		t.Errorf("retry interval: got %v", got)
	}
	if got := k.GetDeletionPolicy(); got != kustomizev1.DeletionPolicyMirrorPrune {
		t.Errorf("deletion policy: got %q", got)
	}
	if got := k.GetSubstituteStrategy(); got != kustomizev1.SubstituteStrategyWithVariables {
		t.Errorf("substitute strategy: got %q", got)
	}

	k.Spec.RetryInterval = &duration.Duration{Duration: time.Second}
	k.Spec.DeletionPolicy = kustomizev1.DeletionPolicyOrphan
	k.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteStrategy: kustomizev1.SubstituteStrategyAlways}
	if got := k.GetRetryInterval(); got != time.Second {
		t.Errorf("retry interval: got %v", got)
	}
	if got := k.GetDeletionPolicy(); got != kustomizev1.DeletionPolicyOrphan {
		t.Errorf("deletion policy: got %q", got)
	}
	if got := k.GetSubstituteStrategy(); got != kustomizev1.SubstituteStrategyAlways {
		t.Errorf("substitute strategy: got %q", got)
	}
}

func TestHistory(t *testing.T) {
	var history kustomizev1.History
	if history.Latest() != nil {
		t.Error("an empty history has a latest snapshot")
	}
	at := func(minute int) time.Time { return time.Date(2030, 1, 1, 0, minute, 0, 0, time.UTC) }

	history.Upsert("sha256:a", at(0), time.Second, "ReconciliationSucceeded", map[string]string{"revision": "1"})
	history.Upsert("sha256:b", at(1), time.Second, "ReconciliationSucceeded", nil)
	history.Upsert("sha256:a", at(2), 2*time.Second, "ReconciliationSucceeded", map[string]string{"revision": "3"})
	history.Upsert("sha256:a", at(3), time.Second, "HealthCheckFailed", nil)

	want := kustomizev1.History{
		{
			Digest: "sha256:a", LastReconciledStatus: "HealthCheckFailed", TotalReconciliations: 1,
			FirstReconciled: metav1.NewTime(at(3)), LastReconciled: metav1.NewTime(at(3)), LastReconciledDuration: duration.New(time.Second),
		},
		{
			Digest: "sha256:a", LastReconciledStatus: "ReconciliationSucceeded", TotalReconciliations: 2,
			FirstReconciled: metav1.NewTime(at(0)), LastReconciled: metav1.NewTime(at(2)), LastReconciledDuration: duration.New(2 * time.Second),
			Metadata: map[string]string{"revision": "3"},
		},
		{
			Digest: "sha256:b", LastReconciledStatus: "ReconciliationSucceeded", TotalReconciliations: 1,
			FirstReconciled: metav1.NewTime(at(1)), LastReconciled: metav1.NewTime(at(1)), LastReconciledDuration: duration.New(time.Second),
		},
	}
	if diff := cmp.Diff(want, history); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}

	for i, digest := range []string{"c", "d", "e", "f"} {
		history.Upsert(digest, at(10+i), time.Second, "ReconciliationSucceeded", nil)
	}
	if len(history) != kustomizev1.HistoryMaxSize || history.Latest().Digest != "f" || history[4].Digest != "sha256:a" {
		t.Errorf("got %d snapshots, the first %q, the last %q", len(history), history[0].Digest, history[len(history)-1].Digest)
	}
}
