package toolkit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ControlPlaneOptions say how to run `weir-local control-plane`. Program and
// Dir are required.
type ControlPlaneOptions struct {
	Program string   // weir-local
	Dir     string   // its data
	LogDir  string   // "" means Dir
	Env     []string // added to this process's environment
	Flags   []string // such as --audit-log
}

// ControlPlane is etcd, the API server and its controllers in one process.
type ControlPlane struct {
	*Process   `json:"-"`
	Kubeconfig string `json:"kubeconfig"` // a file
	URL        string `json:"url"`
	Version    string `json:"version"`
}

// StartControlPlane starts a control plane and returns when it is ready. It
// ends when this process does, however that happens.
func StartControlPlane(ctx context.Context, o ControlPlaneOptions) (*ControlPlane, error) {
	if o.LogDir == "" {
		o.LogDir = o.Dir
	}
	out, in := io.Pipe()
	defer out.Close()
	p, err := StartProcess(ProcessOptions{
		Name: "control-plane", Path: o.Program, LogDir: o.LogDir, Env: o.Env, Output: in,
		Args: append([]string{"control-plane", "--dir", o.Dir, "--with-parent", "--quiet"}, o.Flags...),
	})
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{Process: p}
	answer := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, c)
		}
		answer <- err
	}()
	select {
	case err = <-answer:
	case <-p.Ended():
		err = fmt.Errorf("it ended:\n%s", p.Tail(10))
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", errors.Join(err, p.Stop()))
	}
	return c, nil
}
