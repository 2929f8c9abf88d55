package receiver

import (
	"errors"
	"net/http"
	"testing"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
)

func TestSignatureByAnnotation(t *testing.T) {
	for name := range unsigned {
		r := &notificationv1.Receiver{Spec: notificationv1.ReceiverSpec{Type: name}}
		r.Annotations = map[string]string{SignatureAnnotation: "required"}
		kind, err := typeOf(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := call(t, kind, http.Header{}, "{}"); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: without a signature: %v", name, err)
		}
		if err := call(t, kind, http.Header{"X-Signature": {hmacOf("sha256", "{}")}}, "{}"); errors.Is(err, ErrSignature) {
			t.Errorf("%s: with a signature: %v", name, err)
		}
		r.Annotations[SignatureAnnotation] = "yes"
		if _, err := typeOf(r); !errors.Is(err, errSpec) {
			t.Errorf("%s: another value: %v", name, err)
		}
	}
}
