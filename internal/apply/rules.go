package apply

import (
	"context"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Rules tell how objects of some kinds are in place of what is built in.
type Rules struct {
	// ID names the content of the rules. When it changes, all objects are
	// judged anew.
	ID string
	// Part names what is asked about, for owners that ask about several things at
	// different times: objects of another part stay followed.
	Part string
	// ByKind holds a rule for each kind. One without a kind is for all kinds of
	// its group that have none of their own.
	ByKind map[schema.GroupKind]Rule
}

// Rule judges an object. It must be quick, and safe for concurrent use. An
// error means that the object is not ready: what the rule needs may come later.
type Rule func(context.Context, *unstructured.Unstructured) (*status.Result, error)

func (r Rules) of(gk schema.GroupKind) Rule {
	if rule, ok := r.ByKind[gk]; ok {
		return rule
	}
	return r.ByKind[schema.GroupKind{Group: gk.Group}]
}

// judgeBy tells how an object is by a rule. One that is on its way out is not
// ready, whatever the rule says of what is left of it.
func judgeBy(ctx context.Context, u *unstructured.Unstructured, rule Rule) (state, string) {
	if u.GetDeletionTimestamp() != nil {
		return pending, "it is being deleted"
	}
	res, err := rule(ctx, u)
	switch {
	case err != nil:
		return pending, err.Error()
	case res.Status == status.CurrentStatus:
		return ready, ""
	case res.Status == status.FailedStatus:
		return failed, res.Message
	}
	return pending, res.Message
}
