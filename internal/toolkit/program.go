package toolkit

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end by itself.
const stopTimeout = 10 * time.Second

// program is one process.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	err   error         // how it ended; to be read after ended
}

// start runs a program with its output in a file. The system kills it when
// this process dies, however that happens.
func start(path string, flags []string, logFile string, env ...string) (*program, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, flags...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	p := &program{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The system takes the thread that started the process for its
		// parent, so that thread must live as long as the process.
		runtime.LockOSThread()
		defer log.Close()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	return p, <-started
}

func (p *program) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

func (p *program) stop() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.signal(syscall.SIGKILL)
		<-p.ended
	}
}

// Tail returns the last lines of a program's log.
func (t *Toolkit) Tail(name string, lines int) string {
	data, err := os.ReadFile(t.LogFile(name))
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
