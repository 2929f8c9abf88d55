package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/weirhq/weir/api/kustomize/v1"
	sourcev1 "github.com/weirhq/weir/api/source/v1"
)

// limit is how long a job may take at all.
const limit = 5 * time.Minute

// state is what a job waits for in one Kustomization.
type state struct {
	ready    bool
	revision string
}

// seen is what the watches have shown so far.
type seen struct {
	mu      sync.Mutex
	moved   *sync.Cond
	values  map[string]string // of ConfigMaps
	states  map[string]state  // of Kustomizations
	fetched map[string]string // revisions of GitRepositories
}

func follow(ctx context.Context, c client.WithWatch) (*seen, error) {
	s := &seen{values: map[string]string{}, states: map[string]state{}, fetched: map[string]string{}}
	s.moved = sync.NewCond(&s.mu)
	for _, list := range []client.ObjectList{&corev1.ConfigMapList{}, &kustomizev1.KustomizationList{}, &sourcev1.GitRepositoryList{}} {
		w, err := c.Watch(ctx, list, client.InNamespace(namespace))
		if err != nil {
			return nil, err
		}
		go func() {
			for e := range w.ResultChan() {
				s.note(e)
			}
		}()
	}
	return s, nil
}

func (s *seen) note(e watch.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := e.Type == watch.Deleted
	switch obj := e.Object.(type) {
	case *corev1.ConfigMap:
		s.values[obj.Name] = obj.Data["value"]
		if gone {
			delete(s.values, obj.Name)
		}
	case *kustomizev1.Kustomization:
		s.states[obj.Name] = state{
			ready:    apimeta.IsStatusConditionTrue(obj.Status.Conditions, meta.ReadyCondition),
			revision: obj.Status.LastAppliedRevision,
		}
	case *sourcev1.GitRepository:
		if a := obj.GetArtifact(); a != nil {
			s.fetched[obj.Name] = a.Revision
		}
	}
	s.moved.Broadcast()
}

// until waits until check says yes; it is called with the state locked.
func (s *seen) until(what string, check func() bool) error {
	late := false
	defer time.AfterFunc(limit, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.moved.Broadcast()
	}).Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !check() {
		if late {
			return fmt.Errorf("%s: not after %s", what, limit)
		}
		s.moved.Wait()
	}
	return nil
}
