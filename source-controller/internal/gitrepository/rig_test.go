package gitrepository

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/artifact"
	"github.com/weirhq/weir/internal/cloudlogin"
	"github.com/weirhq/weir/internal/gitauth"
	"github.com/weirhq/weir/internal/githubapp"
	"github.com/weirhq/weir/internal/gitrepo"
	"github.com/weirhq/weir/internal/gitserver"
	"github.com/weirhq/weir/internal/loop"
	"github.com/weirhq/weir/internal/testenv"
	"github.com/weirhq/weir/source-controller/internal/sourcetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var must = sourcetest.Must

// rig reconciles GitRepositories of a Git server.
type rig struct {
	*sourcetest.Rig[*sourcev1.GitRepository]
	git   *gitserver.Server
	share time.Duration // for how long a poll's answer is shared
	o     Options
	// allowLocal lets repositories name other servers of this machine, from the next restart on.
	allowLocal bool
}

func newRig(t *testing.T, o gitserver.Options) *rig {
	t.Helper()
	g := &rig{Rig: sourcetest.NewRig(t, func() *sourcev1.GitRepository { return &sourcev1.GitRepository{} }), share: -1}
	var err error
	g.git, err = gitserver.Start(o)
	must(t, err)
	t.Cleanup(func() { g.git.Close() })
	g.restart()
	return g
}

// restart is a new process over the same storage.
func (g *rig) restart() {
	g.T.Helper()
	g.OpenStore()
	fetcher, err := artifact.NewFetcher(artifact.FetcherOptions{Dir: g.Storage + "/.weir/unpacked"})
	must(g.T, err)
	if g.o.Mirrors != nil {
		must(g.T, g.o.Mirrors.Close())
	}
	mirrors, err := gitrepo.NewPool(gitrepo.Options{Dir: g.Storage + "/.weir/git", PollShare: g.share, AllowLocal: g.allowLocal})
	must(g.T, err)
	logins, err := cloudlogin.New(cloudlogin.Options{Client: g.C})
	must(g.T, err)
	g.o = Options{
		Client: g.C, Recorder: g.Env.Recorder, Store: g.Store, Fetcher: fetcher, Mirrors: mirrors, RequeueDependency: time.Minute,
		Auth: gitauth.New(gitauth.Options{Secrets: g.C, Logins: logins, Apps: githubapp.NewTokens(githubapp.TokensOptions{})}),
	}
	g.Loop = loop.New[*sourcev1.GitRepository](g.Env, New(g.o))
}

// create makes a GitRepository that follows the branch main of the server's
// repository of the same name.
func (g *rig) create(name string, change func(*sourcev1.GitRepository)) {
	g.T.Helper()
	repo := &sourcev1.GitRepository{
		ObjectMeta: g.Meta(name),
		Spec: sourcev1.GitRepositorySpec{
			URL: g.git.URL(name), Interval: duration.New(time.Hour),
			Reference: &sourcev1.GitRepositoryRef{Branch: gitserver.Branch},
		},
	}
	if change != nil {
		change(repo)
	}
	must(g.T, g.C.Create(g.T.Context(), repo))
}

func (g *rig) init(name string, files map[string]string) {
	g.T.Helper()
	must(g.T, g.git.Init(name, files))
}

func (g *rig) commit(name, message string, files map[string]string, remove ...string) string {
	g.T.Helper()
	hash, err := g.git.Commit(name, gitserver.Branch, message, files, remove...)
	must(g.T, err)
	return hash
}

func names(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
