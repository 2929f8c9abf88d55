package receiver

import (
	"fmt"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

// SignatureAnnotation, with the value "required", makes a Receiver of a type
// without a signature of its own take only calls with X-Signature, as type
// generic-hmac does. A gateway that knows the token can add it.
const SignatureAnnotation = "weir.dev/signature"

// unsigned names the types whose senders prove nothing but that they know the
// path.
var unsigned = map[string]bool{"acr": true, "cdevents": true, "dockerhub": true, "generic": true, "quay": true}

// signed is a Type whose calls have to be signed.
type signed struct{ Type }

func (signed) Authenticate(r Request) error { return genericHMAC{}.Authenticate(r) }

// withSignature wraps t if the Receiver's annotation asks for it.
func withSignature(r *notificationv1.Receiver, t Type) (Type, error) {
	value, asked := r.Annotations[SignatureAnnotation]
	if !asked {
		return t, nil
	}
	if value != "required" {
		return nil, fmt.Errorf("%w: annotation %q is %q: the only value is %q", errSpec, SignatureAnnotation, value, "required")
	}
	if !unsigned[r.Spec.Type] {
		return t, nil // it has a signature or a token to check anyway
	}
	return signed{t}, nil
}
