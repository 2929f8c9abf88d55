package toolkit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// controlPlaneTimeout is how long a control plane may take to end before it is
// killed. The API server ends its watches first, and then etcd ends.
const controlPlaneTimeout = 20 * time.Second

// ControlPlane is a running `weir-local control-plane`: etcd, the API server
// and its controllers in one process.
type ControlPlane struct {
	Kubeconfig string `json:"kubeconfig"` // a file
	URL        string `json:"url"`
	PID        int    `json:"pid"`

	cmd   *exec.Cmd
	stdin io.Closer
}

// StartControlPlane starts a control plane with its data in dir, and returns
// when it is ready. It ends when this process does, however that happens.
func StartControlPlane(ctx context.Context, binDir, dir string, flags ...string) (*ControlPlane, error) {
	cmd := exec.Command(filepath.Join(binDir, "weir-local"),
		append([]string{"control-plane", "--dir", dir, "--with-parent", "--quiet"}, flags...)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the control plane: %w", err)
	}
	c := &ControlPlane{cmd: cmd, stdin: stdin}
	defer context.AfterFunc(ctx, func() { _ = stdin.Close() })()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err != nil {
		c.Stop()
		return nil, fmt.Errorf("the control plane did not become ready: %w", errors.Join(err, ctx.Err()))
	}
	return c, nil
}

// Stop ends the control plane and returns when it is gone.
func (c *ControlPlane) Stop() {
	_ = c.stdin.Close() // the end of its input is its sign to stop
	late := time.AfterFunc(controlPlaneTimeout, func() { _ = c.cmd.Process.Kill() })
	_ = c.cmd.Wait() // how it ended does not matter any more
	late.Stop()
}
