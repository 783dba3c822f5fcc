package main

import "syscall"

// alone starts a process in a group of its own, which ends when this program is killed.
func alone() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
