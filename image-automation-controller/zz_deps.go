//go:build never

package main

import (
	_ "github.com/Masterminds/semver/v3"
	_ "github.com/fluxcd/pkg/apis/meta"
	_ "github.com/google/go-containerregistry/pkg/v1/remote"
	_ "github.com/google/go-containerregistry/pkg/registry"
	_ "k8s.io/api/core/v1"
	_ "sigs.k8s.io/controller-runtime"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/Masterminds/sprig/v3"
	_ "go.yaml.in/yaml/v3"
	_ "github.com/go-git/go-git/v5"
	_ "github.com/rogpeppe/go-internal/txtar"
)
