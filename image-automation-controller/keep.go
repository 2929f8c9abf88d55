//go:build keep

// Requirements of what is being written; this file goes when it is imported.
package main

import (
	_ "code.gitea.io/sdk/gitea"
	_ "github.com/fluxcd/pkg/auth"
	_ "github.com/fluxcd/pkg/auth/aws"
	_ "github.com/fluxcd/pkg/auth/azure"
	_ "github.com/fluxcd/pkg/auth/gcp"
	_ "github.com/fluxcd/pkg/auth/githubapp"
	_ "github.com/google/go-github/v82/github"
	_ "gitlab.com/gitlab-org/api/client-go"
)
