package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// marker is a file in every directory of a run. Its lock says that a run uses the directory; its
// presence says that what else is there may be removed.
const marker = ".weir-local"

// openDir makes an empty directory for the run. What it returns gives it back; a temporary one is
// removed after success and kept after failure, for the logs.
func (d *demo) openDir() (release func(ok bool) error, err error) {
	temporary := d.Dir == "" && d.Once
	switch {
	case temporary:
		d.Dir, err = os.MkdirTemp("", "weir-run-")
	case d.Dir == "":
		d.Dir, err = stateDir()
	default:
		d.Dir, err = filepath.Abs(d.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("directory of the run: %w", err)
	}
	lock, err := claim(d.Dir)
	if err != nil {
		return nil, err
	}
	return func(ok bool) error {
		if temporary && ok {
			return errors.Join(lock.Close(), os.RemoveAll(d.Dir))
		}
		if !ok {
			d.board.Note("Logs: %s", filepath.Join(d.Dir, "logs"))
		}
		return lock.Close()
	}, nil
}

// stateDir is where the XDG base directory specification has such things.
func stateDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "weir", "run"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "weir", "run"), err
}

// claim locks dir and empties it. A directory that no run has made is left alone unless it is empty.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the run: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of the run: %w", err)
	}
	file := filepath.Join(dir, marker)
	if _, err := os.Stat(file); err != nil && len(entries) > 0 {
		return nil, fmt.Errorf("directory %q holds something else: give --dir an empty or a new one", dir)
	}
	lock, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("directory of the run: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("directory %q is used by another run: end that one or give --dir", dir)
	}
	for _, e := range entries {
		if e.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, errors.Join(fmt.Errorf("emptying the directory of the run: %w", err), lock.Close())
		}
	}
	for _, sub := range []string{"logs", "data", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("directory of the run: %w", err), lock.Close())
		}
	}
	return lock, nil
}
