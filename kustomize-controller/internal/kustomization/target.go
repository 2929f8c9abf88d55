package kustomization

import (
	"context"
	"errors"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/apply"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/kustomize-controller/internal/remote"
)

// kubeconfigKeys are where a Secret has the kubeconfig when the reference names
// no key, in this order.
var kubeconfigKeys = []string{"value", "value.yaml"}

// applier acts on the cluster of k, and as its service account if there is one.
func (r *Reconciler) applier(ctx context.Context, k *kustomizev1.Kustomization) (*apply.Applier, error) {
	cluster, err := r.cluster(ctx, k)
	if err != nil {
		return nil, err
	}
	return cluster.As(r.user(k)), nil
}

// here is this cluster with the rights of k.
func (r *Reconciler) here(k *kustomizev1.Kustomization) *apply.Applier {
	return r.Cluster.As(r.user(k))
}

// user is who acts for k; "" is the controller, or the user of a kubeconfig.
func (r *Reconciler) user(k *kustomizev1.Kustomization) string {
	account := k.Spec.ServiceAccountName
	if account == "" {
		account = r.DefaultServiceAccount
	}
	if account == "" {
		return ""
	}
	return "system:serviceaccount:" + k.Namespace + ":" + account
}

// cluster returns the cluster that k is applied to.
func (r *Reconciler) cluster(ctx context.Context, k *kustomizev1.Kustomization) (cluster *apply.Cluster, err error) {
	owner, ref := client.ObjectKeyFromObject(k), k.Spec.KubeConfig
	switch {
	case ref == nil:
		r.Remote.Leave(owner)
		return r.Cluster, nil
	case ref.SecretRef != nil:
		cluster, err = r.fromSecret(ctx, k, ref.SecretRef)
	case ref.ConfigMapRef != nil:
		cluster, err = r.fromConfigMap(ctx, k, ref.ConfigMapRef.Name)
	default:
		err = loop.Stall(meta.ReconciliationFailedReason, errors.New("spec.kubeConfig names neither a Secret nor a ConfigMap"))
	}
	if err != nil {
		r.Remote.Leave(owner) // it has no right to what it used before, either
	}
	return cluster, err
}

func (r *Reconciler) fromSecret(ctx context.Context, k *kustomizev1.Kustomization, ref *meta.SecretKeyReference) (*apply.Cluster, error) {
	again := func(err error) error {
		return loop.RetryAfter(meta.ReconciliationFailedReason, k.GetRetryInterval(), fmt.Errorf("spec.kubeConfig.secretRef: %w", err))
	}
	secret, err := secrets.Get(ctx, r.Client, k.Namespace, ref.Name)
	if err != nil {
		return nil, again(err)
	}
	keys := kubeconfigKeys
	if ref.Key != "" {
		keys = []string{ref.Key}
	}
	for _, key := range keys {
		if data := secret.Data[key]; len(data) > 0 {
			cluster, err := r.Remote.Use(client.ObjectKeyFromObject(k), data)
			if err != nil {
				return nil, again(fmt.Errorf("secret %q, key %q: %w", ref.Name, key, err))
			}
			return cluster, nil
		}
	}
	return nil, again(fmt.Errorf("secret %q has no kubeconfig: its key %q is missing or empty", ref.Name, keys[0]))
}

func (r *Reconciler) fromConfigMap(ctx context.Context, k *kustomizev1.Kustomization, name string) (*apply.Cluster, error) {
	failed := func(err error) error {
		return loop.RetryAfter(meta.ReconciliationFailedReason, k.GetRetryInterval(), fmt.Errorf("spec.kubeConfig.configMapRef: %w", err))
	}
	c := &corev1.ConfigMap{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: name}, c); err != nil {
		return nil, failed(err)
	}
	at, err := remote.ParseAddress(c.Data, r.KubeconfigAccount)
	if err != nil {
		return nil, failed(fmt.Errorf("config map %q: %w", name, err))
	}
	if at.Account != "" && !r.WorkloadIdentity {
		return nil, gateDisabled("the service account of spec.kubeConfig.configMapRef")
	}
	owner := client.ObjectKeyFromObject(k)
	var cluster *apply.Cluster
	if at.Provider == remote.Generic {
		cluster, err = r.Remote.UseAddress(owner, at, r.tokens(k.Namespace, at))
	} else {
		cluster, err = r.Remote.UseCloud(ctx, owner, at, r.connect(k, at))
	}
	if err != nil {
		return nil, failed(fmt.Errorf("config map %q: %w", name, err))
	}
	return cluster, nil
}

// tokens asks this cluster for tokens of the address's service account.
func (r *Reconciler) tokens(namespace string, at remote.Address) func(context.Context) (remote.Token, error) {
	return func(ctx context.Context) (remote.Token, error) {
		t, err := r.token(ctx, account{Namespace: namespace, Name: at.Account}, at.Audiences...)
		return remote.Token{Value: t.Token, Expires: t.ExpirationTimestamp.Time}, err
	}
}
