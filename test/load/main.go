// Command load measures the built program from outside, in a second process, and prints what it
// found beside a yardstick taken in the same run.
//
//	go run ./test/load [flags] sso | sso-loop | login | provisioning | faults | lists | footprint | contract | chaos
//
// The last line is "VERDICT <name> pass" or "VERDICT <name> short <what is missing>". A measure
// that could not be taken ends with exit code 1; a short verdict is a result, and ends with 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	bin     string
	users   int
	seconds time.Duration
	short   bool
	keep    string
}

// measures are what can be measured.
var measures = map[string]func(context.Context, options, *report) error{
	"sso":          measureSSO,
	"sso-loop":     loopSSO,
	"login":        measureLogin,
	"provisioning": measureProvisioning,
	"faults":       measureFaults,
	"lists":        measureLists,
	"footprint":    measureFootprint,
	"contract":     measureContract,
	"chaos":        measureChaos,
}

// pinned measures keep the server on one core and this program on another.
var pinned = map[string]bool{"sso": true, "sso-loop": true, "login": true}

// helpers are run by this program itself as processes of their own.
var helpers = map[string]func(args []string) error{
	"bare-rsa":    bareRSA,
	"bare-argon2": bareArgon2,
	"encoder":     encoder,
	"plain":       plainClient,
}

func main() {
	if len(os.Args) > 1 {
		if h, ok := helpers[os.Args[1]]; ok {
			if err := h(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "load:", err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out io.Writer) int {
	var o options
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin/latchkey", "the program to measure (make build)")
	flags.IntVar(&o.users, "users", 0, "how many people; 0 means the measure's default")
	flags.DurationVar(&o.seconds, "time", 6*time.Second, "how long one closed loop lasts")
	flags.BoolVar(&o.short, "short", false, "a quick look: loops of 2 s, small sizes")
	flags.StringVar(&o.keep, "results", "", "folder to keep a copy of the report in")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if o.short {
		o.seconds = 2 * time.Second
	}
	name := flags.Arg(0)
	measure := measures[name]
	if measure == nil || flags.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: load [flags]", strings.Join(slices.Sorted(maps.Keys(measures)), " | "))
		return 2
	}
	if pinned[name] {
		if err := pinSelf(); err != nil {
			fmt.Fprintln(os.Stderr, "load:", err)
			return 1
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	r := &report{name: name, out: out}
	r.note("%s %s on %s, %d processors, %s", name, time.Now().UTC().Format("2006-01-02 15:04 UTC"), processor(), processors(), runtime.Version())
	r.note("commit %s, load of the machine before: %s", commit(ctx), loadAverage())
	err := measure(ctx, o, r)
	if err != nil {
		r.failed = err
	}
	r.finish()
	if o.keep != "" {
		if kerr := r.save(o.keep); kerr != nil {
			err = errors.Join(err, kerr)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	return 0
}
