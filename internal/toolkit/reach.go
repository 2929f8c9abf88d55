package toolkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// URL returns where a program is reached for a purpose, without a path.
func (t *Toolkit) URL(name, purpose string) string { return "http://" + t.Address(name, purpose) }

// HTTPClient sends requests to what URL returns.
func (t *Toolkit) HTTPClient() *http.Client { return http.DefaultClient }

// Log returns what a program has written since it was first started.
func (t *Toolkit) Log(_ context.Context, name string) (string, error) {
	if t.processes[name] == nil {
		return "", fmt.Errorf("%s does not run here", name)
	}
	data, err := os.ReadFile(t.processes[name].Log)
	return string(data), err
}

// TemporaryFiles returns how many temporary files a program holds.
func (t *Toolkit) TemporaryFiles(name string) (int, error) {
	n := 0
	err := filepath.WalkDir(t.TempDir(name), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file may vanish while it is counted
		}
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	return n, err
}

// Kill ends a program as a power cut does, starts it again, and waits until it
// is ready.
func (t *Toolkit) Kill(ctx context.Context, name string) error {
	if err := t.processes[name].Signal(syscall.SIGKILL); err == nil {
		return fmt.Errorf("%s was killed and says that it ended well", name)
	}
	if err := t.Run(name); err != nil {
		return err
	}
	return t.WaitReady(ctx, name)
}
