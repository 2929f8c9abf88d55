// Package salvage reads the status of an object even where a part of it makes no sense.
//
// The schemas admit values that Go's types refuse, such as the time "2024-01-01t00:00:00z" or an integer of thirty digits.
// Whoever may write the status of one object could stop the listing of all objects of its kind with them. What cannot be
// read is therefore passed over, and nothing else with it: an inventory survives a broken time next to it. The controllers
// write their status anew anyway.
package salvage

import (
	"reflect"
	"strings"
	"time"

	stdjson "encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// unknownTime stands for a time that cannot be read. It is not zero, because that is written as null, which the schemas
// refuse where a time is required.
var unknownTime = metav1.NewTime(time.Unix(0, 0).UTC())

// Decode reads the JSON object data into the struct that into points to. What fits is read as encoding/json would, with the
// case of names significant; what does not is left at its zero value, or, a time, at 1970. It fails only for what is no
// JSON object.
func Decode(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err == nil {
		return nil
	}
	var members map[string]stdjson.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	v := reflect.ValueOf(into).Elem()
	v.SetZero()
	decodeFields(members, v)
	return nil
}

// decode reads data into v as far as it goes.
func decode(data []byte, v reflect.Value) {
	if err := json.Unmarshal(data, v.Addr().Interface()); err == nil {
		return
	}
	v.SetZero()
	switch {
	case v.Type() == reflect.TypeFor[metav1.Time]():
		v.Set(reflect.ValueOf(unknownTime))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		decode(data, v.Elem())
	case v.Kind() == reflect.Struct:
		var members map[string]stdjson.RawMessage
		if json.Unmarshal(data, &members) == nil {
			decodeFields(members, v)
		}
	case v.Kind() == reflect.Slice:
		var items []stdjson.RawMessage
		if json.Unmarshal(data, &items) != nil {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
		for i := range items {
			decode(items[i], v.Index(i))
		}
	case v.Kind() == reflect.Map:
		var members map[string]stdjson.RawMessage
		if json.Unmarshal(data, &members) != nil {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for key, member := range members {
			value := reflect.New(v.Type().Elem()).Elem()
			decode(member, value)
			v.SetMapIndex(reflect.ValueOf(key), value)
		}
	}
}

// decodeFields reads the members of a JSON object into the fields of the struct v.
func decodeFields(members map[string]stdjson.RawMessage, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			decodeFields(members, v.Field(i))
			continue
		}
		if member, ok := members[name]; ok {
			decode(member, v.Field(i))
		}
	}
}
