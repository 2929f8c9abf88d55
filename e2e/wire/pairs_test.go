package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	fluxautomationv1 "github.com/fluxcd/image-automation-controller/api/v1"
	fluxreflectorv1 "github.com/fluxcd/image-reflector-controller/api/v1"
	fluxkustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxnotificationv1 "github.com/fluxcd/notification-controller/api/v1"
	fluxnotificationv1beta3 "github.com/fluxcd/notification-controller/api/v1beta3"
	fluxsourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/weirhq/weir/api/duration"
	imagev1 "github.com/weirhq/weir/api/image/v1"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	notificationv1 "github.com/weirhq/weir/api/notification/v1"
	notificationv1beta3 "github.com/weirhq/weir/api/notification/v1beta3"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// pair is a kind in Flux's types and in ours.
type pair struct{ theirs, ours reflect.Type }

func pairOf[Theirs, Ours any]() pair {
	return pair{theirs: reflect.TypeFor[Theirs](), ours: reflect.TypeFor[Ours]()}
}

// pairs holds every kind, by its name.
var pairs = map[string]pair{
	"Alert":                 pairOf[fluxnotificationv1beta3.Alert, notificationv1beta3.Alert](),
	"Bucket":                pairOf[fluxsourcev1.Bucket, sourcev1.Bucket](),
	"ExternalArtifact":      pairOf[fluxsourcev1.ExternalArtifact, sourcev1.ExternalArtifact](),
	"GitRepository":         pairOf[fluxsourcev1.GitRepository, sourcev1.GitRepository](),
	"HelmChart":             pairOf[fluxsourcev1.HelmChart, sourcev1.HelmChart](),
	"HelmRepository":        pairOf[fluxsourcev1.HelmRepository, sourcev1.HelmRepository](),
	"ImagePolicy":           pairOf[fluxreflectorv1.ImagePolicy, imagev1.ImagePolicy](),
	"ImageRepository":       pairOf[fluxreflectorv1.ImageRepository, imagev1.ImageRepository](),
	"ImageUpdateAutomation": pairOf[fluxautomationv1.ImageUpdateAutomation, imagev1.ImageUpdateAutomation](),
	"Kustomization":         pairOf[fluxkustomizev1.Kustomization, kustomizev1.Kustomization](),
	"OCIRepository":         pairOf[fluxsourcev1.OCIRepository, sourcev1.OCIRepository](),
	"Provider":              pairOf[fluxnotificationv1beta3.Provider, notificationv1beta3.Provider](),
	"Receiver":              pairOf[fluxnotificationv1.Receiver, notificationv1.Receiver](),
}

// newFiller returns a source of random objects that is always the same for a seed.
func newFiller(seed int64) *randfill.Filler {
	// Seconds and minutes are there for the limits of timeouts, zero for defaults.
	span := func(c randfill.Continue) time.Duration {
		unit := []time.Duration{0, time.Millisecond, time.Second, time.Minute, time.Hour}[c.Intn(5)]
		return time.Duration(c.Int63n(1000)) * unit
	}
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 3).Funcs(
		func(d *metav1.Duration, c randfill.Continue) { d.Duration = span(c) },
		func(d *duration.Duration, c randfill.Continue) { *d = duration.New(span(c)) },
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(c.Int63n(1<<32), 0).UTC() },
		func(f *metav1.FieldsV1, c randfill.Continue) {
			f.SetRawString(fmt.Sprintf(`{"f:%d":{}}`, c.Intn(1000)))
		},
		// Random, but not a random alphabet: what is compared is JSON, and its text is easier to read.
		func(s *string, c randfill.Continue) {
			if c.Intn(4) > 0 {
				*s = fmt.Sprintf("text-%d <\"%c\">", c.Intn(1_000_000), rune('à'+c.Intn(30)))
			}
		},
		func(raw *json.RawMessage, c randfill.Continue) { *raw = fmt.Appendf(nil, "%d", c.Intn(1000)) },
	)
}

// leaf reports whether the inside of a type is not ours to look at: neither side has declared it.
func leaf(t reflect.Type) bool {
	return t.Kind() != reflect.Struct || t == reflect.TypeFor[duration.Duration]() || t.PkgPath() == reflect.TypeFor[metav1.Time]().PkgPath()
}

// fieldsOf adds the paths of all fields of t to into.
func fieldsOf(t reflect.Type, path string, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fieldsOf(t.Elem(), path, into)
		return
	}
	if leaf(t) {
		return
	}
	for i := range t.NumField() {
		below := path + "." + t.Field(i).Name
		into[below] = true
		fieldsOf(t.Field(i).Type, below, into)
	}
}

// markFilled removes from missing the paths of all fields of v that are not zero.
func markFilled(v reflect.Value, path string, missing map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			markFilled(v.Elem(), path, missing)
		}
		return
	case reflect.Slice:
		for i := range v.Len() {
			markFilled(v.Index(i), path, missing)
		}
		return
	case reflect.Map:
		for _, key := range v.MapKeys() {
			markFilled(v.MapIndex(key), path, missing)
		}
		return
	}
	if leaf(v.Type()) {
		return
	}
	for i := range v.NumField() {
		if field := v.Field(i); !field.IsZero() {
			below := path + "." + v.Type().Field(i).Name
			delete(missing, below)
			markFilled(field, below, missing)
		}
	}
}
