package child

import "syscall"

// attributes keep Ctrl-C on the terminal from reaching the program, which is stopped in order instead,
// and let the kernel stop it when this process dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
