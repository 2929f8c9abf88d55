package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/internal/expression"
)

// Filters see the object's metadata as res, the body of the call as req and,
// for the type that has them, the claims of the sender's token.
var (
	filterLanguage      = expression.NewLanguage([]string{"res", "req"})
	claimFilterLanguage = expression.NewLanguage([]string{"res", "req", "claims"})
)

// newFilter compiles an expression; "" makes no filter. The error is
// expression.ErrInvalid.
func newFilter(kind, text string) (*expression.Expression, error) {
	if text == "" {
		return nil, nil
	}
	if kind == notificationv1.GenericOIDCReceiver {
		return claimFilterLanguage.Compile(text)
	}
	return filterLanguage.Compile(text)
}

// chosen returns the objects that all filters want. The error is ErrPayload:
// what an expression asks for is not there, or it costs too much.
func chosen(ctx context.Context, filters []*expression.Expression, objects []*metav1.PartialObjectMetadata, call Call) (out []*metav1.PartialObjectMetadata, problems []error) {
	req, err := call.fields()
	if err != nil {
		return nil, []error{err}
	}
	for _, obj := range objects {
		ok, err := wants(ctx, filters, obj, req, call.Claims)
		if err != nil {
			problems = append(problems, err)
		}
		if ok {
			out = append(out, obj)
		}
	}
	return out, problems
}

func wants(ctx context.Context, filters []*expression.Expression, obj *metav1.PartialObjectMetadata, req map[string]any, claims Claims) (bool, error) {
	text, err := json.Marshal(obj)
	if err != nil {
		return false, err
	}
	var res map[string]any
	if err := json.Unmarshal(text, &res); err != nil {
		return false, err
	}
	data := map[string]any{"res": res, "req": req, "claims": map[string]any(claims)}
	for _, f := range filters {
		ok, err := f.Holds(ctx, data)
		if err != nil {
			return false, fmt.Errorf("%w: the filter of %s %q: %w", ErrPayload, obj.Kind, obj.Name, err)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

// fields returns the body for filters. A body that is not said to be JSON has
// none.
func (c Call) fields() (map[string]any, error) {
	req := map[string]any{}
	if !c.JSON {
		return req, nil
	}
	if err := decodeObject(c.Body, &req); err != nil {
		return nil, &answer{http.StatusBadRequest, fmt.Errorf("a filter has to look at the body: %w", err)}
	}
	return req, nil
}
