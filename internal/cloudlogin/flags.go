package cloudlogin

import (
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/spf13/pflag"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/internal/process"
)

// Gate lets service accounts that objects name log in. It is off by default.
const Gate = auth.FeatureGateObjectLevelWorkloadIdentity

// Flags are those of a program that logs in.
type Flags struct {
	MaxTokens   int
	MaxDuration time.Duration
}

// Bind adds the flags.
func (f *Flags) Bind(fs *pflag.FlagSet) {
	fs.IntVar(&f.MaxTokens, "token-cache-max-size", 100, "How many credentials of cloud providers are kept.")
	fs.DurationVar(&f.MaxDuration, "token-cache-max-duration", time.Hour, "How long a credential of a cloud provider is used; an hour at the most.")
}

// Logins prepares logging in. Its client has no cache: one of all service accounts
// would be for a few of them.
func (f Flags) Logins(env *process.Env) (*Logins, error) {
	if env.Enabled(Gate) {
		auth.EnableObjectLevelWorkloadIdentity()
	}
	direct, err := client.New(env.Manager.GetConfig(), client.Options{Scheme: env.Manager.GetScheme()})
	if err != nil {
		return nil, err
	}
	return New(Options{Client: direct, MaxTokens: f.MaxTokens, MaxDuration: f.MaxDuration})
}
