//go:build never

package main

import (
	_ "github.com/fluxcd/pkg/apis/meta"
	_ "github.com/fluxcd/pkg/apis/event/v1beta1"
	_ "k8s.io/api/core/v1"
	_ "sigs.k8s.io/controller-runtime"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/go-github/v82/github"
	_ "github.com/hashicorp/go-retryablehttp"
	_ "go.etcd.io/bbolt"
)
