package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	cdevent "github.com/cdevents/sdk-go/pkg/api"
	"github.com/cdevents/sdk-go/pkg/api/v04"
)

// cdevents takes CDEvents of version 0.4 as CloudEvents in binary mode, which have
// no signature. Each must hold to the schema of its type.
// https://cdevents.dev/docs/spec/
type cdevents struct{}

// maxReport bounds what is told of an event that does not hold to its schema, in
// bytes.
const maxReport = 300

func (cdevents) Authenticate(context.Context, Request) (Claims, error) { return nil, nil }

func (cdevents) Read(r Request) (Call, error) {
	name := r.Header.Get("Ce-Type")
	kind, err := cdevent.ParseType(name)
	if err != nil {
		return Call{}, fmt.Errorf("%w: the header Ce-Type names no type of CDEvents", ErrPayload)
	}
	var head struct {
		Context struct {
			Type string `json:"type"`
		} `json:"context"`
	}
	if err := decodeObject(r.Body, &head); err != nil {
		return Call{}, err
	}
	if head.Context.Type != name {
		return Call{}, fmt.Errorf("%w: context.type is not what the header Ce-Type says", ErrPayload)
	}
	event, err := emptyEvent(kind)
	if err == nil {
		err = json.Unmarshal(r.Body, event)
	}
	if err == nil {
		err = cdevent.Validate(event)
	}
	if err != nil {
		return Call{}, fmt.Errorf("%w: it is no valid event of the type %q: %.*s", ErrPayload, name, maxReport, err.Error())
	}
	return Call{Event: name}, nil
}

// emptyEvent returns a new event of a type. The library's own reading of events
// would take the one that it has of each type, which all requests would share.
func emptyEvent(kind *cdevent.CDEventType) (cdevent.CDEvent, error) {
	name := kind.UnversionedString()
	if kind.Custom != "" {
		name = cdevent.CustomEventMapKey
	}
	known, ok := v04.CDEventsByUnversionedTypes[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("version 0.4 of CDEvents has no such type")
	case kind.Custom == "" && !kind.IsCompatible(known.GetType()):
		return nil, fmt.Errorf("version %s is not compatible with %s", kind.Version, known.GetType().Version)
	}
	return reflect.New(reflect.TypeOf(known).Elem()).Interface().(cdevent.CDEvent), nil
}
