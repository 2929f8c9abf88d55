package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/weirhq/weir/e2e/manifests"
	"github.com/weirhq/weir/internal/toolkit"
)

// strictly decodes an object and refuses fields that the type does not have.
func strictly(t *testing.T, obj *unstructured.Unstructured, into any) {
	t.Helper()
	data, err := obj.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Errorf("%s %s: %v", obj.GetKind(), obj.GetName(), err)
	}
}

func rendered(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	m, err := manifests.Render("../../config", folder, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := m.Objects()
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// What config/monitoring has for the Prometheus operator are objects of its
// types, and they find the pods of all controllers.
func TestMonitoringIsForTheOperator(t *testing.T) {
	seen := map[string]int{}
	for _, obj := range rendered(t, "monitoring") {
		seen[obj.GetKind()]++
		switch obj.GetKind() {
		case monitoringv1.PodMonitorsKind:
			m := &monitoringv1.PodMonitor{}
			strictly(t, obj, m)
			for _, problem := range monitors(t, m) {
				t.Error(problem)
			}
		case monitoringv1.PrometheusRuleKind:
			r := &monitoringv1.PrometheusRule{}
			strictly(t, obj, r)
			for _, problem := range ruleProblems(r) {
				t.Error(problem)
			}
		case "ConfigMap":
			strictly(t, obj, &corev1.ConfigMap{})
		default:
			t.Errorf("nobody looks at %s %s", obj.GetKind(), obj.GetName())
		}
	}
	if seen[monitoringv1.PodMonitorsKind] != 1 || seen[monitoringv1.PrometheusRuleKind] != 1 || seen["ConfigMap"] < 2 {
		t.Errorf("found %v", seen)
	}
}

// monitors says what a PodMonitor does not find of the controllers.
func monitors(t *testing.T, m *monitoringv1.PodMonitor) (problems []string) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, obj := range rendered(t, "default") {
		if obj.GetKind() != "Deployment" {
			continue
		}
		d := &appsv1.Deployment{}
		strictly(t, obj, d)
		if m.Namespace != d.Namespace && !m.Spec.NamespaceSelector.Any {
			problems = append(problems, fmt.Sprintf("PodMonitor in %s, %s in %s", m.Namespace, d.Name, d.Namespace))
		}
		if !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			problems = append(problems, "PodMonitor does not select "+d.Name)
		}
		found++
		for _, e := range m.Spec.PodMetricsEndpoints {
			port := ""
			if e.Port != nil {
				port = *e.Port
			}
			named := func(p corev1.ContainerPort) bool { return p.Name == port }
			if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, named) || e.Path != "/metrics" {
				problems = append(problems, fmt.Sprintf("%s serves no %s%s", d.Name, port, e.Path))
			}
		}
	}
	if found != len(toolkit.All) {
		problems = append(problems, fmt.Sprintf("found %d Deployments", found))
	}
	return problems
}

// ruleProblems says what the operator's webhook and the conventions of alerts
// would complain about; the expressions are promtool's.
func ruleProblems(r *monitoringv1.PrometheusRule) (problems []string) {
	groups, alerts := map[string]bool{}, map[string]bool{}
	for _, g := range r.Spec.Groups {
		if groups[g.Name] {
			problems = append(problems, "two groups "+g.Name)
		}
		groups[g.Name] = true
		for _, rule := range g.Rules {
			if rule.Alert == "" || rule.Expr.StrVal == "" || alerts[rule.Alert] {
				problems = append(problems, fmt.Sprintf("group %s: a rule %q has no name, no expression, or is there twice", g.Name, rule.Alert))
			}
			alerts[rule.Alert] = true
			if rule.For != nil {
				if _, err := model.ParseDuration(string(*rule.For)); err != nil {
					problems = append(problems, rule.Alert+": "+err.Error())
				}
			}
			if rule.Labels["severity"] == "" || strings.TrimSpace(rule.Annotations["summary"]) == "" || strings.TrimSpace(rule.Annotations["description"]) == "" {
				problems = append(problems, rule.Alert+" has no severity, summary or description")
			}
		}
	}
	return problems
}
