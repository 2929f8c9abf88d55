//go:build never

package e2e

import (
	_ "github.com/fluxcd/image-automation-controller/api/v1"
	_ "github.com/fluxcd/image-reflector-controller/api/v1"
	_ "github.com/fluxcd/kustomize-controller/api/v1"
	_ "github.com/fluxcd/notification-controller/api/v1"
	_ "github.com/fluxcd/notification-controller/api/v1beta3"
	_ "github.com/fluxcd/source-controller/api/v1"
	_ "sigs.k8s.io/controller-runtime"
	_ "github.com/google/go-cmp/cmp"
	_ "k8s.io/api/core/v1"
	_ "sigs.k8s.io/randfill"
	_ "github.com/prometheus/common/expfmt"
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/google/go-containerregistry/pkg/registry"
)
