package drift

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Key names an object inside one resource. 64 bits of namespace and name: two
// of a million objects share a key with a chance of about 3 in 10^8.
type Key uint64

// KeyOf returns the key of an object.
func KeyOf(namespace, name string) Key {
	return Key(xxhash.Sum64String(namespace + "/" + name))
}

// Print is the fingerprint of a live object: no strings, so the garbage
// collector never scans a table of them.
type Print struct {
	UID        [16]byte // identity; differs after delete and create
	RV         uint64   // resource version, ordered within a resource
	Own        uint64   // hash of the fields our manager owns
	All        uint64   // hash of all managedFields entries with their times
	Generation uint32   // 0 for kinds that have none
	OwnTime    uint32   // time of our entry, in seconds
	Owner      uint32   // the owner as a small number, see Policy.Owner; 0 is nobody
	Marks      Marks    // what its labels and annotations ask for
}

// Marks are what the labels and annotations of an object ask for.
type Marks uint8

const (
	// Leave: the object is not to be touched.
	Leave Marks = 1 << iota
	// Keep: the object is not to be deleted.
	Keep
	// Merge: other managers keep what they own.
	Merge
	// Once: the object is created and then left alone.
	Once
	// Recreate: the object may be deleted and created to change an immutable field.
	Recreate
	// Strip: something on the object is to be removed before the next apply:
	// a field manager, or the leftover of an older tool.
	Strip
)

// Policy says how a fingerprint is taken.
type Policy struct {
	// Manager is the field manager of our own applies.
	Manager string
	// Strip reports managers that may not own fields of our objects. Nil means none.
	Strip func(metav1.ManagedFieldsEntry) bool
	// Owner returns the owner of an object as a small number, 0 for nobody.
	Owner func(*metav1.PartialObjectMetadata) uint32
	// Marks reads labels and annotations. Nil means no object has any.
	Marks func(*metav1.PartialObjectMetadata) Marks
}

// Ours reports whether the entry is the one our applies maintain.
func (p *Policy) Ours(e *metav1.ManagedFieldsEntry) bool {
	return e.Operation == metav1.ManagedFieldsOperationApply && e.Manager == p.Manager && e.Subresource == ""
}

// Take fingerprints an object. ok is false when the resource version is not a
// number (some aggregated APIs): such an object cannot be ordered.
func (p *Policy) Take(m *metav1.PartialObjectMetadata) (pr Print, ok bool) {
	rv, err := strconv.ParseUint(m.ResourceVersion, 10, 64)
	pr.UID, pr.RV, pr.Generation = uid(m.UID), rv, uint32(m.Generation)
	if p.Owner != nil {
		pr.Owner = p.Owner(m)
	}
	if p.Marks != nil {
		pr.Marks = p.Marks(m)
	}
	all := xxhash.New()
	for i := range m.ManagedFields {
		e := &m.ManagedFields[i]
		h := hashEntry(e)
		var sum [16]byte
		put64(sum[:8], h)
		if e.Time != nil {
			put64(sum[8:], uint64(e.Time.Unix()))
		}
		_, _ = all.Write(sum[:])
		switch {
		case p.Ours(e):
			pr.Own ^= h // more than one entry is possible: one per API version
			if e.Time != nil {
				pr.OwnTime = max(pr.OwnTime, uint32(e.Time.Unix()))
			}
		case p.Strip != nil && p.Strip(*e):
			pr.Marks |= Strip
		}
	}
	if pr.Marks&Merge != 0 {
		pr.Marks &^= Strip
	}
	pr.All = all.Sum64()
	return pr, err == nil
}

// hashEntry hashes one managedFields entry without its time. The stored field
// set is canonical JSON, so equal sets are equal bytes.
func hashEntry(e *metav1.ManagedFieldsEntry) uint64 {
	d := xxhash.New()
	for _, s := range []string{e.Manager, string(e.Operation), e.APIVersion, e.Subresource} {
		_, _ = d.WriteString(s)
		_, _ = d.Write([]byte{0})
	}
	if e.FieldsV1 != nil {
		_, _ = d.WriteString(e.FieldsV1.GetRawString())
	}
	return d.Sum64()
}

// Blame returns the manager that most likely made the newest change of an
// object which is not our own: the one to strip when there is one, else the
// owner of the newest entry. "" when only our own entries are left.
func (p *Policy) Blame(m *metav1.PartialObjectMetadata) string {
	var newest *metav1.ManagedFieldsEntry
	for i := range m.ManagedFields {
		e := &m.ManagedFields[i]
		switch {
		case p.Ours(e) || e.Subresource == "status":
		case newest == nil, e.Time != nil && (newest.Time == nil || !e.Time.Time.Before(newest.Time.Time)):
			newest = e
		}
	}
	for i := range m.ManagedFields {
		if e := &m.ManagedFields[i]; p.Strip != nil && !p.Ours(e) && p.Strip(*e) {
			return e.Manager
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Manager
}

func uid(s types.UID) (out [16]byte) {
	if n, err := hex.Decode(out[:], []byte(strings.ReplaceAll(string(s), "-", ""))); err != nil || n != 16 {
		h := xxhash.Sum64String(string(s)) // not a UUID: any stable value will do
		put64(out[:8], h)
		put64(out[8:], ^h)
	}
	return out
}

func put64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}
