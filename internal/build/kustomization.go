package build

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

// target is the directory that is built and the kustomization file in it.
type target struct {
	dir       string // absolute, without links
	file      string // of the kustomization, there or not
	generated bool   // the source had none
}

// prepare finds what s.Path names, reads or makes its kustomization, merges s
// into that and lays the outcome over the file. It is done to the file itself
// and not in an overlay above it, as the peers do it: so patches of s see
// objects before the prefixes of the file, and so on.
func prepare(r *recorder, s Spec) (target, error) {
	dir, err := findDirectory(r, s.Path)
	if err != nil {
		return target{}, err
	}
	k, t, err := readKustomization(r, dir)
	if err != nil {
		return target{}, err
	}
	if err := merge(r, k, dir, s); err != nil {
		return target{}, err
	}
	data, err := yaml.Marshal(k)
	if err != nil {
		return target{}, err
	}
	r.overlay(t.file, data)
	return t, nil
}

// maxListed bounds how many names an error lists.
const maxListed = 20

// findDirectory returns where p leads. Its error says what is there instead.
func findDirectory(r *recorder, p string) (string, error) {
	dir := path.Join("/", p)
	info, err := r.ask(dir, false)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPath, err)
	}
	switch info.Kind {
	case artifact.Dir:
		return info.Real, nil
	case artifact.File:
		return "", fmt.Errorf("%w: %q is a file; name the directory it is in, %q", ErrPath, relative(dir), relative(path.Dir(dir)))
	}
	for at := dir; at != "/"; {
		at = path.Dir(at)
		info, err := r.ask(at, true)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrPath, err)
		}
		if info.Kind == artifact.Dir {
			return "", fmt.Errorf("%w: %q is not in the source; %s", ErrPath, relative(dir), directories(r, at, info.Names))
		}
	}
	return "", fmt.Errorf("%w: %q is not in the source", ErrPath, relative(dir))
}

func directories(r *recorder, at string, names []string) string {
	var dirs []string
	more := 0
	for _, name := range names {
		switch {
		case !r.IsDir(path.Join(at, name)):
		case len(dirs) < maxListed:
			dirs = append(dirs, fmt.Sprintf("%q", name))
		default:
			more++
		}
	}
	where := fmt.Sprintf("%q", relative(at))
	if at == "/" {
		where = "its root"
	}
	switch {
	case len(dirs) == 0:
		return where + " has no directories"
	case more > 0:
		return fmt.Sprintf("%s has the directories %s and %d more", where, strings.Join(dirs, ", "), more)
	}
	return fmt.Sprintf("%s has the directories %s", where, strings.Join(dirs, ", "))
}

// readKustomization returns the kustomization of dir, or one that names every
// manifest below dir when there is none.
func readKustomization(r *recorder, dir string) (*types.Kustomization, target, error) {
	k := &types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	if p := kustomizationFile(r, dir); p != "" {
		data, err := r.read(p, func(_ string, data []byte) error { return checkAliases(data) })
		if err != nil {
			return nil, target{}, err
		}
		if err := yaml.Unmarshal(data, k); err != nil {
			return nil, target{}, fmt.Errorf("%q: %w", relative(p), explainYAML(err))
		}
		if len(k.Resources) == 0 {
			// Without resources and generators kustomize calls the file empty,
			// unless any other field is set.
			k.BuildMetadata = []string{types.OriginAnnotations}
		}
		return k, target{dir: dir, file: p}, nil
	}
	t := target{dir: dir, file: path.Join(dir, konfig.DefaultKustomizationFileName()), generated: true}
	resources, err := manifests(r, dir, ".")
	if err != nil {
		return nil, t, err
	}
	k.Resources = resources
	if len(resources) == 0 {
		k.Namespace = "_placeholder" // of nothing, so that the file is not empty
	}
	return k, t, nil
}

// kustomizationFile returns the path of the kustomization file of dir, "" if
// there is none.
func kustomizationFile(r *recorder, dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(dir, name); r.kind(p) == artifact.File {
			return p
		}
	}
	return ""
}

// manifests lists what a generated kustomization names: every .yaml and .yml
// file below dir, and each sub-directory with a kustomization file of its own in
// place of what is in it. The order is that of a walk with sorted names. Links
// to directories are not followed.
func manifests(r *recorder, dir, prefix string) ([]string, error) {
	names, err := r.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		p, shown := path.Join(dir, name), prefix+"/"+name
		info, err := r.ask(p, false)
		switch ext := path.Ext(name); {
		case err != nil:
			return nil, err
		case info.Kind == artifact.Dir && info.Real != p:
		case info.Kind == artifact.Dir && kustomizationFile(r, p) != "":
			out = append(out, shown)
		case info.Kind == artifact.Dir:
			below, err := manifests(r, p, shown)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		case ext == ".yaml" || ext == ".yml":
			out = append(out, shown)
		}
	}
	return out, nil
}

// merge lays the fields of s over k.
func merge(r *recorder, k *types.Kustomization, dir string, s Spec) error {
	if s.TargetNamespace != "" {
		k.Namespace = s.TargetNamespace
	}
	if s.NamePrefix != "" {
		k.NamePrefix = s.NamePrefix
	}
	if s.NameSuffix != "" {
		k.NameSuffix = s.NameSuffix
	}
	for _, p := range s.Patches {
		k.Patches = append(k.Patches, types.Patch{Patch: p.Patch, Target: selector(p.Target)})
	}
	for _, c := range s.Components {
		if remote(c) || path.IsAbs(c) {
			return fmt.Errorf("spec.components: %q is not a path relative to spec.path", c)
		}
		info, err := r.ask(path.Join(dir, c), false)
		switch {
		case err != nil || escapes(dir, c):
			return fmt.Errorf("spec.components: %q: %w", c, artifact.ErrEscape)
		case info.Kind == artifact.Absent && s.IgnoreMissingComponents:
		case info.Kind == artifact.Absent:
			return fmt.Errorf("spec.components: %q is not in the source (spec.ignoreMissingComponents leaves such components out)", c)
		default:
			k.Components = append(k.Components, c)
		}
	}
	for _, i := range s.Images {
		k.Images = mergeImage(k.Images, i)
	}
	if len(s.BuildMetadata) > 0 {
		k.BuildMetadata = s.BuildMetadata
	}
	return nil
}

// escapes reports whether p, taken from dir, climbs above the root.
func escapes(dir, p string) bool {
	return strings.HasPrefix(path.Join(relative(dir), p)+"/", "../")
}

func selector(s *kustomize.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind},
			Name:      s.Name,
			Namespace: s.Namespace,
		},
		AnnotationSelector: s.AnnotationSelector,
		LabelSelector:      s.LabelSelector,
	}
}

// mergeImage adds i, or sets its fields on the entry of that name. Tag and
// digest choose the version together, so setting one clears the other.
func mergeImage(images []types.Image, i kustomize.Image) []types.Image {
	at := slices.IndexFunc(images, func(have types.Image) bool { return have.Name == i.Name })
	if at < 0 {
		return append(images, types.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
	}
	if i.NewName != "" {
		images[at].NewName = i.NewName
	}
	if i.NewTag != "" || i.Digest != "" {
		images[at].NewTag, images[at].Digest = i.NewTag, i.Digest
	}
	return images
}
