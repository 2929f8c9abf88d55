package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/toolkit"
)

// Nothing is polled for but where a job says so.
const never = 10 * time.Hour

func manifest(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n  value: %q\n", name, namespace, value)
}

// files are ConfigMaps prefix-0 to prefix-(count-1) in one folder, one file
// each.
func files(dir, prefix string, count int, value string) map[string]string {
	out := map[string]string{}
	for i := range count {
		name := fmt.Sprintf("%s-%d", prefix, i)
		out[dir+"/"+name+".yaml"] = manifest(name, value)
	}
	return out
}

func (l *lab) repository(ctx context.Context, name string, content map[string]string) error {
	if err := l.git.Init(name, content); err != nil {
		return err
	}
	if err := l.c.Create(ctx, &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: sourcev1.GitRepositorySpec{
			URL: l.git.URL(name), Interval: duration.New(never), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		},
	}); err != nil {
		return err
	}
	return l.seen.until("fetching "+name, func() bool { return l.seen.fetched[name] != "" })
}

func (l *lab) kustomization(ctx context.Context, name, repository, path string, interval time.Duration, dependsOn ...string) error {
	k := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: kustomizev1.KustomizationSpec{
			Interval: duration.New(interval), Prune: true, Path: path,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: repository},
		},
	}
	for _, d := range dependsOn {
		k.Spec.DependsOn = append(k.Spec.DependsOn, kustomizev1.DependencyReference{Name: d})
	}
	return l.c.Create(ctx, k)
}

// poke asks for a reconciliation of a GitRepository, as a webhook does.
func (l *lab) poke(ctx context.Context, name string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, time.Now().Format(time.RFC3339Nano))
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	return l.c.Patch(ctx, repo, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

func (l *lab) valuesAre(prefix string, count int, value string) func() bool {
	return func() bool {
		for i := range count {
			if l.seen.values[fmt.Sprintf("%s-%d", prefix, i)] != value {
				return false
			}
		}
		return true
	}
}

func (l *lab) single(ctx context.Context) error {
	if err := l.repository(ctx, "single", files("app", "single", l.o.one, "one")); err != nil {
		return err
	}
	if err := l.kustomization(ctx, "single", "single", "./app", never); err != nil {
		return err
	}
	if err := l.seen.until("installing", func() bool { return l.seen.states["single"].ready }); err != nil {
		return err
	}
	return l.measure(ctx, fmt.Sprintf("commit to applied, 1 of %d objects changed", l.o.one), func() error {
		if _, err := l.git.Commit("single", "main", "change one", map[string]string{"app/single-0.yaml": manifest("single-0", "two")}); err != nil {
			return err
		}
		return l.pokeUntil(ctx, "single", func() bool { return l.seen.values["single-0"] == "two" })
	})
}

func (l *lab) pokeUntil(ctx context.Context, repository string, check func() bool) error {
	if err := l.poke(ctx, repository); err != nil {
		return err
	}
	return l.seen.until("applying", check)
}

func (l *lab) handEdit(ctx context.Context) error {
	if err := l.measure(ctx, fmt.Sprintf("commit to applied, all %d objects changed", l.o.one), func() error {
		if _, err := l.git.Commit("single", "main", "change all", files("app", "single", l.o.one, "three")); err != nil {
			return err
		}
		return l.pokeUntil(ctx, "single", l.valuesAre("single", l.o.one, "three"))
	}); err != nil {
		return err
	}
	return l.measure(ctx, "hand edit to corrected", func() error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "single-7", Namespace: namespace}}
		if err := l.c.Patch(ctx, cm, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"value":"edited"}}`)), client.FieldOwner("kubectl-edit")); err != nil {
			return err
		}
		if err := l.seen.until("seeing the edit", func() bool { return l.seen.values["single-7"] != "" }); err != nil {
			return err
		}
		return l.corrected(ctx, "single-7", "three")
	})
}

// corrected waits until the API server has the value again. The watch may show
// the old value, the edit and the correction in one breath, so the object
// itself is asked.
func (l *lab) corrected(ctx context.Context, name, want string) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		cm := &corev1.ConfigMap{}
		err := l.c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cm)
		if err == nil && cm.Data["value"] == want {
			return nil
		}
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return fmt.Errorf("%s does not get the value %q back", name, want)
}

func (l *lab) deleted(ctx context.Context) error {
	return l.measure(ctx, "deleted by hand to restored", func() error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "single-8", Namespace: namespace}}
		if err := l.c.Delete(ctx, cm); err != nil {
			return err
		}
		return l.corrected(ctx, "single-8", "three")
	})
}

func many(i int) string { return fmt.Sprintf("many-%d", i) }

func (l *lab) firstApply(ctx context.Context) error {
	content := map[string]string{}
	for i := range l.o.n {
		for path, text := range files(many(i), many(i), l.o.m, "one") {
			content[path] = text
		}
	}
	if err := l.repository(ctx, "many", content); err != nil {
		return err
	}
	return l.measure(ctx, fmt.Sprintf("first apply of %d x %d", l.o.n, l.o.m), func() error {
		for i := range l.o.n {
			if err := l.kustomization(ctx, many(i), "many", "./"+many(i), time.Minute); err != nil {
				return err
			}
		}
		return l.seen.until("installing", l.allReady(func(state) bool { return true }))
	})
}

func (l *lab) allReady(also func(state) bool) func() bool {
	return func() bool {
		for i := range l.o.n {
			if s := l.seen.states[many(i)]; !s.ready || !also(s) {
				return false
			}
		}
		return true
	}
}

// atRest lets more than an interval of each Kustomization pass.
func (l *lab) atRest(ctx context.Context) error {
	return l.measure(ctx, fmt.Sprintf("at rest for %s, %d x %d, interval 1m", l.o.idle, l.o.n, l.o.m), func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(l.o.idle):
			return nil
		}
	})
}

func (l *lab) commitToOne(ctx context.Context) error {
	victim := many(l.o.n / 2)
	var hash string
	if err := l.measure(ctx, fmt.Sprintf("commit to 1 of %d, until it is applied", l.o.n), func() (err error) {
		if hash, err = l.git.Commit("many", "main", "change one", files(victim, victim, l.o.m, "two")); err != nil {
			return err
		}
		return l.pokeUntil(ctx, "many", l.valuesAre(victim, l.o.m, "two"))
	}); err != nil {
		return err
	}
	return l.measure(ctx, "... until all others have the revision too", func() error {
		return l.seen.until("recording the revision", l.allReady(func(s state) bool { return s.revision == "main@sha1:"+hash }))
	})
}

func (l *lab) commitToAll(ctx context.Context) error {
	content := map[string]string{}
	for i := range l.o.n {
		for path, text := range files(many(i), many(i), l.o.m, "three") {
			content[path] = text
		}
	}
	return l.measure(ctx, fmt.Sprintf("commit that changes all %d x %d", l.o.n, l.o.m), func() error {
		hash, err := l.git.Commit("many", "main", "change all", content)
		if err != nil {
			return err
		}
		return l.pokeUntil(ctx, "many", l.allReady(func(s state) bool { return s.revision == "main@sha1:"+hash }))
	})
}

func (l *lab) dependencies(ctx context.Context) error {
	content := map[string]string{}
	for i := range l.o.chain {
		name := fmt.Sprintf("link-%d", i)
		content[name+"/cm.yaml"] = manifest(name, "one")
	}
	if err := l.repository(ctx, "chain", content); err != nil {
		return err
	}
	return l.measure(ctx, fmt.Sprintf("chain of %d dependencies", l.o.chain), func() error {
		for i := range l.o.chain {
			var before []string
			if i > 0 {
				before = []string{fmt.Sprintf("link-%d", i-1)}
			}
			if err := l.kustomization(ctx, fmt.Sprintf("link-%d", i), "chain", fmt.Sprintf("./link-%d", i), never, before...); err != nil {
				return err
			}
		}
		last := fmt.Sprintf("link-%d", l.o.chain-1)
		return l.seen.until("applying", func() bool { return l.seen.states[last].ready })
	})
}

// memory prints what the programs hold at the end.
func (l *lab) memory(ctx context.Context) {
	fmt.Printf("\nmemory at the end, MiB:")
	for _, name := range toolkit.All {
		rss, err := l.tools.Gauge(ctx, name, "process_resident_memory_bytes")
		if err != nil {
			fmt.Printf(" %s: %v", name, err)
			continue
		}
		fmt.Printf("  %s %.0f", name, rss/(1<<20))
	}
	fmt.Println()
}
