package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a process that was started here, with all that it starts.
type program struct {
	cmd  *exec.Cmd
	log  string
	file *os.File
	done chan struct{}
	once sync.Once
}

// start runs a program in a process group of its own; what it says goes to a file.
func start(log string, env []string, name string, args ...string) (*program, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	p := &program{cmd: exec.Command(name, args...), log: log, file: f, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = f, f, append(os.Environ(), env...)
	p.cmd.SysProcAttr = alone()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in its log
		close(p.done)
	}()
	return p, nil
}

// stop ends the program and its children, and waits for it.
func (p *program) stop() (err error) {
	p.once.Do(func() {
		pid := p.cmd.Process.Pid
		_ = syscall.Kill(-pid, syscall.SIGTERM) // it may have ended by itself
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
		}
		// Children that didn't end with their parent.
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-p.done
		err = p.file.Close()
	})
	return err
}

// tail is the end of what the program said.
func (p *program) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// answers waits until an address answers with anything.
func (p *program) answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s doesn't answer at %s: %s", p.cmd.Path, address, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
