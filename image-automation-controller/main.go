// Image-automation-controller scans image repositories, picks the latest tag by
// policy and writes it into Git.
package main

import (
	"context"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/weirhq/weir/api/image/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/image-automation-controller/internal/buildtime"
	"github.com/weirhq/weir/image-automation-controller/internal/imagepolicy"
	"github.com/weirhq/weir/image-automation-controller/internal/imagerepository"
	"github.com/weirhq/weir/image-automation-controller/internal/imageupdate"
	"github.com/weirhq/weir/image-automation-controller/internal/tagdb"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
)

// gitForcePushBranch is the gate under which a push branch that is not the
// checkout branch is started from the checkout each time.
const gitForcePushBranch = "GitForcePushBranch"

// options are the flags of this program.
type options struct {
	storage               string
	kexAlgos, hostKeyAlgo []string
	tokens                cloudlogin.Flags
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.storage, "storage-path", "/data", "The folder for tags and Git mirrors. It may be emptied while the program is down.")
	fs.StringSliceVar(&o.kexAlgos, "ssh-kex-algos", nil, "The key exchange algorithms for SSH, in order of preference; empty means the default list.")
	fs.StringSliceVar(&o.hostKeyAlgo, "ssh-hostkey-algos", nil, "The host key algorithms for SSH, in order of preference; empty means the default list.")
	o.tokens.Bind(fs)
}

func main() {
	var o options
	process.Main(process.Program{
		Name:        "image-automation-controller",
		AddToScheme: []func(*runtime.Scheme) error{imagev1.AddToScheme, sourcev1.AddToScheme},
		Kinds:       []client.Object{&imagev1.ImageRepository{}, &imagev1.ImagePolicy{}, &imagev1.ImageUpdateAutomation{}},
		Flags:       o.bind,
		Inert:       []string{"storage-value-log-file-size", "storage-compression-threshold", "gc-interval"},
		Gates:       map[string]bool{gitForcePushBranch: true, cloudlogin.Gate: false},
		Moot: map[string]string{
			"GitShallowClone":        "nothing is cloned: of a commit only what the mirror lacks is fetched",
			"GitAllBranchReferences": "nothing is cloned: each branch is looked up when it is needed",
			"GitSparseCheckout":      "nothing is checked out: only files below update.path are read",
			"FluxStorage":            "tags are kept in a file for each ImageRepository in any case",
		},
		Setup: o.setup,
	})
}

// setup builds the parts and registers the three kinds.
func (o *options) setup(ctx context.Context, env *process.Env) error {
	tags, err := tagdb.Open(filepath.Join(o.storage, "tags"))
	if err != nil {
		return err
	}
	mirrors, err := gitrepo.NewPool(gitrepo.Options{Dir: filepath.Join(o.storage, "git"), KexAlgos: o.kexAlgos, HostKeyAlgos: o.hostKeyAlgo})
	if err != nil {
		return err
	}
	env.State.Add("mirrors", func() any { return mirrors.State() })
	images := &registry.Client{}
	built, err := buildtime.Open(filepath.Join(o.storage, "built"), images)
	if err != nil {
		return err
	}
	logins, err := o.tokens.Logins(env)
	if err != nil {
		return err
	}
	access := imagerepository.Access{Reader: env.Manager.GetAPIReader(), Logins: logins}
	if err := imagerepository.Setup(env, access, images, tags); err != nil {
		return err
	}
	if err := imagepolicy.Setup(ctx, env, imagepolicy.Options{Access: access, Registry: images, Tags: tags, Built: built}); err != nil {
		return err
	}
	auth := gitauth.New(gitauth.Options{
		Secrets: env.Manager.GetAPIReader(), Logins: logins,
		Apps: githubapp.NewTokens(githubapp.TokensOptions{Max: o.tokens.MaxTokens, MaxDuration: o.tokens.MaxDuration}),
	})
	return imageupdate.Setup(env, mirrors, auth, env.Enabled(gitForcePushBranch))
}
