//go:build !linux

package child

import "syscall"

// attributes keep Ctrl-C on the terminal from reaching the program, which is stopped in order instead.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
