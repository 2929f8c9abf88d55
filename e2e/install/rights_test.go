package install

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/internal/toolkit"
)

// neighbours are resources of controllers that may be installed beside these.
var neighbours = []schema.GroupResource{
	{Group: "helm.toolkit.fluxcd.io", Resource: "helmreleases"},
	{Group: "source.extensions.fluxcd.io", Resource: "artifactgenerators"},
}

// serves returns the verbs of each resource that the API server serves;
// subresources are named as in roles.
func serves(t *testing.T) map[schema.GroupResource][]string {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(testenv.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	out := map[schema.GroupResource][]string{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			name := schema.GroupResource{Group: gv.Group, Resource: r.Name}
			out[name] = append(out[name], r.Verbs...)
		}
	}
	// Rights that are checked, and nothing that is served.
	accounts := schema.GroupResource{Resource: "serviceaccounts"}
	out[accounts] = append(out[accounts], "impersonate")
	for _, r := range []string{"buckets", "gitrepositories", "helmcharts", "helmrepositories", "ocirepositories"} {
		out[schema.GroupResource{Group: "source.toolkit.fluxcd.io", Resource: r + "/artifact"}] = []string{"get"}
	}
	return out
}

// rules calls fn for each right that a role of config/default grants, with
// components if they are named.
func rules(t *testing.T, fn func(role string, r schema.GroupResource, verb string), components ...string) {
	t.Helper()
	for _, obj := range render(t, "default", components...) {
		if obj.GetKind() != "ClusterRole" && obj.GetKind() != "Role" {
			continue
		}
		role := &rbacv1.ClusterRole{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						fn(role.Name, schema.GroupResource{Group: group, Resource: resource}, verb)
					}
				}
			}
		}
	}
}

// A misspelt rule grants nothing and says nothing.
func TestRightsExist(t *testing.T) {
	install(t)
	served, n := serves(t), 0
	_, components := folders(t)
	rules(t, func(role string, r schema.GroupResource, verb string) {
		n++
		if slices.Contains(neighbours, r) {
			if _, ok := served[r]; ok {
				t.Errorf("%s is served: it is no neighbour's", r)
			}
			return
		}
		verbs, ok := served[r]
		if !ok {
			t.Errorf("role %s: there is no resource %s", role, r)
		} else if !slices.Contains(verbs, verb) {
			t.Errorf("role %s: %s knows no verb %q, only %v", role, r, verb, verbs)
		}
	}, components...)
	if n < 100 {
		t.Errorf("looked at %d rights only", n)
	}
}

// What would be as good as administrator, or every secret at once, is not
// granted.
func TestRightsAreSmall(t *testing.T) {
	_, components := folders(t)
	rules(t, func(role string, r schema.GroupResource, verb string) {
		name := role + ": " + verb + " " + r.String()
		switch {
		case strings.Contains(name, "*"):
			t.Errorf("%s: a wildcard", name)
		case slices.Contains([]string{"escalate", "bind"}, verb):
			t.Errorf("%s: rights to give rights", name)
		case verb == "impersonate" && role != toolkit.Kustomize+"-"+namespace:
			t.Errorf("%s: only the kustomize-controller acts for others", name)
		case r.Group == "" && (r.Resource == "secrets" || r.Resource == "configmaps") && verb != "get":
			t.Errorf("%s: it is to read those it is told the name of", name)
		case r.Group == rbacv1.GroupName:
			t.Errorf("%s: roles are none of its business", name)
		}
	}, components...)
	for _, obj := range render(t, "default") {
		if obj.GetKind() != "ClusterRoleBinding" {
			continue
		}
		b := &rbacv1.ClusterRoleBinding{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, b); err != nil {
			t.Fatal(err)
		}
		for _, s := range b.Subjects {
			if want := s.Name + "-" + namespace; b.RoleRef.Name != want && (b.Name != reconciler || s.Name != toolkit.Kustomize) {
				t.Errorf("binding %s gives %s to %s", b.Name, b.RoleRef.Name, s.Name)
			}
		}
	}
	for _, obj := range render(t, "default", "tenancy-lockdown") {
		if obj.GetName() == reconciler {
			t.Errorf("%s: the lockdown leaves it", reconciler)
		}
	}
}
