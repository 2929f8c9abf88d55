// Package duration holds the time span type of Weir's API objects. It differs from metav1.Duration in one way: a text
// that the schema admits but that is no usable time span ("9999999999h" overflows) decodes without an error, so one such
// object cannot stop the listing of all others. The reconcilers ask Check and report the field on the object itself.
package duration

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"time"
)

// ErrUnusable is what Err and Check wrap when a text is no usable time span.
var ErrUnusable = errors.New("not a usable duration")

// Duration is a time span that is written as Go writes it, such as "1h30m" or "500ms". Its zero value is zero seconds.
//
// +kubebuilder:validation:Type=string
type Duration struct {
	// Duration is the time span; zero while Raw is set.
	time.Duration `json:"-"`

	// Raw is the JSON that could not be used, quotes included, kept so that it is written back as it was read.
	// Empty for every usable value. It is exported for the sake of reflection-based comparison; nothing should set it.
	Raw string `json:"-"`
}

// New returns d as an API duration.
func New(d time.Duration) Duration { return Duration{Duration: d} }

// Err returns nil when the duration can be used. Otherwise the error wraps ErrUnusable and quotes the text. A negative
// duration is never usable; zero is.
func (d Duration) Err() error {
	switch {
	case d.Raw != "":
		return fmt.Errorf("%s is %w, write hours, minutes and seconds such as \"1h30m\", at most 2562047h", d.Raw, ErrUnusable)
	case d.Duration < 0:
		return fmt.Errorf("%q is %w, it must not be negative", d.Duration.String(), ErrUnusable)
	}
	return nil
}

// String returns the time span as Go writes it, or the JSON that was read when it cannot be used.
func (d Duration) String() string {
	if d.Raw != "" {
		return d.Raw
	}
	return d.Duration.String()
}

// Equal reports whether both are the same time span, or the same unusable text.
func (d Duration) Equal(other Duration) bool { return d == other }

// UnmarshalJSON reads a duration. It fails for nothing that is JSON: what is no time span is kept in Raw.
func (d *Duration) UnmarshalJSON(data []byte) error {
	text := strings.TrimSpace(string(data))
	if text == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		*d = Duration{Raw: text}
		return nil
	}
	span, err := time.ParseDuration(s)
	if err != nil {
		*d = Duration{Raw: text}
		return nil
	}
	*d = Duration{Duration: span}
	return nil
}

// MarshalJSON writes the time span as a string, or what UnmarshalJSON could not use as it was.
func (d Duration) MarshalJSON() ([]byte, error) {
	if d.Raw != "" {
		return []byte(d.Raw), nil
	}
	return json.Marshal(d.Duration.String())
}

var durationType = reflect.TypeFor[Duration]()

// Check walks obj, a struct or a pointer to one, and returns the error of the first unusable Duration below it, prefixed
// with its JSON path: "spec.dependsOn[1].timeout: ...". Fields are visited in the order of their declaration, maps in the
// order of their keys. The status of an API object is left out: nobody could mend it by an edit.
func Check(obj any) error {
	v := reflect.ValueOf(obj)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type() == durationType {
		return check(v, "")
	}
	return checkFields(v, "", "status")
}

// check returns the first error below v; path is the JSON path of v.
func check(v reflect.Value, path string) error {
	if v.IsValid() && v.Type() == durationType {
		if err := v.Interface().(Duration).Err(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return check(v.Elem(), path)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := check(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
		for _, key := range keys {
			if err := check(v.MapIndex(key), fmt.Sprintf("%s[%q]", path, fmt.Sprint(key))); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return checkFields(v, path, "")
	}
	return nil
}

// checkFields checks the exported fields of the struct v, except the one whose JSON name is skip.
func checkFields(v reflect.Value, path, skip string) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" || (skip != "" && name == skip) {
			continue
		}
		if name == "" && !field.Anonymous {
			name = field.Name
		}
		below := path
		if name != "" {
			below = strings.TrimPrefix(path+"."+name, ".")
		}
		if err := check(v.Field(i), below); err != nil {
			return err
		}
	}
	return nil
}
