package cloudlogin

import (
	"fmt"
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

// lockDown makes the service account of that name log in for objects that name none,
// in place of this program; "" leaves it to the program. Without the gate nobody could
// log in.
func lockDown(account string) error {
	auth.SetDefaultServiceAccount(account)
	if auth.InconsistentObjectLevelConfiguration() {
		auth.SetDefaultServiceAccount("")
		return fmt.Errorf("--default-service-account=%s: %w: set --feature-gates=%s=true", account, ErrGate, Gate)
	}
	return nil
}

// Logins prepares logging in. Its client has no cache: one of all service accounts
// would be for a few of them.
func (f Flags) Logins(env *process.Env) (*Logins, error) {
	if env.Enabled(Gate) {
		auth.EnableObjectLevelWorkloadIdentity()
	}
	if err := lockDown(env.DefaultServiceAccount); err != nil {
		return nil, err
	}
	direct, err := client.New(env.Manager.GetConfig(), client.Options{Scheme: env.Manager.GetScheme()})
	if err != nil {
		return nil, err
	}
	return New(Options{Client: direct, MaxTokens: f.MaxTokens, MaxDuration: f.MaxDuration})
}
