package receiver

import (
	"context"
	"fmt"
	"strings"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

// SignatureAnnotation makes a Receiver of a type without a signature of its
// own ask for one. With the value "required", calls need a header X-Signature
// as for type generic-hmac; a gateway that knows the token can add it. With
// "token", they need the token itself in the header Authorization, with or
// without the word Bearer; some registries can send such a header.
const SignatureAnnotation = "weir.dev/signature"

// unsigned names the types whose senders prove nothing but that they know the
// path.
var unsigned = map[string]bool{"acr": true, "cdevents": true, "dockerhub": true, "generic": true, "quay": true}

// proofs are the values of the annotation.
var proofs = map[string]func(r Request) error{
	"required": func(r Request) error {
		_, err := genericHMAC{}.Authenticate(context.Background(), r)
		return err
	},
	"token": func(r Request) error {
		value := r.Header.Get("Authorization")
		if len(value) > 7 && strings.EqualFold(value[:7], "Bearer ") {
			value = strings.TrimSpace(value[7:])
		}
		return checkToken(value, r.Token)
	},
}

// signed is a Type whose calls need a further proof.
type signed struct {
	Type
	proof func(r Request) error
}

func (s signed) Authenticate(_ context.Context, r Request) (Claims, error) { return nil, s.proof(r) }

// withSignature wraps t if the Receiver's annotation asks for it.
func withSignature(r *notificationv1.Receiver, t Type) (Type, error) {
	value, asked := r.Annotations[SignatureAnnotation]
	if !asked {
		return t, nil
	}
	proof := proofs[value]
	if proof == nil {
		return nil, fmt.Errorf("%w: annotation %q is %q: possible are \"required\" and \"token\"", errSpec, SignatureAnnotation, value)
	}
	if !unsigned[r.Spec.Type] {
		return t, nil // it has a signature or a token to check anyway
	}
	return signed{t, proof}, nil
}
