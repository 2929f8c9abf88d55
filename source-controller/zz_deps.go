//go:build never

package main

import (
	_ "github.com/Masterminds/semver/v3"
	_ "github.com/fluxcd/pkg/apis/meta"
	_ "k8s.io/api/core/v1"
	_ "sigs.k8s.io/controller-runtime"
	_ "github.com/google/go-cmp/cmp"
)
