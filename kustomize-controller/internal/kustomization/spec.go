package kustomization

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/build"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/kustomize-controller/internal/decryption"
)

// spec turns the fields of k that shape a build into the builder's terms.
func (r *Reconciler) spec(ctx context.Context, k *kustomizev1.Kustomization) (build.Spec, error) {
	s := build.Spec{
		Scope:                   client.ObjectKeyFromObject(k).String(),
		Path:                    k.Spec.Path,
		TargetNamespace:         k.Spec.TargetNamespace,
		NamePrefix:              k.Spec.NamePrefix,
		NameSuffix:              k.Spec.NameSuffix,
		Patches:                 k.Spec.Patches,
		Images:                  k.Spec.Images,
		Components:              k.Spec.Components,
		IgnoreMissingComponents: k.Spec.IgnoreMissingComponents,
	}
	for _, option := range k.Spec.BuildMetadata {
		s.BuildMetadata = append(s.BuildMetadata, string(option))
	}
	if m := k.Spec.CommonMetadata; m != nil {
		s.CommonLabels, s.CommonAnnotations = m.Labels, m.Annotations
	}
	if k.Spec.Decryption != nil {
		keys, err := r.decryptionKeys(ctx, k)
		if err != nil {
			r.Builder.Forget(s.Scope) // what was decrypted does not outlive the keys
			r.recall(k).last = nil
			r.recall(k).abandon()
			return s, err
		}
		s.Decrypt = &build.Decryption{Key: keys.ID(), File: keys.File, Object: keys.Object}
	}
	if k.Spec.PostBuild == nil {
		return s, nil
	}
	values, err := r.variables(ctx, k)
	if err != nil {
		return s, err
	}
	s.Substitute = &build.Substitution{
		Variables: values,
		Strict:    !r.LooseSubstitution,
		Always:    k.Spec.PostBuild.SubstituteStrategy == kustomizev1.SubstituteStrategyAlways,
	}
	return s, nil
}

// ignored compiles spec.ignore.
func ignored(k *kustomizev1.Kustomization) (apply.Ignore, error) {
	rules := make([]apply.IgnoreRule, len(k.Spec.Ignore))
	for i, r := range k.Spec.Ignore {
		rules[i].Paths = r.Paths
		if s := r.Target; s != nil {
			rules[i].Selector = &apply.Selector{Group: s.Group, Version: s.Version, Kind: s.Kind, Name: s.Name,
				Namespace: s.Namespace, AnnotationSelector: s.AnnotationSelector, LabelSelector: s.LabelSelector}
		}
	}
	out, err := apply.NewIgnore(rules)
	if err != nil {
		return out, fmt.Errorf("spec.ignore%w", err)
	}
	return out, nil
}

// decryptionKeys collects the keys of spec.decryption: those of its Secret and,
// after them, the age identities that the controller has for all; and who asks
// key services for the rest.
func (r *Reconciler) decryptionKeys(ctx context.Context, k *kustomizev1.Kustomization) (*decryption.Keys, error) {
	var data []map[string][]byte
	if ref := k.Spec.Decryption.SecretRef; ref != nil {
		s, err := secrets.Get(ctx, r.Client, k.Namespace, ref.Name)
		if err != nil {
			return nil, loop.RetryAfter(meta.BuildFailedReason, k.GetRetryInterval(), fmt.Errorf("spec.decryption.secretRef: %w", err))
		}
		data = append(data, s.Data)
	}
	if r.AgeSecret.Name != "" {
		s, err := secrets.Get(ctx, r.Client, r.AgeSecret.Namespace, r.AgeSecret.Name)
		if err != nil {
			return nil, loop.RetryAfter(meta.BuildFailedReason, k.GetRetryInterval(), fmt.Errorf("--sops-age-secret: %w", err))
		}
		shared := maps.Clone(s.Data)
		maps.DeleteFunc(shared, func(name string, _ []byte) bool { return !strings.HasSuffix(name, ".agekey") })
		data = append(data, shared)
	}
	id, err := r.decryptionIdentity(ctx, k)
	if err != nil {
		return nil, err
	}
	return decryption.NewKeys(data...).With(id), nil
}

// variables collects the values of spec.postBuild. What stands in the object
// itself wins over what comes from a ConfigMap or Secret, and later references
// win over earlier ones.
func (r *Reconciler) variables(ctx context.Context, k *kustomizev1.Kustomization) (map[string]string, error) {
	values := map[string]string{}
	for i, ref := range k.Spec.PostBuild.SubstituteFrom {
		key := client.ObjectKey{Namespace: k.Namespace, Name: ref.Name}
		var found map[string]string
		var err error
		switch ref.Kind {
		case "Secret":
			found, err = r.secretValues(ctx, key)
		default: // the schema allows only one other
			found, err = r.configValues(ctx, key)
		}
		if ref.Optional && (apierrors.IsNotFound(err) || errors.Is(err, secrets.ErrNotFound)) {
			continue
		}
		if err != nil {
			return nil, loop.RetryAfter(meta.BuildFailedReason, k.GetRetryInterval(),
				fmt.Errorf("spec.postBuild.substituteFrom[%d]: %s %q: %w", i, ref.Kind, key, err))
		}
		maps.Copy(values, found)
	}
	maps.Copy(values, k.Spec.PostBuild.Substitute)
	return values, nil
}

func (r *Reconciler) secretValues(ctx context.Context, key client.ObjectKey) (map[string]string, error) {
	s, err := secrets.Get(ctx, r.Client, key.Namespace, key.Name)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(s.Data))
	for name, value := range s.Data {
		out[name] = string(value)
	}
	return out, nil
}

func (r *Reconciler) configValues(ctx context.Context, key client.ObjectKey) (map[string]string, error) {
	c := &corev1.ConfigMap{}
	if err := r.Client.Get(ctx, key, c); err != nil {
		return nil, err
	}
	return c.Data, nil
}
