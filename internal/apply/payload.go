package apply

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/weirhq/weir/internal/apply/drift"
	"github.com/weirhq/weir/internal/build"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Labels and annotations that older tools leave behind and that an apply removes.
var (
	legacyAnnotations = []string{
		"kubectl.kubernetes.io/last-applied-configuration",
		"kustomize.toolkit.fluxcd.io/checksum",
		"fluxcd.io/sync-checksum",
	}
	legacyLabels = []string{"fluxcd.io/sync-gc-mark"}
)

// marksOf reads what the labels and annotations of an object ask for. group is
// the prefix of their keys.
func marksOf(group string, labels, annotations map[string]string) (m drift.Marks) {
	is := func(key, value string) bool {
		return strings.EqualFold(labels[group+key], value) || strings.EqualFold(annotations[group+key], value)
	}
	for _, c := range []struct {
		key, value string
		marks      drift.Marks
	}{
		{"/reconcile", "disabled", drift.Leave | drift.Keep},
		{"/ssa", "Ignore", drift.Leave | drift.Keep},
		{"/ssa", "Merge", drift.Merge},
		{"/ssa", "IfNotPresent", drift.Once},
		{"/prune", "disabled", drift.Keep},
		{"/force", "enabled", drift.Recreate},
	} {
		if is(c.key, c.value) {
			m |= c.marks
		}
	}
	return m
}

// leftovers reports whether an older tool's labels or annotations are on the object.
func leftovers(m *metav1.PartialObjectMetadata) bool {
	for _, k := range legacyAnnotations {
		if _, ok := m.Annotations[k]; ok {
			return true
		}
	}
	for _, k := range legacyLabels {
		if _, ok := m.Labels[k]; ok {
			return true
		}
	}
	return false
}

// payload is an object as it is sent.
type payload struct {
	json    []byte
	whole   []byte // with the ignored fields, when json is without
	marks   drift.Marks
	expires bool
}

// complete is the payload with all its fields, for an object that is made anew.
func (p *payload) complete() []byte {
	if p.whole != nil {
		return p.whole
	}
	return p.json
}

// sumOf names the payload that newPayload makes for an owner, without making it.
func sumOf(o *build.Object, owner types.NamespacedName) uint64 {
	var b [8]byte
	for i := range b {
		b[i] = byte(o.Sum >> (8 * i))
	}
	d := xxhash.New()
	_, _ = d.Write(b[:])
	_, _ = d.WriteString(owner.String())
	return d.Sum64()
}

// newPayload makes the body of an apply: the object with its owner's labels and
// without what the API server or older tools put there. The data of a Secret is
// sent encoded, because managedFields would name stringData, which is never
// stored, and so an edit of data would go unseen.
func (c *Cluster) newPayload(o *build.Object, r Ref, owner types.NamespacedName) (payload, error) {
	u, err := decodeExactly(o.JSON)
	if err != nil {
		return payload{}, &fieldError{"the object is not valid JSON"}
	}
	md, _ := u["metadata"].(map[string]any)
	if md == nil {
		return payload{}, &fieldError{"metadata is missing"}
	}
	for _, k := range []string{"creationTimestamp", "managedFields", "resourceVersion", "uid", "generation", "selfLink"} {
		delete(md, k)
	}
	delete(u, "status")
	if r.Namespace == "" {
		delete(md, "namespace")
	}
	labels, err := stringMap(md, "labels")
	if err != nil {
		return payload{}, err
	}
	annotations, err := stringMap(md, "annotations")
	if err != nil {
		return payload{}, err
	}
	p := payload{marks: marksOf(c.options.OwnerGroup, labels, annotations)}
	for _, k := range legacyLabels {
		delete(labels, k)
	}
	for _, k := range legacyAnnotations {
		delete(annotations, k)
	}
	labels[c.options.OwnerGroup+"/name"] = owner.Name
	labels[c.options.OwnerGroup+"/namespace"] = owner.Namespace
	md["labels"] = labels
	if len(annotations) > 0 {
		md["annotations"] = annotations
	} else {
		delete(md, "annotations")
	}
	switch {
	case r.Group == "" && r.Kind == "Secret":
		encodeStringData(u)
	case r.Group == "batch" && r.Kind == "Job":
		spec, _ := u["spec"].(map[string]any)
		p.expires = spec["ttlSecondsAfterFinished"] != nil
	}
	p.json, err = json.Marshal(u)
	return p, err
}

// decodeExactly reads JSON whose numbers are passed on as they were written.
func decodeExactly(data []byte) (u map[string]any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err = d.Decode(&u)
	return u, err
}

// marksOfObject reads the marks of a desired object, decoding it only if it can have any.
func (c *Cluster) marksOfObject(o *build.Object) drift.Marks {
	if !bytes.Contains(o.JSON, []byte(c.options.OwnerGroup)) {
		return 0
	}
	var m struct {
		Metadata struct{ Labels, Annotations map[string]any }
	}
	if json.Unmarshal(o.JSON, &m) != nil {
		return 0
	}
	only := func(in map[string]any) map[string]string {
		out := map[string]string{}
		for k, v := range in {
			if s, ok := v.(string); ok {
				out[k] = s
			}
		}
		return out
	}
	return marksOf(c.options.OwnerGroup, only(m.Metadata.Labels), only(m.Metadata.Annotations))
}

func stringMap(md map[string]any, field string) (map[string]string, error) {
	in, ok := md[field].(map[string]any)
	if !ok && md[field] != nil {
		return nil, &fieldError{fmt.Sprintf("metadata.%s is not a map", field)}
	}
	out := make(map[string]string, len(in)+2)
	for k, v := range in {
		s, ok := v.(string)
		if !ok {
			return nil, &fieldError{fmt.Sprintf("metadata.%s[%q] is not a string: put it in quotes", field, k)}
		}
		out[k] = s
	}
	return out, nil
}

// encodeStringData moves stringData into data, where it wins as it does in the
// API server. What is not text stays, for the API server to refuse.
func encodeStringData(u map[string]any) {
	in, ok := u["stringData"].(map[string]any)
	if !ok {
		return
	}
	data, ok := u["data"].(map[string]any)
	if !ok {
		if u["data"] != nil {
			return
		}
		data = map[string]any{}
	}
	for k, v := range in {
		if s, ok := v.(string); ok {
			data[k] = base64.StdEncoding.EncodeToString([]byte(s))
			delete(in, k)
		}
	}
	u["data"] = data
	if len(in) == 0 {
		delete(u, "stringData")
	}
}
