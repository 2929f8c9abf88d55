package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/weirhq/weir/api/duration"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
	"github.com/weirhq/weir/internal/gitserver"
)

const (
	// roundTrip is how long the server takes for each answer.
	roundTrip = 200 * time.Millisecond
	// rounds is how many intervals are watched.
	rounds = 3
	// tardy is how many intervals may lie between two looks; each is varied by 5 %.
	tardy = 1.1
)

// far is a Git server that is far away: one repository under many names. What it has
// answered once it answers again without git, so that the server costs little.
type far struct {
	git *gitserver.Server

	mu      sync.Mutex
	answers map[string]*httptest.ResponseRecorder
	looks   map[string][]time.Time // by name: when its refs were asked for
}

func startFar() (_ *far, err error) {
	f := &far{answers: map[string]*httptest.ResponseRecorder{}, looks: map[string][]time.Time{}}
	f.git, err = gitserver.Start(gitserver.Options{Middleware: f.handler})
	if err != nil {
		return nil, err
	}
	return f, f.git.Init("app", files("app", "far", 3, "one"))
}

func (f *far) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came := time.Now()
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		r.URL.Path = "/app/" + rest
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // who asked is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		if bytes.Contains(body, []byte("command=ls-refs")) {
			f.looks[name] = append(f.looks[name], came)
		}
		key := r.Method + r.URL.String() + string(body)
		answer := f.answers[key]
		if answer == nil { // one at a time asks git
			answer = httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			f.answers[key] = answer
		}
		f.mu.Unlock()
		time.Sleep(time.Until(came.Add(roundTrip)))
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// gaps are the times between looks at the same name since a moment, the shortest first.
func (f *far) gaps(since time.Time) (out []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, looks := range f.looks {
		looks = slices.DeleteFunc(slices.Clone(looks), func(t time.Time) bool { return t.Before(since) })
		for i := 1; i < len(looks); i++ {
			out = append(out, looks[i].Sub(looks[i-1]))
		}
		if n := len(looks); n > 0 {
			out = append(out, time.Since(looks[n-1])) // the one that goes on
		}
	}
	slices.Sort(out)
	return out
}

// allFetched waits until every source has an artifact. It lists them: a watch of so many
// may be cut off when this program is slow to read it.
func (l *lab) allFetched(ctx context.Context) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		list := &sourcev1.GitRepositoryList{}
		if err := l.c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		list.Items = slices.DeleteFunc(list.Items, func(r sourcev1.GitRepository) bool { return r.Status.Artifact == nil })
		if len(list.Items) >= l.o.sources {
			return nil
		}
		time.Sleep(time.Second)
	}
	return fmt.Errorf("not all sources were fetched after %s", limit)
}

// manySources follows many repositories of a server that is far away, and tells how
// late they are looked at.
func (l *lab) manySources(ctx context.Context) (err error) {
	f, err := startFar()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.git.Close()) }()
	what := fmt.Sprintf("%d sources, %s away: first artifacts", l.o.sources, roundTrip)
	if err := l.measure(ctx, what, func() error {
		for i := range l.o.sources {
			name := fmt.Sprintf("far-%d", i)
			if err := l.c.Create(ctx, &sourcev1.GitRepository{
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
				Spec: sourcev1.GitRepositorySpec{
					URL: f.git.URL(name), Interval: duration.New(l.o.interval), Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
				},
			}); err != nil {
				return err
			}
		}
		return l.allFetched(ctx)
	}); err != nil {
		return err
	}
	since := time.Now()
	what = fmt.Sprintf("%d sources: %d intervals of %s", l.o.sources, rounds, l.o.interval)
	if err := l.measure(ctx, what, func() error {
		select {
		case <-time.After(rounds * l.o.interval):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}); err != nil {
		return err
	}
	gaps := f.gaps(since)
	if len(gaps) < 2*l.o.sources {
		return fmt.Errorf("there were only %d looks", len(gaps))
	}
	late := len(gaps) - slices.IndexFunc(append(gaps, 1<<62), func(d time.Duration) bool { return d.Seconds() > tardy*l.o.interval.Seconds() })
	at := func(share float64) time.Duration {
		return gaps[int(share*float64(len(gaps)-1))].Round(time.Millisecond)
	}
	fmt.Printf("\ntime between two looks at the same source: half %s, 99 of 100 %s, the longest %s; %d of %d are more than %.0f %% late\n",
		at(0.5), at(0.99), at(1), late, len(gaps), 100*(tardy-1))
	return nil
}
