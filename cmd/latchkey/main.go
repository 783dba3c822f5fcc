// Command latchkey is a workforce identity provider with application connectors: people sign
// in once and reach their applications by SAML, and their accounts there are kept true by SCIM.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// version is set by the linker in releases.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes that scripts can trust.
const (
	exitOK       = 0
	exitFailed   = 1 // the act failed
	exitUsage    = 2 // the command, a flag or the input is wrong
	exitNotFound = 3
	exitConflict = 4
	exitDenied   = 5
	exitLater    = 6 // try again later
)

// terminal is what a command talks to.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// commands is the command line. Its flags are the configuration's and those of the commands.
type commands struct {
	PrintVersion kong.VersionFlag `name:"version" help:"Print the version."`
	ConfigFile   string           `name:"config" short:"c" placeholder:"FILE" env:"LATCHKEY_CONFIG" help:"Configuration file (YAML)."`
	Config       server.Config    `embed:""`

	Serve    serveCmd    `cmd:"" help:"Serve portal, console, sign-on, provisioning and API."`
	Setup    setupCmd    `cmd:"" help:"Create the first owner, and an API key, without a browser."`
	Demo     demoCmd     `cmd:"" help:"Serve a company of 40 people with a rehearsal Atlassian Cloud beside it."`
	Rehearse rehearseCmd `cmd:"" help:"Serve the stand-in for Atlassian Cloud alone."`
	Show     configCmd   `cmd:"" name:"config" help:"Print the effective configuration, secrets masked."`
	Backup   backupCmd   `cmd:"" help:"Copy an SQLite database to a file while the program runs."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
	directoryCommands
}

// newParser describes the command line. args are looked through for the configuration file.
func newParser(c *commands, args []string, out, errw io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("latchkey"),
		kong.Description("Latchkey: sign in once, and let every account be true."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Writers(out, errw),
		kong.Exit(exit),
		kong.Resolvers(&fileResolver{path: func() string { return configPath(args) }}),
		kong.Vars{"version": "latchkey " + fullVersion()},
		kong.Help(printHelp),
	)
}

func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) (code int) {
	if len(args) == 1 && args[0] == "--version" { // scripts ask often: no need to read the flags' declarations
		fmt.Fprintln(out, "latchkey", fullVersion())
		return exitOK
	}
	var c commands
	exited := -1
	parser, err := newParser(&c, args, out, errw, func(code int) { exited = code; panic(errExit) })
	if err != nil {
		fmt.Fprintln(errw, "latchkey:", err)
		return exitFailed
	}
	defer func() {
		if p := recover(); p != nil {
			if p != errExit { //nolint:errorlint // the very same
				panic(p)
			}
			code = exited
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(errw, "latchkey:", err)
		// What is wrong with the configuration file isn't explained by help.
		if e, ok := errors.AsType[*kong.ParseError](err); ok && problem.KindOf(err) == problem.Internal {
			fmt.Fprintf(errw, "Run `%s --help` for the commands and flags.\n", reached(e.Context))
		}
		return exitUsage
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(&c.Config, terminal{in: in, out: out, err: errw})
	if err := k.Run(); err != nil {
		return report(errw, err)
	}
	return exitOK
}

// reached is the command that was understood before the arguments went wrong.
func reached(k *kong.Context) string {
	name := "latchkey"
	if k == nil {
		return name
	}
	for _, p := range k.Path {
		if p.Command != nil {
			name = p.Command.FullPath()
		}
	}
	return name
}

var errExit = errors.New("exit")

// report tells an error to the person, and returns its exit code.
func report(w io.Writer, err error) int {
	kind := problem.KindOf(err)
	text := err.Error()
	if kind != problem.Internal {
		text = problem.Public(err)
	}
	fmt.Fprintln(w, "latchkey:", text)
	if fields := problem.FieldsOf(err); len(fields) > 1 || len(fields) == 1 && fields[0].Detail != text {
		for _, f := range fields {
			fmt.Fprintf(w, "  %s: %s\n", f.Name, f.Detail)
		}
	}
	switch kind {
	case problem.Invalid:
		return exitUsage
	case problem.NotFound:
		return exitNotFound
	case problem.Conflict:
		return exitConflict
	case problem.Unauthenticated, problem.Forbidden:
		return exitDenied
	case problem.Throttled, problem.Unavailable:
		return exitLater
	default:
		return exitFailed
	}
}

// logger returns the logger that the configuration asks for.
func logger(c *server.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// open opens the installation for a command that isn't the server: it logs only what matters.
func open(ctx context.Context, c *server.Config, t terminal) (*server.House, error) {
	quiet := *c
	if quiet.Log.Level == "" || quiet.Log.Level == "info" {
		quiet.Log.Level = "warn"
	}
	return server.Open(ctx, *c, fullVersion(), logger(&quiet, t.err))
}

type versionCmd struct{}

func (versionCmd) Run(t terminal) error {
	_, err := fmt.Fprintln(t.out, "latchkey", fullVersion())
	return err
}

// fullVersion is the released version, or the commit that was built.
func fullVersion() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return version
}
