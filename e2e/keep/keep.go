//go:build keep

// Requirements of what is being written; this file goes when it is imported.
package keep

import (
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "golang.org/x/tools/txtar"
	_ "helm.sh/helm/v4/pkg/chart/v2/loader"
	_ "helm.sh/helm/v4/pkg/engine"
	_ "pgregory.net/rapid"
)
