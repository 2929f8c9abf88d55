//go:build keep

// Requirements of what is being written; this file goes when it is imported.
package main

import (
	_ "github.com/fluxcd/pkg/auth"
	_ "github.com/fluxcd/pkg/auth/aws"
	_ "github.com/fluxcd/pkg/auth/azure"
	_ "github.com/fluxcd/pkg/auth/gcp"
	_ "github.com/fluxcd/pkg/auth/generic"
	_ "github.com/fluxcd/pkg/cache"
	_ "github.com/hashicorp/vault/api"
)
