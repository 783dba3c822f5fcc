package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// What all tests share: the built program and one browser, in which every person has a context
// with cookies of their own.
var (
	program string
	browser context.Context
)

const shots = "shots"

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "browser tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	folder, err := os.MkdirTemp("", "latchkey-browser-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	chromium, err := findChromium()
	if err != nil {
		return 1, err
	}
	// LATCHKEY_PROGRAM names a program that was built already.
	if program = os.Getenv("LATCHKEY_PROGRAM"); program == "" {
		program = filepath.Join(folder, "latchkey")
		build := exec.CommandContext(context.Background(), "go", "build", "-o", program, "../../cmd/latchkey")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build the program: %w\n%s", err, out)
		}
	}
	// Pictures of an earlier run would be taken for this one's.
	if err := errors.Join(os.RemoveAll(shots), os.MkdirAll(shots, 0o755)); err != nil {
		return 1, err
	}
	profile := filepath.Join(folder, "profile")
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", false),
		chromedp.Flag("lang", "en-GB"))...)
	defer end()
	var endBrowser context.CancelFunc
	browser, endBrowser = chromedp.NewContext(allocator)
	defer endBrowser()
	if err := chromedp.Do(browser); err != nil {
		return 1, fmt.Errorf("%s doesn't start: %w", chromium, err)
	}
	return m.Run(), nil
}

func findChromium() (string, error) {
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	if own := os.Getenv("CHROMIUM"); own != "" {
		names = []string{own}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no browser: none of %s is installed (on Debian: apt install chromium; elsewhere name one in CHROMIUM)", strings.Join(names, ", "))
}

// installation is a running demo: Latchkey and the rehearsal Atlassian Cloud in one process.
type installation struct {
	url   string // of Latchkey
	site  string // of the rehearsal's administration
	setup string // the one-time link of an empty installation
}

var (
	setupLink = regexp.MustCompile(`https?://\S+/setup\?token=\S+`)
	homeLine  = regexp.MustCompile(`(?m)^  (?:Latchkey|Portal) +(http://\S+)`)
	siteLine  = regexp.MustCompile(`(?m)^  Rehearsal Atlassian +(http://\S+)`)
)

// start runs the demo on free ports with its data in a folder of the test, until the test ends.
func start(t *testing.T, args ...string) installation {
	t.Helper()
	all := append([]string{"demo", "--folder=" + t.TempDir(), "--listen=127.0.0.1:0", "--rehearsal-address=127.0.0.1:0"}, args...)
	cmd := exec.CommandContext(t.Context(), program, all...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	bind(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints tail
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		var said strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "Press Ctrl-C") {
				ready <- said.String()
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the program said on its error output:\n%s", complaints.String())
		}
	})
	select {
	case text := <-ready:
		in := installation{setup: setupLink.FindString(text)}
		if m := homeLine.FindStringSubmatch(text); m != nil {
			in.url = m[1]
		}
		if m := siteLine.FindStringSubmatch(text); m != nil {
			in.site = m[1]
		}
		if in.url == "" || in.site == "" {
			t.Fatalf("the demo doesn't say where it is:\n%s\n%s", text, complaints.String())
		}
		return in
	case <-time.After(60 * time.Second):
		t.Fatalf("the demo isn't up after a minute:\n%s", complaints.String())
	}
	return installation{}
}

// tail keeps the end of what a process says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - 8000; over > 0 {
		b.text = b.text[over:]
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// fetch reads an address without the browser, as a download does.
func fetch(t *testing.T, address, cookies string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookies)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var b strings.Builder
	if _, err := bufio.NewReader(res.Body).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s: %.300s", address, res.Status, b.String())
	}
	return b.String()
}
