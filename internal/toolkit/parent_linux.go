package toolkit

import "syscall"

func dieWithParent() *syscall.SysProcAttr {
	// A group of its own keeps the terminal's Ctrl-C away: programs are
	// stopped in order instead.
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
