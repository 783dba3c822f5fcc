// Package e2e runs scripts against the built program as administrators do: each script once
// with its data in SQLite and once in PostgreSQL.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

var update = flag.Bool("update", false, "write the expected texts in the scripts anew")

var program = flag.String("latchkey", "", "test this program in place of one that is built first")

// bin is the folder of the program.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(build(m))
}

func build(m *testing.M) int {
	if *program != "" {
		path, err := filepath.Abs(*program)
		if err != nil || filepath.Base(path) != "latchkey" {
			fmt.Fprintln(os.Stderr, "-latchkey has to name a program called latchkey:", *program, err)
			return 1
		}
		bin = filepath.Dir(path)
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "latchkey-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X main.version=v0.0.0-test", "-o", filepath.Join(dir, "latchkey"), "../../cmd/latchkey")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the program can't be built:", err)
		return 1
	}
	bin = dir
	return m.Run()
}

func TestScripts(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgresql"} {
		t.Run(engine, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir:                 ".",
				UpdateScripts:       *update,
				RequireExplicitExec: true,
				Deadline:            time.Now().Add(8 * time.Minute),
				Setup:               func(e *testscript.Env) error { return setup(e, engine) },
				Condition: func(cond string) (bool, error) {
					if cond == "sqlite" || cond == "postgresql" {
						return cond == engine, nil
					}
					return false, fmt.Errorf("unknown condition %q", cond)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"waithttp":   waitHTTP,
					"http":       doHTTP,
					"grab":       grab,
					"is":         is,
					"site":       site,
					"waituntil":  waitUntil,
					"waitstatus": waitStatus,
					"waitfile":   waitFile,
					"people":     people,
				},
			})
		})
	}
}

// setup gives a script an empty installation and free ports.
func setup(e *testscript.Env, engine string) error {
	e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	e.Setenv("NO_COLOR", "1")
	e.Setenv("TZ", "UTC")
	e.Setenv("USER", "tester")
	e.Setenv("LATCHKEY_DATA", filepath.Join(e.WorkDir, "data"))
	e.Setenv("LATCHKEY_OUTBOUND_ALLOW", "127.0.0.0/8")
	if engine == "postgresql" {
		tb, ok := e.T().(testing.TB)
		if !ok {
			return errors.New("the script's T is no testing.TB")
		}
		e.Setenv("LATCHKEY_POSTGRES", storetest.Schema(tb))
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	e.Setenv("LATCHKEY_LISTEN", "127.0.0.1:"+ports[0])
	e.Setenv("URL", "http://127.0.0.1:"+ports[0])
	e.Setenv("SITE_LISTEN", "127.0.0.1:"+ports[1])
	e.Setenv("SITE", "http://127.0.0.1:"+ports[1])
	e.Setenv("LISTEN2", "127.0.0.1:"+ports[2])
	e.Setenv("URL2", "http://127.0.0.1:"+ports[2])
	e.Setenv("SITE_API", "http://127.0.0.1:"+ports[1]+"/rehearsal/api")
	return nil
}

func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // together, so that no two are the same
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// patience is how long to wait for what usually takes a moment: other tests keep the machine
// busy.
const patience = time.Minute

func check(ts *testscript.TestScript, neg bool, usage string, ok bool) {
	if neg {
		ts.Fatalf("! isn't possible here")
	}
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// waitHTTP waits until an address answers with 2xx.
func waitHTTP(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "waithttp URL", len(args) == 1)
	deadline := time.Now().Add(patience)
	for {
		status, _, _, err := request("GET", args[0], "", nil)
		if err == nil && status/100 == 2 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s doesn't answer: status %d, %v", args[0], status, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// doHTTP sends a request; the answer's body becomes stdout. With ! the status must be no 2xx.
func doHTTP(ts *testscript.TestScript, neg bool, args []string) {
	headers := map[string]string{}
	for len(args) > 1 && args[0] == "-H" {
		name, value, _ := strings.Cut(args[1], ": ")
		headers[name] = value
		args = args[2:]
	}
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http [-H 'Name: value']... METHOD URL [BODY | @FILE]")
	}
	body := ""
	if len(args) == 3 {
		body = args[2]
		if file, ok := strings.CutPrefix(body, "@"); ok {
			body = ts.ReadFile(file)
		}
	}
	status, answer, _, err := request(args[0], args[1], body, headers)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), answer)
	fmt.Fprintln(ts.Stderr(), "status", status)
	if (status/100 == 2) == neg {
		ts.Fatalf("%s %s: status %d: %s", args[0], args[1], status, answer)
	}
}

func request(method, url, body string, headers map[string]string) (int, string, http.Header, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header, err
}

// grab sets a variable to the first group of a regular expression that stdout matches.
func grab(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "grab NAME REGEXP", len(args) == 2)
	re, err := regexp.Compile(`(?m)` + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("stdout doesn't match %s with one group:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}

// is compares a value in the JSON of stdout: is users.0.email ada@example.com. A path that
// ends in len is the length of a list.
func is(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: is PATH VALUE")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout isn't JSON: %v", err)
	}
	got := "missing"
	for step := range strings.SplitSeq(args[0], ".") {
		if v == nil {
			break
		}
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			if step == "len" {
				v = float64(len(x))
				continue
			}
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(x) {
				v = nil
				continue
			}
			v = x[n]
		default:
			v = nil
		}
	}
	switch x := v.(type) {
	case nil:
	case string:
		got = x
	case float64:
		got = strconv.FormatFloat(x, 'f', -1, 64)
	default:
		b, err := json.Marshal(x)
		ts.Check(err)
		got = string(b)
	}
	if (got == args[1]) == neg {
		ts.Fatalf("%s is %s, want %s%s", args[0], got, map[bool]string{true: "not "}[neg], args[1])
	}
}

// site makes an organization at the rehearsal target: a verified domain, and a directory that
// can be provisioned. It sets DIRECTORY, BASE_URL and TOKEN.
func site(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "site DOMAIN", len(args) == 1)
	api := ts.Getenv("SITE_API")
	waitHTTP(ts, false, []string{api + "/organization"})
	call := func(method, path, body string, into any) {
		status, answer, _, err := request(method, api+path, body, nil)
		ts.Check(err)
		if status != http.StatusOK {
			ts.Fatalf("%s %s: status %d: %s", method, path, status, answer)
		}
		if into != nil {
			ts.Check(json.Unmarshal([]byte(answer), into))
		}
	}
	call("POST", "/domains", `{"name":"`+args[0]+`"}`, nil)
	call("POST", "/domains/"+args[0]+"/verify", "", nil)
	var dir struct{ ID string }
	call("POST", "/directories", `{"name":"Latchkey"}`, &dir)
	var prov struct{ BaseURL, APIKey string }
	call("POST", "/directories/"+dir.ID+"/provisioning", "", &prov)
	ts.Setenv("DIRECTORY", dir.ID)
	ts.Setenv("BASE_URL", prov.BaseURL)
	ts.Setenv("TOKEN", prov.APIKey)
	ts.Check(os.WriteFile(ts.MkAbs("token"), []byte(prov.APIKey+"\n"), 0o600))
}

// waitUntil waits until a list at an address is at least so long.
func waitUntil(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "waituntil LENGTH URL", len(args) == 2)
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		var list []json.RawMessage
		_, body, _, err := request("GET", args[1], "", nil)
		ts.Check(err)
		ts.Check(json.Unmarshal([]byte(body), &list))
		if len(list) >= least {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has only %d of %d", args[1], len(list), least)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitFile waits until a file that somebody writes matches a regular expression.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "waitfile FILE REGEXP", len(args) == 2)
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && re.Match(b) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s doesn't match %s: %v\n%s", args[0], args[1], err, b)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// waitStatus waits until provisioning of an application has a status.
func waitStatus(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "waitstatus APP STATUS", len(args) == 2)
	deadline := time.Now().Add(patience)
	for {
		ts.Check(ts.Exec("latchkey", "apps", "status", args[0], "-o", "json"))
		var status struct{ State string }
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &status))
		if status.State == args[1] {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is %s, not %s", args[0], status.State, args[1])
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// people writes a CSV file of many people in one group.
func people(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, "people FILE NUMBER GROUP", len(args) == 3)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	b.WriteString("email,username,givenName,familyName,title,state,groups\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "person%03d@example.com,person%03d,Person,Number %03d,Tester,active,%s\n", i, i, i, args[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}
