package signature

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
)

// ErrVerify is wrapped by every error of Demand.Check.
var ErrVerify = errors.New("verifying the signature")

// Source is an object that asks for a signature.
type Source interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
}

// Demand is what an object asks for, and how its SourceVerified condition tells of it.
type Demand struct {
	Trust
	Object  Source
	Name    string // of what is verified, such as "latest@sha256:…"
	Message string // when it is verified
	Reason  string // when it is not
}

// Check verifies the artifact and says in the condition of the object what came of it;
// there is none when the policy asks for no signature of it. Errors are *loop.Failure
// where an edit is needed.
func (d Demand) Check(ctx context.Context, c client.Reader, public *Public, a Artifact) error {
	conditions := d.Object.GetConditions()
	defer func() { d.Object.SetConditions(conditions) }()
	ok, err := d.verify(ctx, c, public, a)
	if err == nil && !ok {
		apimeta.RemoveStatusCondition(&conditions, sourcev1.SourceVerifiedCondition)
		return nil
	}
	said := metav1.Condition{
		Type: sourcev1.SourceVerifiedCondition, Status: metav1.ConditionTrue, ObservedGeneration: d.Object.GetGeneration(),
		Reason: meta.SucceededReason, Message: d.Message,
	}
	if err != nil {
		err = fmt.Errorf("%w of '%s': %w", ErrVerify, d.Name, err)
		said.Status, said.Reason, said.Message = metav1.ConditionFalse, d.Reason, secrets.Redact(err.Error())
	}
	apimeta.SetStatusCondition(&conditions, said)
	return err
}

func (d Demand) verify(ctx context.Context, c client.Reader, public *Public, a Artifact) (bool, error) {
	d.Namespace = d.Object.GetNamespace()
	v, err := d.Verifier(ctx, c, public)
	if errors.Is(err, ErrSpec) {
		return false, loop.Stall(d.Reason, err)
	}
	if err != nil {
		return false, err
	}
	return v.Verify(ctx, a)
}
