package imagepolicy

import (
	"fmt"

	"github.com/fluxcd/pkg/apis/acl"
	"k8s.io/apimachinery/pkg/labels"
)

// A request is one policy that wants to use the ImageRepository of another
// namespace.
type request struct {
	From, To         string // namespaces
	Repository       string
	FromLabels       map[string]string // of the policy's namespace
	AccessFrom       *acl.AccessFrom   // of the repository; nil when it does not exist
	NoCrossNamespace bool              // --no-cross-namespace-refs
}

// allow is nil when the request is granted. A refusal reads the same whether or
// not the repository exists.
func allow(r request) error {
	if r.From == r.To {
		return nil
	}
	if r.NoCrossNamespace {
		return fmt.Errorf("access to the ImageRepository \"%s/%s\" is denied: references to other namespaces are turned off (--no-cross-namespace-refs)", r.To, r.Repository)
	}
	if r.AccessFrom != nil {
		for _, selector := range r.AccessFrom.NamespaceSelectors {
			if labels.SelectorFromSet(selector.MatchLabels).Matches(labels.Set(r.FromLabels)) {
				return nil
			}
		}
	}
	return fmt.Errorf("access to the ImageRepository \"%s/%s\" is denied: its spec.accessFrom does not name the labels of the namespace %q", r.To, r.Repository, r.From)
}
