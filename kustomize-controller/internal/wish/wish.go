// Package wish reads what a Kustomization asks for beyond the wire API, in
// annotations with the prefix weir.dev/, and decides about it. Decisions are
// pure functions. Without such annotations nothing differs.
package wish

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Prefix of the annotations.
const Prefix = "weir.dev/"

// ErrInvalid is wrapped by errors about annotations that cannot be used. They
// name the annotation.
var ErrInvalid = errors.New("unusable annotation")

// Wishes are what an object asks for. The zero value asks for nothing.
type Wishes struct {
	// Guard holds back builds that would delete much.
	Guard Guard
	// Approval asks for each revision to be approved by hand, in Approved.
	Approval bool
	// Approved is the revision that was approved; "" if none was.
	Approved string
	// Windows are when new revisions may be applied; nil is always.
	Windows Windows
	// KeepOwners refuses to take objects that belong to other Kustomizations.
	KeepOwners bool
	// ContinueOnError applies what can be applied when an object cannot.
	ContinueOnError bool
	// ReportDrift tells what was changed by hand and leaves it so.
	ReportDrift bool
	// DependentsFirst deletes the object after those that depend on it, and
	// AnyOrder does not, whatever the controller's default is.
	DependentsFirst, AnyOrder bool
	// DependsOn are objects of any kind to wait for.
	DependsOn []Object
}

// Holds reports whether revisions may be held back at all.
func (w *Wishes) Holds() bool { return w.Approval || len(w.Windows) > 0 || w.Guard != Guard{} }

// Parse reads annotations. guard is the guard of those that name none.
func Parse(annotations map[string]string, guard Guard) (Wishes, error) {
	w := Wishes{Guard: guard}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ours := strings.CutPrefix(key, Prefix)
		if !ours {
			continue
		}
		read, ok := readers[name]
		if !ok {
			return Wishes{}, fmt.Errorf("%w: %q is not known to this version", ErrInvalid, key)
		}
		if err := read(&w, strings.TrimSpace(annotations[key])); err != nil {
			return Wishes{}, fmt.Errorf("%w: %q: %w", ErrInvalid, key, err)
		}
	}
	// Beside a guard of the object's own, an approval is one of what the guard
	// held back, and other revisions need none.
	if _, guarded := annotations[Prefix+"prune-guard"]; guarded {
		w.Approval = false
	}
	return w, nil
}

// readers has one entry for each annotation.
var readers = map[string]func(*Wishes, string) error{
	"prune-guard": func(w *Wishes, value string) (err error) {
		w.Guard, err = ParseGuard(value)
		return err
	},
	"approve": func(w *Wishes, value string) error {
		w.Approval, w.Approved = true, value
		return nil
	},
	"window": func(w *Wishes, value string) (err error) {
		w.Windows, err = ParseWindows(value)
		return err
	},
	"adopt": func(w *Wishes, value string) error {
		return choose(value, map[string]func(){"always": func() {}, "never": func() { w.KeepOwners = true }})
	},
	"continue-on-error": func(w *Wishes, value string) error {
		return choose(value, map[string]func(){"true": func() { w.ContinueOnError = true }, "false": func() {}})
	},
	"depends-on": func(w *Wishes, value string) (err error) {
		w.DependsOn, err = ParseObjects(value)
		return err
	},
	"deletion-order": func(w *Wishes, value string) error {
		return choose(value, map[string]func(){"dependents-first": func() { w.DependentsFirst = true }, "any": func() { w.AnyOrder = true }})
	},
	"drift": func(w *Wishes, value string) error {
		return choose(value, map[string]func(){"correct": func() {}, "report": func() { w.ReportDrift = true }})
	},
}

// choose calls what belongs to a value.
func choose(value string, of map[string]func()) error {
	do, ok := of[value]
	if !ok {
		return fmt.Errorf("%q is not one of %q", value, slices.Sorted(maps.Keys(of)))
	}
	do()
	return nil
}

// Approves reports whether an approval is for a revision: it is the revision,
// its hash, or at least the first seven digits of that.
func Approves(approved, revision string) bool {
	const least = 7
	if approved == "" {
		return false
	}
	hash := revision[strings.LastIndexByte(revision, ':')+1:]
	return approved == revision || len(approved) >= least && hash != revision && strings.HasPrefix(hash, approved)
}
