package build

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/weirhq/weir/internal/artifact"
)

// RemoteLoader fetches what kustomizations name by URL. Its errors wrap
// ErrRemote and show no credentials of a URL.
type RemoteLoader interface {
	// Resolve returns the ID of what a URL stands for at this moment.
	Resolve(ctx context.Context, url string) (id string, err error)
	// Load fetches it. The ID of the result is another one than that given if it
	// has changed meanwhile.
	Load(ctx context.Context, url, id string) (*Remote, error)
}

// Remote is what a URL stands for.
type Remote struct {
	ID   string         // names the content: equal IDs, equal trees
	Name string         // a relative path that is shown to people
	Tree *artifact.Tree // in memory
	Path string         // in Tree, of the folder or file that is meant
}

// maxRemotes bounds the URLs of one build.
const maxRemotes = 50

// mountPoint is where fetched content is in the tree of a build.
const mountPoint = "/.remote"

// errNeeded ends a build that names a URL whose content is not here yet.
var errNeeded = errors.New("something has to be fetched first")

// farFact is a URL and what it stood for.
type farFact struct{ url, id string }

// remotes is what was fetched for one call of Build. It belongs to its goroutine.
type remotes struct {
	ctx    context.Context
	loader RemoteLoader
	ids    map[string]string  // asked in this call, by URL
	here   map[string]*Remote // by URL
	needed []string
	err    error // of asking
}

func newRemotes(ctx context.Context, l RemoteLoader) *remotes {
	if l == nil {
		return nil
	}
	return &remotes{ctx: ctx, loader: l, ids: map[string]string{}, here: map[string]*Remote{}}
}

// same reports whether URLs still stand for what they did. Each is asked once.
func (f *remotes) same(facts []farFact) bool {
	for _, fact := range facts {
		id, err := f.resolve(fact.url)
		if err != nil || id != fact.id {
			return false
		}
	}
	return true
}

func (f *remotes) resolve(url string) (string, error) {
	if id, ok := f.ids[url]; ok {
		return id, nil
	}
	id, err := f.loader.Resolve(f.ctx, url)
	if err != nil {
		f.err = fmt.Errorf("%q: %w", shownURL(url), err)
		return "", f.err
	}
	f.ids[url] = id
	return id, nil
}

// load fetches what is needed.
func (f *remotes) load(ctx context.Context) error {
	for _, url := range f.needed {
		if len(f.here) == maxRemotes {
			return fmt.Errorf("%w: it names more than %d URLs", ErrTooLarge, maxRemotes)
		}
		id, err := f.resolve(url)
		if err != nil {
			return err
		}
		got, err := f.loader.Load(ctx, url, id)
		if err != nil {
			return fmt.Errorf("%q: %w", shownURL(url), err)
		}
		f.ids[url], f.here[url] = got.ID, got
	}
	f.needed = nil
	return nil
}

// bringNear returns a kustomization file in which URLs are paths to what they
// stand for, which is in the tree then. Other files are returned as they are.
func (r *recorder) bringNear(p string, data []byte) ([]byte, error) {
	if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(p)) {
		return data, nil
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return data, nil // for kustomize to explain
	}
	k.FixKustomization()
	info, err := r.ask(p, true)
	if err != nil {
		return nil, err
	}
	var urls []string
	eachURL(&k, func(s string) string { urls = append(urls, s); return s })
	if len(urls) == 0 {
		return data, nil
	}
	missing := slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return r.remotes.here[u] != nil })
	if len(missing) > 0 {
		slices.Sort(missing)
		r.remotes.needed = slices.Compact(missing)
		return nil, r.refuse(errNeeded)
	}
	dir := path.Dir(info.Real)
	eachURL(&k, func(s string) string { return r.mount(dir, s) })
	if r.err != nil {
		return nil, r.err
	}
	return yaml.Marshal(&k)
}

// mount puts what a URL stands for into the tree and returns the way to it from dir.
func (r *recorder) mount(dir, url string) string {
	far := r.remotes.here[url]
	at := path.Join(mountPoint, path.Join("/", far.Name))
	if !slices.Contains(r.mounts, at) {
		tree, err := r.tree.Mount(at, far.Tree)
		if err != nil {
			_ = r.refuse(err)
			return url
		}
		r.tree, r.mounts = tree, append(r.mounts, at)
	}
	if fact := (farFact{url, far.ID}); !slices.Contains(r.far, fact) {
		r.far = append(r.far, fact)
	}
	rel, err := filepath.Rel(dir, path.Join(at, far.Path))
	if err != nil {
		_ = r.refuse(err)
	}
	return rel
}

// mounted returns where the content that p belongs to is mounted, "" for what
// belongs to the tree itself.
func (r *recorder) mounted(p string) string {
	if !strings.HasPrefix(p, mountPoint+"/") {
		return ""
	}
	for _, at := range r.mounts {
		if p == at || strings.HasPrefix(p, at+"/") {
			return at
		}
	}
	return ""
}

// inside returns p as seen from the root of what it belongs to, so that a
// fetched file cannot name what is outside of its own source.
func (r *recorder) inside(p string) string {
	if at := r.mounted(p); at != "" {
		return path.Join("/", strings.TrimPrefix(p, at))
	}
	return p
}

// eachURL replaces every URL of a kustomization by what change makes of it.
func eachURL(k *types.Kustomization, change func(string) string) {
	one := func(s *string) {
		if *s != "" && !strings.Contains(*s, "\n") && remote(*s) {
			*s = change(*s)
		}
	}
	each := func(lists ...[]string) {
		for _, list := range lists {
			for i := range list {
				one(&list[i])
			}
		}
	}
	each(k.Resources, k.Bases, k.Components, k.Crds, k.Configurations, k.Generators, k.Transformers, k.Validators)
	if p, ok := k.OpenAPI["path"]; ok {
		one(&p)
		k.OpenAPI["path"] = p
	}
	for i := range k.Patches {
		one(&k.Patches[i].Path)
	}
	for i := range k.PatchesJson6902 {
		one(&k.PatchesJson6902[i].Path)
	}
	for i := range k.PatchesStrategicMerge {
		s := string(k.PatchesStrategicMerge[i])
		one(&s)
		k.PatchesStrategicMerge[i] = types.PatchStrategicMerge(s)
	}
	for i := range k.Replacements {
		one(&k.Replacements[i].Path)
	}
	generator := func(s *types.KvPairSources) {
		each(s.EnvSources)
		one(&s.EnvSource)
		for i, f := range s.FileSources {
			name, p, named := strings.Cut(f, "=")
			if !named {
				name, p = "", f
			}
			one(&p)
			if named {
				p = name + "=" + p
			}
			s.FileSources[i] = p
		}
	}
	for i := range k.ConfigMapGenerator {
		generator(&k.ConfigMapGenerator[i].KvPairSources)
	}
	for i := range k.SecretGenerator {
		generator(&k.SecretGenerator[i].KvPairSources)
	}
}

// shownURL is a URL without the user, the password and the query in it.
func shownURL(s string) string {
	if before, _, ok := strings.Cut(s, "?"); ok {
		s = before
	}
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if at := strings.LastIndexByte(strings.SplitN(rest, "/", 2)[0], '@'); at >= 0 {
			return scheme + "://" + rest[at+1:]
		}
	}
	return s
}
