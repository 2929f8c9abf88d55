// Package child runs other programs so that none of them outlives this one: each writes to a log file,
// is asked to end before it is killed, and dies with its parent where the system can see to that.
package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end after SIGTERM.
const stopTimeout = 15 * time.Second

// Options describe a program to run.
type Options struct {
	Name string   // in messages, and of the log file
	Path string   // of the program
	Args []string // without the program's name
	Env  []string // added to this process's environment
	Dir  string   // where <Name>.log is written
	// Output is where standard output goes instead of the log.
	Output io.Writer
}

// Process is a program that was started.
type Process struct {
	Name string
	Log  string // file with what it wrote

	cmd   *exec.Cmd
	stdin io.Closer
	log   *os.File
	ended chan struct{}
	err   error // of Wait; to be read after ended
}

// Start starts the program. Its standard input is a pipe that closes when this process ends. Call it on
// the main thread, else the program may die when the calling thread does.
func Start(o Options) (*Process, error) {
	p := &Process{Name: o.Name, Log: filepath.Join(o.Dir, o.Name+".log"), ended: make(chan struct{})}
	var err error
	if p.log, err = os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("log of %s: %w", o.Name, err)
	}
	p.cmd = exec.Command(o.Path, o.Args...)
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if o.Output != nil {
		p.cmd.Stdout = o.Output
	}
	p.cmd.SysProcAttr = attributes()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, errors.Join(fmt.Errorf("input of %s: %w", o.Name, err), p.log.Close())
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", o.Name, err), p.log.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = p.log.Close()
		close(p.ended)
	}()
	return p, nil
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop asks the program to end, waits, and kills it if it does not. It returns an error when it had to,
// or when the program ended with one.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %s and was killed", p.Name, stopTimeout)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
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
