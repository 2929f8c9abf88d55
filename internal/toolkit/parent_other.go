//go:build !linux

package toolkit

import "syscall"

// Elsewhere the programs outlive a parent that is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
