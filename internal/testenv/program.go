package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/toolkit"
)

// kubernetesVersion is what the API server says it is. Without it, it would call itself v0.0.0.
const kubernetesVersion = "v1.36.3"

// programSource are the folders and files of local/ that the control plane is made of. Others change
// without the tests having to wait for a build.
var programSource = []string{"go.mod", "main.go", "controlplane.go", "internal/controlplane", "internal/pods"}

// workspaceRoot is the directory with go.work at or above the working directory.
func workspaceRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.work at or above the working directory: run the tests inside the workspace")
		}
		dir = parent
	}
}

// findProgram returns bin/weir-local, built when it is missing or older than its source. Test processes
// that need it at the same moment wait for the one that builds.
func findProgram(ctx context.Context, root string) (string, error) {
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", fmt.Errorf("directory for programs: %w", err)
	}
	program := filepath.Join(bin, "weir-local")
	lock, err := os.OpenFile(filepath.Join(bin, ".weir-local.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("lock of the build: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock of the build: %w", err)
	}
	why, err := outdated(program, filepath.Join(root, "local"))
	if err != nil || why == "" {
		return program, err
	}
	began := time.Now()
	fmt.Fprintf(os.Stderr, "testenv: building bin/weir-local: %s\n", why)
	if err := build(ctx, root, program); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "testenv: built bin/weir-local in %s\n", time.Since(began).Round(time.Second))
	return program, nil
}

// outdated says why program has to be built, or "".
func outdated(program, source string) (string, error) {
	have, err := os.Stat(program)
	if errors.Is(err, fs.ErrNotExist) {
		return "it is missing", nil
	}
	if err != nil {
		return "", fmt.Errorf("program: %w", err)
	}
	why := ""
	for _, name := range programSource {
		err := filepath.WalkDir(filepath.Join(source, name), func(file string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(file, "_test.go") {
				return err
			}
			info, err := e.Info()
			if err == nil && info.ModTime().After(have.ModTime()) {
				why = "local/" + filepath.ToSlash(strings.TrimPrefix(file, source+string(filepath.Separator))) + " is newer"
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("source of weir-local: %w", err)
		}
	}
	return why, nil
}

// build writes the program beside its place first: another test process may be running the old one.
func build(ctx context.Context, root, program string) error {
	fresh := fmt.Sprintf("%s.%d", program, os.Getpid())
	defer os.Remove(fresh)
	version := "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36" +
		" -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", version, "-o", fresh, "./local")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building weir-local: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, program); err != nil {
		return fmt.Errorf("putting weir-local in its place: %w", err)
	}
	return nil
}

// startProgram runs the control plane in a new directory and waits until it says that it is ready.
func startProgram(ctx context.Context, program string) (*environment, error) {
	dir, err := os.MkdirTemp("", "weir-test-")
	if err != nil {
		return nil, fmt.Errorf("directory of the control plane: %w", err)
	}
	audit := filepath.Join(dir, "audit.log")
	plane, err := toolkit.StartControlPlane(ctx, toolkit.ControlPlaneOptions{
		Program: program, Dir: dir, Flags: []string{"--audit-log", audit, "--ephemeral"},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &environment{auditLog: audit, audit: auditReader{seen: map[string]bool{}}, kubeconfig: plane.Kubeconfig, stop: func() {
		if err := errors.Join(plane.Stop(), os.RemoveAll(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}}, nil
}
