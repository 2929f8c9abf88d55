package imageupdate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/image-automation-controller/internal/pullrequest"
	"github.com/weirhq/weir/internal/loop"
)

// Annotations that ask for more than the wire API has.
const (
	// PathsAnnotation names more folders to update, separated by commas.
	PathsAnnotation = loop.AnnotationPrefix + "update-paths"
	// PullRequestAnnotation asks for a pull request; its value is the kind of host.
	PullRequestAnnotation = loop.AnnotationPrefix + "pull-request"
	// BranchAnnotation is a template of the name of the branch of the pull request.
	BranchAnnotation = loop.AnnotationPrefix + "pull-request-branch"
	// SecretAnnotation names a Secret with a token for the host.
	SecretAnnotation = loop.AnnotationPrefix + "pull-request-secret"
	// AddressAnnotation is where the API of the host is.
	AddressAnnotation = loop.AnnotationPrefix + "pull-request-address"
)

// errAnnotation is wrapped by errors about annotations that cannot be used.
var errAnnotation = errors.New("unusable annotation")

// defaultBranch is the branch of pull requests that nobody gave a name.
const defaultBranch = "image-updates/{{ .AutomationObject.Namespace }}/{{ .AutomationObject.Name }}"

// maxPaths bounds the folders of one automation.
const maxPaths = 64

// wishes are what the annotations of an automation ask for.
type wishes struct {
	paths []string
	pull  *pull
}

// A pull is the wish for a pull request.
type pull struct {
	Kind    string
	Branch  string // a template
	Secret  string // "" for the credentials of the source
	Address string
	Base    string // the branch that is checked out
}

// parseWishes reads annotations. One that is not known is refused: it is a wish
// that nobody would grant.
func parseWishes(annotations map[string]string) (wishes, error) {
	var w wishes
	var p pull
	readers := map[string]func(value string) error{
		PathsAnnotation: w.readPaths,
		PullRequestAnnotation: func(value string) error {
			if !slices.Contains(pullrequest.Kinds(), value) {
				return fmt.Errorf("%q is not one of %q", value, pullrequest.Kinds())
			}
			p.Kind, w.pull = value, &p
			return nil
		},
		BranchAnnotation:  func(value string) error { p.Branch = value; return nil },
		SecretAnnotation:  func(value string) error { p.Secret = value; return nil },
		AddressAnnotation: func(value string) error { p.Address = value; return nil },
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, loop.AnnotationPrefix) {
			continue
		}
		read, known := readers[key]
		if !known {
			return wishes{}, fmt.Errorf("%w: %q is not known to this version", errAnnotation, key)
		}
		if err := read(strings.TrimSpace(annotations[key])); err != nil {
			return wishes{}, fmt.Errorf("%w: %q: %w", errAnnotation, key, err)
		}
	}
	if w.pull == nil && p != (pull{}) {
		return wishes{}, fmt.Errorf("%w: %q must say which kind of host it is: one of %q", errAnnotation, PullRequestAnnotation, pullrequest.Kinds())
	}
	return w, nil
}

func (w *wishes) readPaths(value string) error {
	for text := range strings.SplitSeq(value, ",") {
		if text = strings.TrimSpace(text); text == "" {
			return errors.New("a path is empty")
		}
		dir, err := folder(text)
		if err != nil {
			return err
		}
		w.paths = append(w.paths, dir)
	}
	if len(w.paths) > maxPaths {
		return fmt.Errorf("it names %d paths, more than %d", len(w.paths), maxPaths)
	}
	return nil
}

// outermost leaves out the folders that are inside of others.
func outermost(dirs []string) []string {
	slices.Sort(dirs)
	var out []string
	for _, dir := range dirs {
		inside := func(outer string) bool { return outer == "" || dir == outer || strings.HasPrefix(dir, outer+"/") }
		if !slices.ContainsFunc(out, inside) {
			out = append(out, dir)
		}
	}
	return out
}
