package kustomization

import (
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/cache"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/secrets"
	"github.com/weirhq/weir/kustomize-controller/internal/decryption"
)

// account is a service account; the zero name is the controller's own identity.
type account = client.ObjectKey

// gateDisabled says that a field needs a service account to authenticate.
func gateDisabled(field string) error {
	return loop.Stall(meta.FeatureGateDisabledReason, fmt.Errorf(
		"%s needs the feature gate ObjectLevelWorkloadIdentity of the controller", field))
}

// liveClient reads from the API server: a cache of all service accounts would
// cost more than it saves.
type liveClient struct {
	client.Client
	live client.Reader
}

// Get implements client.Reader.
func (c liveClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
	return c.live.Get(ctx, key, obj, o...)
}

// as are the options by which the clouds' libraries act as an account.
func (r *Reconciler) as(a account) []auth.Option {
	if a.Name == "" {
		return nil
	}
	return []auth.Option{auth.WithClient(liveClient{r.Client, r.Live}),
		auth.WithServiceAccountName(a.Name), auth.WithServiceAccountNamespace(a.Namespace)}
}

// involved says in metrics what a token is for.
func involved(k *kustomizev1.Kustomization, operation string) cache.InvolvedObject {
	return cache.InvolvedObject{Kind: kustomizev1.KustomizationKind, Name: k.Name, Namespace: k.Namespace, Operation: operation}
}

// decryptionIdentity is who asks key services for which the Secret has no
// credential: the service account of the spec, else that of the controller's
// flag, else the controller itself.
func (r *Reconciler) decryptionIdentity(ctx context.Context, k *kustomizev1.Kustomization) (decryption.Identity, error) {
	id := decryption.Identity{Tokens: r.Tokens, Object: involved(k, "")}
	who := account{Namespace: k.Namespace, Name: k.Spec.Decryption.ServiceAccountName}
	if who.Name == "" && r.DecryptionAccount == "" {
		id.ID, id.Vault = "the controller", r.vault(account{})
		return id, nil
	}
	named := who.Name != ""
	if !named {
		who.Name = r.DecryptionAccount
	}
	if !r.WorkloadIdentity {
		return id, gateDisabled("spec.decryption.serviceAccountName")
	}
	sa := &corev1.ServiceAccount{}
	err := r.Live.Get(ctx, who, sa)
	switch {
	case apierrors.IsNotFound(err) && !named: // it may not be needed
		id.Absent = fmt.Sprintf("the service account %q, which --default-decryption-service-account names, does not exist in namespace %q", who.Name, who.Namespace)
		return id, nil
	case err != nil:
		return id, loop.RetryAfter(meta.BuildFailedReason, k.GetRetryInterval(), fmt.Errorf("spec.decryption.serviceAccountName: %w", err))
	}
	// Whose identity it is in a cloud is in annotations.
	id.ID = fmt.Sprintf("service account %s %s %q", who, sa.UID, fmt.Sprint(sa.Annotations))
	id.Options, id.Vault = r.as(who), r.vault(who)
	return id, nil
}

// vaultConfig is the key of the ConfigMap that --sops-vault-configmap names.
const vaultConfig = "config.yaml"

// vault logs in to those Vaults that the controller's ConfigMap lists, as an
// account, with the role <namespace>_<name>; nil when there is no ConfigMap.
func (r *Reconciler) vault(who account) func(context.Context, string) (decryption.VaultLogin, error) {
	if r.VaultConfig.Name == "" {
		return nil
	}
	return func(ctx context.Context, address string) (decryption.VaultLogin, error) {
		config := &corev1.ConfigMap{}
		if err := r.Live.Get(ctx, r.VaultConfig, config); err != nil {
			return decryption.VaultLogin{}, fmt.Errorf("--sops-vault-configmap: %w", err)
		}
		all, err := decryption.ParseVaultInstances(config.Data[vaultConfig])
		if err != nil {
			return decryption.VaultLogin{}, fmt.Errorf("--sops-vault-configmap: %w", err)
		}
		at, err := decryption.FindVault(all, address)
		if err != nil {
			return decryption.VaultLogin{}, err
		}
		if who.Name == "" {
			if who, err = r.self(ctx); err != nil {
				return decryption.VaultLogin{}, err
			}
		}
		return decryption.VaultLogin{Address: at.Address, Path: at.LoginPath, Role: who.Namespace + "_" + who.Name,
			Token: func(ctx context.Context) (string, error) {
				t, err := r.token(ctx, who, at.Address)
				return t.Token, err
			}}, nil
	}
}

// self is the controller's own service account.
func (r *Reconciler) self(ctx context.Context) (account, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := r.Client.Create(ctx, review); err != nil {
		return account{}, fmt.Errorf("asking who the controller is: %w", err)
	}
	parts := strings.Split(review.Status.UserInfo.Username, ":")
	if len(parts) != 4 || parts[1] != "serviceaccount" {
		return account{}, fmt.Errorf("the controller is %q, which is no service account: set spec.decryption.serviceAccountName", review.Status.UserInfo.Username)
	}
	return account{Namespace: parts[2], Name: parts[3]}, nil
}

// tokenLife is how long tokens of service accounts are asked to last, in seconds.
const tokenLife = int64(3600)

// token asks this cluster for a token of an account.
func (r *Reconciler) token(ctx context.Context, who account, audiences ...string) (authenticationv1.TokenRequestStatus, error) {
	life := tokenLife
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: who.Namespace, Name: who.Name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &life}}
	if err := r.Client.SubResource("token").Create(ctx, sa, request); err != nil {
		return request.Status, fmt.Errorf("asking for a token of service account %q: %w", who.Name, err)
	}
	secrets.Register(request.Status.Token)
	return request.Status, nil
}
