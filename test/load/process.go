package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/latchkey-idp/latchkey/internal/server"
)

// installation is a data folder and the address at which it will be served.
type installation struct {
	dir  string
	addr string
	url  string
}

// furnish makes a data folder, and fills it in this process by way of the domain.
func furnish(ctx context.Context, fill func(context.Context, *server.House) error) (_ *installation, err error) {
	dir, err := os.MkdirTemp("", "latchkey-load-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	in := &installation{dir: dir, addr: addr, url: "http://" + addr}
	h, err := in.house(ctx)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, h); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return in, h.Close()
}

// house opens the data folder in this process, while it isn't served.
func (in *installation) house(ctx context.Context) (*server.House, error) {
	return server.Open(ctx, server.Config{
		Listen: in.addr, PublicURL: in.url, Data: in.dir, Outbound: server.OutboundConfig{Allow: []string{"127.0.0.0/8"}, Timeout: 30 * time.Second},
	}, "load", slog.New(slog.DiscardHandler))
}

func (in *installation) remove() error { return os.RemoveAll(in.dir) }

// database is the path of the SQLite file.
func (in *installation) database() string { return filepath.Join(in.dir, "latchkey.db") }

// process is the served program.
type process struct {
	cmd *exec.Cmd
	log *logTail
	// began is when it was started, up when it first answered.
	began, up time.Time
	once      sync.Once
}

// The core of the server and that of this program, where there are two.
const (
	serverCore = "0"
	ownCore    = "1"
)

func canPin() bool {
	_, err := exec.LookPath("taskset")
	return err == nil && runtime.GOOS == "linux"
}

// serve starts the program on the installation and waits until it answers. Pinned keeps it on
// one core.
func (in *installation) serve(ctx context.Context, bin string, pinned bool, extra ...string) (*process, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(bin); err != nil {
		return nil, fmt.Errorf("there is no program at %s: run make build, or name it with -bin", bin)
	}
	args := append([]string{
		bin, "serve", "--listen", in.addr, "--public-url", in.url, "--data", in.dir,
		"--outbound-allow", "127.0.0.0/8", "--log-level", "warn",
	}, extra...)
	if pinned && canPin() {
		args = append([]string{"taskset", "-c", serverCore}, args...)
	}
	p := &process{log: &logTail{}, cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+"/readyz", nil)
		if err != nil {
			return nil, errors.Join(err, p.kill())
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.up = time.Now()
				return p, nil
			}
		}
		if ctx.Err() != nil || time.Since(p.began) > time.Minute {
			return nil, errors.Join(fmt.Errorf("the program didn't answer: %s", p.log), p.kill())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop ends the process as an operator does.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

func (p *process) end(sig syscall.Signal) (err error) {
	p.once.Do(func() {
		if err = p.cmd.Process.Signal(sig); err != nil {
			return
		}
		werr := p.cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](werr); sig == syscall.SIGTERM && werr != nil && (!ok || exit.ExitCode() != 0) {
			err = fmt.Errorf("the program ended badly: %w: %s", werr, p.log)
		}
	})
	return err
}

// cpu is the processor time that the process has used, user and system.
func (p *process) cpu() time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0
	}
	// The command's name, in brackets, may hold spaces.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const utime, stime, tick = 11, 12, 10 * time.Millisecond
	if len(f) <= stime {
		return 0
	}
	u, _ := strconv.ParseInt(f[utime], 10, 64)
	s, _ := strconv.ParseInt(f[stime], 10, 64)
	return time.Duration(u+s) * tick
}

// memory is what the process holds in memory now, and what it held at most, in bytes.
func (p *process) memory() (now, most int64) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
		switch k {
		case "VmRSS":
			now = n << 10
		case "VmHWM":
			most = n << 10
		}
	}
	return now, most
}

func mib(n int64) string { return fmt.Sprintf("%d MB", n>>20) }

// logTail keeps the end of what a process says.
type logTail struct {
	mu sync.Mutex
	b  []byte
}

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > 8<<10 {
		l.b = append([]byte(nil), l.b[len(l.b)-4<<10:]...)
	}
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.b))
}

// pinSelf puts this program on a core of its own, by starting it anew there. It returns at once
// if that was done, or can't be.
func pinSelf() error {
	const mark = "LATCHKEY_LOAD_PINNED"
	if os.Getenv(mark) != "" || !canPin() || processors() < 2 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return err
	}
	return syscall.Exec(taskset, append([]string{"taskset", "-c", ownCore, self}, os.Args[1:]...), append(os.Environ(), mark+"=1"))
}

// helper runs one of this program's helpers as a process, on the server's core if pinned, and
// returns what it prints.
func helper(ctx context.Context, pinned bool, stdin io.Reader, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	line := append([]string{self}, args...)
	if pinned && canPin() {
		line = append([]string{"taskset", "-c", serverCore}, line...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdin, cmd.Stderr = stdin, os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// ownCPU is the processor time that this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare runs fn for a while and prints the processor time of one call, in nanoseconds: that of
// the slice in which the machine disturbed it least.
func bare(fn func() error) error {
	if err := fn(); err != nil {
		return err
	}
	const most, slice, least = 3 * time.Second, 150 * time.Millisecond, 4
	var best time.Duration
	for begin := time.Now(); time.Since(begin) < most; {
		n, from, cpu := 0, time.Now(), ownCPU()
		for time.Since(from) < slice || n < least {
			if err := fn(); err != nil {
				return err
			}
			n++
		}
		if one := (ownCPU() - cpu) / time.Duration(n); best == 0 || one < best {
			best = one
		}
	}
	fmt.Println(int64(best))
	return nil
}

// costs follows the processor time of a process while work is done, and keeps that of one unit
// of work in the second in which the machine disturbed it least.
type costs struct {
	p    *process
	done atomic.Int64
	stop chan struct{}
	end  sync.WaitGroup
	best time.Duration
}

// follow begins; call unit for each unit that is done, and least at the end.
func (p *process) follow() *costs {
	c := &costs{p: p, stop: make(chan struct{})}
	c.end.Go(func() {
		cpu, n := p.cpu(), int64(0)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-c.stop:
				return
			case <-tick.C:
			}
			nowCPU, nowN := p.cpu(), c.done.Load()
			// The kernel counts in hundredths of a second.
			if units := nowN - n; units >= 5 && nowCPU-cpu >= 100*time.Millisecond {
				if one := (nowCPU - cpu) / time.Duration(units); c.best == 0 || one < c.best {
					c.best = one
				}
			}
			cpu, n = nowCPU, nowN
		}
	})
	return c
}

func (c *costs) unit() { c.done.Add(1) }

// least ends the following and returns the least processor time of one unit; 0 if too little was
// done in every second.
func (c *costs) least() time.Duration {
	close(c.stop)
	c.end.Wait()
	return c.best
}

// yardstick runs a bare helper on the server's core and returns the time of one call.
func yardstick(ctx context.Context, name ...string) (time.Duration, error) {
	out, err := helper(ctx, true, nil, name...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(name, " "), err)
	}
	n, err := strconv.ParseInt(out, 10, 64)
	return time.Duration(n), err
}
