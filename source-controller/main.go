// Source-controller publishes the content of Git repositories and of registries as
// artifacts that the other controllers read.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/process"
	"github.com/weirhq/weir/internal/registry"
	"github.com/weirhq/weir/source-controller/internal/bucket"
	"github.com/weirhq/weir/source-controller/internal/custody"
	"github.com/weirhq/weir/source-controller/internal/fileserver"
	"github.com/weirhq/weir/source-controller/internal/gitrepository"
	"github.com/weirhq/weir/source-controller/internal/ocirepository"
	"github.com/weirhq/weir/source-controller/internal/replica"
	"github.com/weirhq/weir/source-controller/internal/signature"
)

// options are the flags of this program.
type options struct {
	storagePath, storageAddr, storageAdvAddr string
	storageAuth                              bool
	peers                                    []string
	tokenFile                                string
	retentionTTL                             time.Duration
	retentionRecords                         int
	digestAlgo                               string
	kexAlgos, hostKeyAlgos                   []string
	tokens                                   cloudlogin.Flags
	helm                                     helmOptions
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.storagePath, "storage-path", environment("STORAGE_PATH", "/data"), "The folder of the artifacts.")
	fs.StringVar(&o.storageAddr, "storage-addr", environment("STORAGE_ADDRESS", ":9090"), "The address of the artifact file server.")
	fs.StringVar(&o.storageAdvAddr, "storage-adv-addr", os.Getenv("STORAGE_ADV_ADDR"), "The host[:port] of the file server in the URLs of artifacts; by default the host's name and the port of --storage-addr.")
	fs.BoolVar(&o.storageAuth, "storage-auth", false, "Serve artifacts only to who shows a token for the audience weir-artifacts of a service account that may get the subresource artifact of the source.")
	fs.StringSliceVar(&o.peers, "storage-peers", nil, "The file servers of all replicas, as host:port, from which those that do not lead copy artifacts; a name stands for all its addresses.")
	fs.StringVar(&o.tokenFile, "artifact-token-file", "", "A file with the token that is shown to the other replicas; needed with --storage-auth and --storage-peers.")
	fs.DurationVar(&o.retentionTTL, "artifact-retention-ttl", time.Minute, "How long an artifact stays after a newer one was stored.")
	fs.IntVar(&o.retentionRecords, "artifact-retention-records", 2, "How many artifacts of an object stay in any case.")
	fs.StringVar(&o.digestAlgo, "artifact-digest-algo", "sha256", "The digest algorithm of artifacts: sha1, sha256, sha384, sha512 or blake3.")
	fs.StringSliceVar(&o.kexAlgos, "ssh-kex-algos", nil, "The key exchange algorithms offered to SSH servers, by preference; the library's by default.")
	fs.StringSliceVar(&o.hostKeyAlgos, "ssh-hostkey-algos", nil, "The host key algorithms accepted of SSH servers, by preference; the library's by default.")
	o.tokens.Bind(fs)
	o.helm.bind(fs)
}

func environment(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func main() {
	var o options
	process.Main(process.Program{
		Name:        "source-controller",
		Concurrent:  2,
		AddToScheme: []func(*runtime.Scheme) error{sourcev1.AddToScheme},
		Kinds:       []client.Object{&sourcev1.GitRepository{}, &sourcev1.OCIRepository{}, &sourcev1.Bucket{}, &sourcev1.HelmRepository{}, &sourcev1.HelmChart{}},
		Gates:       map[string]bool{cloudlogin.Gate: false},
		Flags:       o.bind,
		Setup:       o.setup,
	})
}

func (o *options) setup(ctx context.Context, env *process.Env) error {
	host, err := o.advertised()
	if err != nil {
		return err
	}
	store, err := artifact.NewStore(artifact.StoreOptions{
		Dir: o.storagePath, Host: host, Algorithm: o.digestAlgo,
		RetentionTTL: o.retentionTTL, RetentionRecords: o.retentionRecords,
	})
	if err != nil {
		return err
	}
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: filepath.Join(o.storagePath, ".weir", "unpacked")})
	if err != nil {
		return err
	}
	mirrors, err := gitrepo.NewPool(gitrepo.Options{
		Dir: filepath.Join(o.storagePath, ".weir", "git"), KexAlgos: o.kexAlgos, HostKeyAlgos: o.hostKeyAlgos,
	})
	if err != nil {
		return err
	}
	env.State.Add("store", func() any { return store.State() })
	env.State.Add("artifacts", func() any { return fetcher.State() })
	env.State.Add("mirrors", func() any { return mirrors.State() })
	kept, err := o.serve(env, store)
	if err != nil {
		return err
	}
	logins, err := o.tokens.Logins(env)
	if err != nil {
		return err
	}
	err = gitrepository.New(gitrepository.Options{
		Client: env.Manager.GetClient(), Recorder: env.Recorder, Store: store, Fetcher: fetcher, Mirrors: mirrors,
		Auth: gitauth.New(gitauth.Options{
			Secrets: env.Manager.GetClient(), Logins: logins,
			Apps: githubapp.NewTokens(githubapp.TokensOptions{Max: o.tokens.MaxTokens, MaxDuration: o.tokens.MaxDuration}),
		}),
		Packs: env.Concurrent, RequeueDependency: env.RequeueDependency, Bell: kept.bells[sourcev1.GitRepositoryKind], Fetch: kept.fetch,
	}).Setup(ctx, env)
	if err != nil {
		return err
	}
	err = ocirepository.New(ocirepository.Options{
		Client: env.Manager.GetAPIReader(), Recorder: env.Recorder, Store: store, Fetcher: fetcher,
		Registry: &registry.Client{}, Public: &signature.Public{}, Logins: logins, Pulls: env.Concurrent,
		Bell: kept.bells[sourcev1.OCIRepositoryKind], Fetch: kept.fetch,
	}).Setup(env)
	if err != nil {
		return err
	}
	err = bucket.New(bucket.Options{
		Client: env.Manager.GetAPIReader(), Recorder: env.Recorder, Store: store, Logins: logins,
		CacheDir: filepath.Join(o.storagePath, ".weir", "buckets"), Pulls: env.Concurrent,
		Bell: kept.bells[sourcev1.BucketKind], Fetch: kept.fetch,
	}).Setup(env)
	if err != nil {
		return err
	}
	return o.helm.setup(ctx, env, store, fetcher, logins, kept)
}

// keeping is what keeps artifacts there.
type keeping struct {
	bells map[string]*loop.Bell // bring objects back, by kind
	fetch custody.Fetch         // from other replicas; nil when there are none
}

// serve registers the file server and what keeps its files.
func (o *options) serve(env *process.Env, store *artifact.Store) (*keeping, error) {
	bells := map[string]*loop.Bell{}
	for _, kind := range []string{
		sourcev1.GitRepositoryKind, sourcev1.OCIRepositoryKind, sourcev1.BucketKind, sourcev1.HelmRepositoryKind, sourcev1.HelmChartKind,
	} {
		bells[kind] = &loop.Bell{}
	}
	identity, err := artifact.NewToken(o.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("--artifact-token-file: %w", err)
	}
	if o.storageAuth && len(o.peers) > 0 && identity == nil {
		return nil, errors.New("--storage-auth and --storage-peers need --artifact-token-file: the replicas ask each other")
	}
	peers, err := replica.NewPeers(o.peers, identity)
	if err != nil {
		return nil, fmt.Errorf("--storage-peers: %w", err)
	}
	copier := replica.New(replica.Options{
		Client: env.Manager.GetClient(), Store: store, Peers: peers, Leading: env.Manager.Elected(), Log: env.Log.WithName("replica"),
		Lost: func(kind string, key types.NamespacedName) { bells[kind].Ring(key) },
	})
	if err := copier.Setup(env); err != nil {
		return nil, err
	}
	handler := copier.Handler(store.Handler())
	if o.storageAuth {
		handler = fileserver.NewGuard(env.Manager.GetClient(), env.Log.WithName("file-server"), handler)
	}
	kept := &keeping{bells: bells}
	if len(o.peers) > 0 {
		kept.fetch = copier.Fetch
	}
	server := fileserver.New(o.storageAddr, handler, env.Log.WithName("file-server"))
	env.AtTheEnd(server.Finish)
	return kept, env.Manager.Add(server)
}

// advertised returns the host[:port] that goes into the URLs of artifacts.
func (o *options) advertised() (string, error) {
	if o.storageAdvAddr != "" {
		return o.storageAdvAddr, nil
	}
	host, port, err := net.SplitHostPort(o.storageAddr)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(host, port), nil
}
