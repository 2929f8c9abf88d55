//go:build never

package api

import (
	_ "github.com/fluxcd/pkg/apis/acl"
	_ "github.com/fluxcd/pkg/apis/event/v1beta1"
	_ "github.com/fluxcd/pkg/apis/kustomize"
	_ "github.com/fluxcd/pkg/apis/meta"
	_ "github.com/google/go-cmp/cmp"
	_ "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	_ "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "k8s.io/api/core/v1"
)
