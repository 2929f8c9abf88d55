//go:build never

package main

import (
	_ "github.com/fluxcd/pkg/apis/meta"
	_ "github.com/fluxcd/pkg/envsubst"
	_ "github.com/fluxcd/pkg/apis/kustomize"
	_ "k8s.io/api/core/v1"
	_ "sigs.k8s.io/controller-runtime"
	_ "github.com/google/go-cmp/cmp"
	_ "sigs.k8s.io/yaml"
	_ "k8s.io/client-go/metadata"
	_ "github.com/fluxcd/cli-utils/pkg/object"
)
