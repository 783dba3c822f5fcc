//go:build !linux

package main

import "syscall"

// alone starts a process in a group of its own.
func alone() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
