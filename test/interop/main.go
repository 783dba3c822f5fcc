// Command interop signs people on to foreign service providers by the built program: each case with each of them, over
// loopback, with a browser of its own. It ends with a matrix and the line "VERDICT interop pass" or "VERDICT interop
// short <what>".
//
//	go run ./test/interop [-only mellon,node-saml] [-case slo-sp] [-write docs/saml-interoperation.md]
//
// On Debian, as root, it installs the service providers that are missing. A run that could not be made ends with exit
// code 1; a short verdict is a result, and ends with 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	bin, root, write string
	only, cases      []string
	keep, verbose    bool
	jobs             int
}

func run(ctx context.Context, args []string) int {
	var o options
	var only, some string
	flags := flag.NewFlagSet("interop", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin/latchkey", "the program to try (make build)")
	flags.StringVar(&o.root, "root", "test/interop", "folder of this program's sources")
	flags.StringVar(&o.write, "write", "", "page to write the matrix into")
	flags.StringVar(&only, "only", "", "names of service providers, separated by commas")
	flags.StringVar(&some, "case", "", "names of cases, separated by commas; the exchange of metadata is always made")
	flags.BoolVar(&o.keep, "keep", false, "keep the temporary folder with configurations and logs")
	flags.IntVar(&o.jobs, "jobs", 2, "service providers tried at the same time")
	flags.BoolVar(&o.verbose, "v", false, "print each case when it is done")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	o.only, o.cases = split(only), split(some)
	m, err := try(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		fmt.Println("VERDICT interop short not tried: " + strings.ReplaceAll(err.Error(), "\n", " "))
		return 1
	}
	m.print(os.Stdout)
	if o.write != "" {
		if err := writePage(o.write, m, providers()); err != nil {
			fmt.Fprintln(os.Stderr, "interop:", err)
			return 1
		}
	}
	fmt.Println(m.verdict())
	return 0
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// try runs all cases with all service providers.
func try(ctx context.Context, o options) (_ *matrix, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	m := &matrix{rows: cases}
	if o.cases != nil {
		m.rows = slices.DeleteFunc(slices.Clone(cases), func(c aCase) bool {
			return c.key != "metadata" && !slices.Contains(o.cases, c.key)
		})
	}
	all := providers()
	for _, name := range o.only {
		if !slices.ContainsFunc(all, func(e entry) bool { return e.slug == name }) {
			return nil, fmt.Errorf("no service provider %q", name)
		}
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return o.only != nil && !slices.Contains(o.only, e.slug) })
	dir, err := os.MkdirTemp("", "latchkey-interop-")
	if err != nil {
		return nil, err
	}
	// Some service providers run as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if o.keep {
		fmt.Println("# folder", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := install(ctx, root, dir, all); err != nil {
		return nil, err
	}
	p, err := serveProduct(ctx, o.bin, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.run.stop()) }()
	var groups []string
	for _, name := range groupNames {
		id, err := p.group(ctx, name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, id)
	}
	if _, err := p.person(ctx, email, givenName, familyName, title, groups...); err != nil {
		return nil, err
	}
	m.columns = make([]*column, len(all))
	g := errgroup.Group{}
	g.SetLimit(o.jobs)
	for i, e := range all {
		g.Go(func() error {
			c := one(ctx, o, p, e, m.rows, &lab{root: root, dir: dir, slug: e.slug}, groups)
			m.columns[i] = c
			n := m.counts(c)
			fmt.Printf("# %s %s: %d pass, %d fail, %d not supported, %d not tried, %.0f s %s\n", c.name, c.version, n[pass], n[fail], n[none], n[later], c.took.Seconds(), c.failed)
			return ctx.Err()
		})
	}
	return m, g.Wait()
}

// one runs the cases with one service provider.
func one(ctx context.Context, o options, p *product, e entry, rows []aCase, l *lab, groups []string) *column {
	sp := e.make()
	c := &column{name: sp.name(), cells: map[string]outcome{}}
	began := time.Now()
	defer func() { c.took = time.Since(began) }()
	l.label = sp.name()
	b := &bench{product: p, groups: groups, provider: sp, lab: l}
	defer func() {
		if err := sp.stop(); err != nil && c.failed == "" {
			c.failed = err.Error()
		}
	}()
	err := func() (err error) {
		if b.own, err = newPair(l.dir, l.slug+"-next"); err != nil {
			return err
		}
		if err := b.join(ctx); err != nil {
			return err
		}
		c.version, err = sp.version(ctx)
		return err
	}()
	if err != nil {
		c.failed = err.Error()
		return c
	}
	lacks := sp.lacks()
	for _, r := range rows {
		if ctx.Err() != nil {
			break
		}
		switch missing := slices.DeleteFunc(slices.Clone(r.needs), b.has); {
		case len(missing) > 0:
			c.cells[r.key] = outcome{later, "this build has no " + strings.Join(missing, ", ")}
		default:
			b.browsers = nil
			got := attempt(ctx, r, b)
			if l, ok := lacks[r.key]; ok && got.mark == fail && strings.Contains(got.reason, l.symptom) {
				got = outcome{none, l.reason}
			}
			if got.mark == pass {
				got.reason = e.remarks[r.key]
			}
			c.cells[r.key] = got
			b.collect(r.key)
			if o.keep {
				if err := b.keep(r.key); err != nil {
					c.failed = err.Error()
					return c
				}
			}
		}
		if o.verbose {
			fmt.Printf("#   %-15s %-17s %s %s\n", c.name, r.key, c.cells[r.key].mark, c.cells[r.key].reason)
		}
		if r.key == "metadata" && c.cells[r.key].mark != pass {
			break
		}
	}
	return c
}

// attempt runs one case.
func attempt(ctx context.Context, r aCase, b *bench) outcome {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := r.run(ctx, b); err != nil {
		return outcome{fail, oneLine(err.Error())}
	}
	return outcome{mark: pass}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
