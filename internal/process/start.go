package process

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// emptyHanded is how long a program that is told to stop waits for caches that
// have not been filled yet.
const emptyHanded = time.Second

// start runs a manager until ctx ends. While it fills its caches, the library's
// manager does not heed ctx but turns round and round; and of a kind that may not
// be listed, or is not defined, the cache is never filled. So a program that was
// installed without its rights would have to be killed. Nothing that had to be
// brought to an end has begun by then.
func start(ctx context.Context, m manager.Manager) error {
	filled, ended := make(chan struct{}), make(chan error, 1)
	if err := m.Add(everywhere(func(context.Context) error {
		close(filled)
		return nil
	})); err != nil {
		return err
	}
	go func() { ended <- m.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-filled:
		return <-ended
	case <-time.After(emptyHanded):
		return nil
	}
}

// everywhere is run by standbys as well, once the caches are filled.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (f everywhere) NeedLeaderElection() bool { return false }
