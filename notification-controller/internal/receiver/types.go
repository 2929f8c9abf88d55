package receiver

import (
	"context"
	"errors"
	"net/http"

	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	"github.com/weirhq/weir/notification-controller/internal/issuer"
)

// Request is a webhook call before anything of it is believed.
type Request struct {
	Header http.Header
	Body   []byte
	Token  []byte            // of the Receiver's Secret
	Secret map[string][]byte // all of it; nil for type generic-oidc
}

// Claims are what the token of a call says of its sender; nil for types whose
// senders have none.
type Claims map[string]any

// Call is what an authentic request tells.
type Call struct {
	Event string // compared with spec.events; "" for types without events
	Ping  bool   // only tests the connection
	Body  []byte // for filters; nil stands for the body of the request

	Claims Claims // for filters, set by whoever reads the call
	JSON   bool   // whether the sender says so of the body, likewise
}

// Type knows the webhooks of one kind of sender.
type Type interface {
	// Authenticate checks, in constant time, that the sender is who it has to
	// be. It does not parse the body. Its error is ErrSignature, or
	// issuer.ErrUnreachable when that cannot be found out now.
	Authenticate(ctx context.Context, r Request) (Claims, error)
	// Read reads an authentic request. Its error is ErrPayload.
	Read(r Request) (Call, error)
}

var (
	// ErrSignature reports a request that its sender did not prove to be its own.
	ErrSignature = errors.New("the signature or token is missing or wrong")
	// ErrPayload reports a request that is not what the type sends.
	ErrPayload = errors.New("the request is not what this type of receiver takes")
)

// newType makes the type of one Receiver. The error is errSpec or
// expression.ErrInvalid.
type newType func(r *notificationv1.Receiver, tokens *issuer.Verifier) (Type, error)

// kinds names every type that the API accepts.
var kinds = map[string]newType{
	notificationv1.GenericReceiver:     plain(generic{}),
	notificationv1.GenericHMACReceiver: plain(genericHMAC{}),
	notificationv1.GenericOIDCReceiver: newGenericOIDC,
	notificationv1.GitHubReceiver:      plain(github{}),
	notificationv1.GitLabReceiver:      plain(gitlab{}),
	notificationv1.BitbucketReceiver:   plain(bitbucket{}),
	notificationv1.HarborReceiver:      plain(harbor{}),
	notificationv1.DockerHubReceiver:   plain(dockerhub{}),
	notificationv1.QuayReceiver:        plain(quay{}),
	notificationv1.GCRReceiver:         newGCR,
	notificationv1.NexusReceiver:       plain(nexus{}),
	notificationv1.ACRReceiver:         plain(acr{}),
	notificationv1.CDEventsReceiver:    plain(cdevents{}),
}

// plain is for types that know all of their senders alike.
func plain(t Type) newType {
	return func(*notificationv1.Receiver, *issuer.Verifier) (Type, error) { return t, nil }
}
