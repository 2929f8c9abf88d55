package receiver

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
)

// gcr takes what Google Pub/Sub pushes about a registry, with a token of
// Google for the service account and the audience of the push subscription.
// https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
type gcr struct{ tokens *issuer.Verifier }

func newGCR(_ *notificationv1.Receiver, tokens *issuer.Verifier) (Type, error) {
	return gcr{tokens}, nil
}

// Keys of the Secret that this type needs besides the token.
const keyEmail, keyAudience = "email", "audience"

// pubSubPush is what Pub/Sub wraps around a message.
type pubSubPush struct {
	Message *struct {
		Data string `json:"data"` // in base64
		ID   string `json:"messageId"`
	} `json:"message"`
	Subscription string `json:"subscription"`
}

// gcrPayload is the message of a registry.
type gcrPayload struct {
	Action string `json:"action"`
	Digest string `json:"digest"`
	Tag    string `json:"tag"`
}

// Authenticate checks that the token is Google's, for the Secret's audience,
// and of the Secret's account, whose address Google has verified.
func (g gcr) Authenticate(ctx context.Context, r Request) (Claims, error) {
	token, err := bearerOf(r.Header)
	if err != nil {
		return nil, err
	}
	email, audience := r.Secret[keyEmail], r.Secret[keyAudience]
	if len(email) == 0 || len(audience) == 0 {
		return nil, fmt.Errorf("%w: the secret has no email or audience to compare", ErrSignature)
	}
	claims, err := g.tokens.VerifyGoogle(ctx, string(audience), token)
	if err != nil {
		return nil, tokenError(err)
	}
	got, _ := claims["email"].(string)
	if subtle.ConstantTimeCompare([]byte(got), email) != 1 || claims["email_verified"] != true {
		return nil, fmt.Errorf("%w: the token is of another account, or of one that is not verified", ErrSignature)
	}
	return nil, nil
}

// Read unwraps the message, which is what filters see.
func (gcr) Read(r Request) (Call, error) {
	var push pubSubPush
	if err := decodeObject(r.Body, &push); err != nil {
		return Call{}, err
	}
	if push.Message == nil {
		return Call{}, fmt.Errorf("%w: message is missing", ErrPayload)
	}
	data, err := base64.StdEncoding.DecodeString(push.Message.Data)
	if err != nil {
		return Call{}, fmt.Errorf("%w: message.data is no base64", ErrPayload)
	}
	if err := decodeObject(data, &gcrPayload{}); err != nil {
		return Call{}, fmt.Errorf("message.data: %w", err)
	}
	return Call{Body: data}, nil
}

// tokenError is what the receiver makes of an error of package issuer.
func tokenError(err error) error {
	if errors.Is(err, issuer.ErrUnreachable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSignature, err)
}
