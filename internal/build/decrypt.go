package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/weirhq/weir/internal/artifact"
)

// ErrDecryption is wrapped by errors about content that could not be decrypted.
// They are not remembered: a key service that is away comes back.
var ErrDecryption = errors.New("cannot decrypt")

// decryptKey, on an object, says that it is not to be decrypted.
const decryptKey = "kustomize.toolkit.fluxcd.io/decrypt"

// Decryption decrypts what a build reads and makes. Both functions return what
// is not encrypted as it is, and quote no content in errors.
type Decryption struct {
	// Key names the keys that are used. Results are remembered under it, and
	// those of a Spec.Scope are dropped when it comes with another one.
	Key string
	// File is given the files that secretGenerators and patches name, with
	// their path from the root of the tree.
	File func(ctx context.Context, path string, data []byte) ([]byte, error) `json:"-"`
	// Object is given the JSON of each object, before substitution, unless the
	// object has the label or annotation
	// kustomize.toolkit.fluxcd.io/decrypt: disabled.
	Object func(ctx context.Context, data []byte) ([]byte, error) `json:"-"`
}

// decrypt returns the content of a file as kustomize is to see it. Files that
// may be encrypted are known by then: kustomize, too, learns of them from a
// kustomization file.
func (r *recorder) decrypt(p string, data []byte) ([]byte, error) {
	if slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(p)) {
		r.noteSealed(path.Dir(p), data)
		return data, nil
	}
	r.mu.Lock()
	sealed := r.sealed[p]
	r.mu.Unlock()
	if !sealed {
		return data, nil
	}
	plain, err := r.decryption.File(r.ctx, relative(p), data)
	if err == nil {
		err = checkAliases(plain)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDecryption, err)
	}
	return plain, nil
}

// noteSealed notes the files that a kustomization names and that may be
// encrypted. Its content has passed the guard.
func (r *recorder) noteSealed(dir string, data []byte) {
	var k types.Kustomization
	if k.Unmarshal(data) != nil {
		return
	}
	k.FixKustomization()
	var files []string
	for _, g := range k.SecretGenerator {
		files = append(files, sources(g.KvPairSources)...)
	}
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) {
		files = append(files, p.Path)
	}
	for _, p := range k.PatchesStrategicMerge {
		files = append(files, string(p))
	}
	for _, f := range files {
		if f == "" || remote(f) || escapes(dir, f) {
			continue
		}
		if info, err := r.ask(path.Join(dir, f), false); err == nil && info.Kind == artifact.File {
			r.mu.Lock()
			r.sealed[info.Real] = true
			r.mu.Unlock()
		}
	}
}

// decryptObject decrypts the JSON of res where the spec says how. A Secret that
// is encrypted and would be applied as it is, is an error.
func decryptObject(ctx context.Context, res *resource.Resource, data []byte, d *Decryption) ([]byte, error) {
	if res.GetLabels()[decryptKey] == disabled || res.GetAnnotations()[decryptKey] == disabled {
		return data, nil
	}
	if d == nil {
		if res.GetKind() == "Secret" && res.Field("sops") != nil {
			return nil, fmt.Errorf("%w: it is encrypted with SOPS; set spec.decryption", ErrDecryption)
		}
		return data, nil
	}
	plain, err := d.Object(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDecryption, err)
	}
	return plain, nil
}
