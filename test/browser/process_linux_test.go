package browser

import (
	"os/exec"
	"syscall"
)

// bind ends a process with the tests, even when these are killed.
func bind(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
