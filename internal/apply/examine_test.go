package apply

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		object  string
		want    state
		message string
	}{
		"Deployment rolled out": {`{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 1},
  status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1,
  conditions: [{type: Available, status: "True"}, {type: Progressing, status: "True"}]}}`, ready, ""},
		"Deployment not observed": {`{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 3}, status: {observedGeneration: 2}}`, pending,
			"Deployment generation is 3, but latest observed generation is 2"},
		"Deployment stuck": {`{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 1},
  status: {observedGeneration: 2, conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]}}`, failed, "Progress deadline exceeded"},
		"Job done":          {`{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Complete, status: "True"}]}}`, ready, ""},
		"Job failed":        {`{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Failed, status: "True", message: too often}]}}`, failed, "the Job failed: too often"},
		"Job started":       {`{apiVersion: batch/v1, kind: Job, status: {startTime: "2026-01-01T00:00:00Z", active: 1}}`, pending, "the Job has not completed"},
		"Job suspended":     {`{apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Suspended, status: "True"}]}}`, pending, "the Job is suspended"},
		"ConfigMap":         {`{apiVersion: v1, kind: ConfigMap}`, ready, ""},
		"stalled":           {`{apiVersion: a/v1, kind: B, status: {conditions: [{type: Stalled, status: "True", message: out of springs}]}}`, failed, "out of springs"},
		"not ready":         {`{apiVersion: a/v1, kind: B, status: {conditions: [{type: Ready, status: "False", message: soon}]}}`, pending, "soon"},
		"no condition yet":  {`{apiVersion: a/v1, kind: B, status: {}}`, ready, ""},
		"being deleted":     {`{apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: "2026-01-01T00:00:00Z"}}`, pending, "Resource scheduled for deletion"},
		"Job being deleted": {`{apiVersion: batch/v1, kind: Job, metadata: {deletionTimestamp: "2026-01-01T00:00:00Z"}}`, pending, "it is being deleted"},
		"status no one can read": {`{apiVersion: a/v1, kind: B, metadata: {generation: 1}, status: {observedGeneration: often}}`, failed,
			"its status cannot be understood: looking up status.observedGeneration from resource: .status.observedGeneration accessor error: often is of the type string, expected int64"},
	} {
		var u unstructured.Unstructured
		b, err := yaml.YAMLToJSON([]byte(c.object))
		must(t, err)
		must(t, u.UnmarshalJSON(b)) // whole numbers as the API server's are read
		if got, message := judge(&u); got != c.want || message != c.message {
			t.Errorf("%s: %d %q, want %d %q", name, got, message, c.want, c.message)
		}
	}
}
