package receiver

import (
	"errors"
	"net/http"
)

// Request is a webhook call before anything of it is believed.
type Request struct {
	Header http.Header
	Body   []byte
	Token  []byte // of the Receiver's Secret
}

// Call is what an authentic request tells.
type Call struct {
	Event string // compared with spec.events; "" for types without events
	Ping  bool   // only tests the connection
	Body  []byte // for filters, set by whoever reads the call
}

// Type knows the webhooks of one kind of sender.
type Type interface {
	// Authenticate checks, in constant time, that the sender holds the token.
	// It does not parse the body. Its error is ErrSignature.
	Authenticate(r Request) error
	// Read reads an authentic request. Its error is ErrPayload.
	Read(r Request) (Call, error)
}

var (
	// ErrSignature reports a request that its sender did not prove to be its own.
	ErrSignature = errors.New("the signature or token is missing or wrong")
	// ErrPayload reports a request that is not what the type sends.
	ErrPayload = errors.New("the request is not what this type of receiver takes")
)

// types names every type that the API accepts; nil stands for those that this
// version cannot serve.
var types = map[string]Type{
	"generic":      generic{},
	"generic-hmac": genericHMAC{},
	"github":       github{},
	"gitlab":       gitlab{},

	"acr":       acr{},
	"bitbucket": bitbucket{},
	"cdevents":  cdevents{},
	"dockerhub": dockerhub{},
	"harbor":    harbor{},
	"nexus":     nexus{},
	"quay":      quay{},

	"gcr":          nil,
	"generic-oidc": nil,
}
