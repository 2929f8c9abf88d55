package commitmessage

import (
	"errors"

	"github.com/weirhq/weir/image-automation-controller/internal/marker"
)

// ErrRemovedField is wrapped when a template uses .Updated.
var ErrRemovedField = errors.New(`the template field ".Updated" has been removed; use ".Changed" instead`)

// Object names the automation. It prints as "namespace/name".
type Object struct{ Namespace, Name string }

// String implements fmt.Stringer.
func (o Object) String() string { return o.Namespace + "/" + o.Name }

// Data is what a template can use.
type Data struct {
	AutomationObject Object
	Changed          Changed
	Values           map[string]string
}

// Updated exists to tell people who still use it what to do.
func (Data) Updated() (any, error) { return nil, ErrRemovedField }

// Change is one value that an update replaced.
type Change struct {
	OldValue, NewValue string
	Setter             string // the text of the marker
}

// ResourceIdentifier names a Kubernetes object in a file. It is empty for
// documents that are not one.
type ResourceIdentifier struct{ APIVersion, Kind, Name, Namespace string }

// ObjectChanges are changes by object.
type ObjectChanges map[ResourceIdentifier][]Change

// Changed tells what an update has replaced.
type Changed struct {
	FileChanges map[string]ObjectChanges // by path from the root of the repository
	changes     []Change
}

// Add records the changes in one file.
func (c *Changed) Add(file string, changes []marker.Change) {
	if c.FileChanges == nil {
		c.FileChanges = map[string]ObjectChanges{}
	}
	objects := c.FileChanges[file]
	if objects == nil {
		objects = ObjectChanges{}
		c.FileChanges[file] = objects
	}
	for _, m := range changes {
		id := ResourceIdentifier{APIVersion: m.Object.APIVersion, Kind: m.Object.Kind, Name: m.Object.Name, Namespace: m.Object.Namespace}
		change := Change{OldValue: m.Old, NewValue: m.New, Setter: m.Setter}
		objects[id] = append(objects[id], change)
		c.changes = append(c.changes, change)
	}
}

// Changes returns all changes in the order of files and lines.
func (c Changed) Changes() []Change { return c.changes }

// Objects returns all changes by object, whatever file they are in.
func (c Changed) Objects() ObjectChanges {
	all := ObjectChanges{}
	for _, objects := range c.FileChanges {
		for id, changes := range objects {
			all[id] = append(all[id], changes...)
		}
	}
	return all
}
