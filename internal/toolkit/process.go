package toolkit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end after it was asked to.
const stopTimeout = 20 * time.Second

// ProcessOptions describe a program to run.
type ProcessOptions struct {
	Name   string    // in messages, and of the log file
	Path   string    // of the program
	Args   []string  // without the program's name
	Env    []string  // added to this process's environment
	LogDir string    // where <Name>.log is written
	Output io.Writer // takes standard output instead of the log; may be nil
}

// Process is a program that was started. It writes to a log file, is asked to
// end before it is killed, and does not outlive this process where the system
// can see to that.
type Process struct {
	Name string
	Log  string // file with what it wrote

	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{} // closed when the process is gone
	err   error         // how it ended; to be read after ended
}

// StartProcess starts a program. Its standard input is a pipe that closes when
// this process ends.
func StartProcess(o ProcessOptions) (*Process, error) {
	p := &Process{Name: o.Name, Log: filepath.Join(o.LogDir, o.Name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", o.Name, err)
	}
	p.cmd = exec.Command(o.Path, o.Args...)
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if o.Output != nil {
		p.cmd.Stdout = o.Output
	}
	p.cmd.SysProcAttr = dieWithParent()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(fmt.Errorf("input of %s: %w", o.Name, err), log.Close())
	}
	started := make(chan error)
	go func() {
		// The system takes the thread that started the program for its
		// parent, so that thread must live as long as the program.
		runtime.LockOSThread()
		defer log.Close()
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", o.Name, err)
	}
	return p, nil
}

// Peak is the most memory that the program has held at once, in bytes. Only Linux
// tells it.
func (p *Process) Peak() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("the system does not say how much memory %s had", p.Name)
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Send sends a signal and does not wait.
func (p *Process) Send(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Signal sends a signal that ends the program, waits for that, and returns how
// it ended: nil for exit code 0.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return err
	}
	<-p.ended
	return p.err
}

// Stop asks the program to end, waits, and kills it if it does not. It returns
// an error when it had to, or when the program ended with one.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %s and was killed", p.Name, stopTimeout)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		// It was asked before it could listen.
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signal() == syscall.SIGTERM {
			return nil
		}
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.Name, p.err)
	}
	return nil
}

// Tail returns the last n lines of the log.
func (p *Process) Tail(n int) string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
