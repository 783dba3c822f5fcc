package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

// configPath finds the configuration file's path before flags are parsed: other flags take
// their values from it.
func configPath(args []string) string {
	for i, a := range args {
		if a == "--" {
			break
		}
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v
		}
		if (a == "--config" || a == "-c") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return os.Getenv("LATCHKEY_CONFIG")
}

// fileResolver gives flags their values from the configuration file, unless the environment or
// the command line has them.
type fileResolver struct {
	path   func() string
	once   sync.Once
	values map[string]any
	err    error
}

func (r *fileResolver) load() {
	path := r.path()
	if path == "" {
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		r.err = fmt.Errorf("the configuration file can't be read: %w", err)
		return
	}
	// Decoding into the struct finds unknown keys and wrong types, with their line.
	var known server.Config
	if err := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict()).Decode(&known); err != nil && len(bytes.TrimSpace(raw)) > 0 {
		r.err = fmt.Errorf("%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
		return
	}
	var tree map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		r.err = fmt.Errorf("%s: %w", path, err)
		return
	}
	r.values = map[string]any{}
	flatten("", tree, r.values)
}

// flatten turns publicUrl and outbound.allow into public-url and outbound-allow, as the flags
// are called.
func flatten(prefix string, tree, out map[string]any) {
	for k, v := range tree {
		name := prefix + kebab(k)
		if sub, ok := v.(map[string]any); ok {
			flatten(name+"-", sub, out)
			continue
		}
		if list, ok := v.([]any); ok {
			words := make([]string, len(list))
			for i, x := range list {
				words[i] = fmt.Sprint(x)
			}
			out[name] = strings.Join(words, ",")
			continue
		}
		out[name] = fmt.Sprint(v)
	}
}

// kebab turns publicUrl into public-url.
func kebab(s string) string {
	var b strings.Builder
	for i, c := range s {
		if c >= 'A' && c <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

func (r *fileResolver) Validate(*kong.Application) error {
	r.once.Do(r.load)
	if r.err != nil {
		return problem.New(problem.Invalid, "%v", r.err)
	}
	return nil
}

func (r *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	r.once.Do(r.load)
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	v, ok := r.values[flag.Name]
	if !ok {
		return nil, nil
	}
	return v, nil
}

type configCmd struct{}

// Run prints the configuration as a file that could be used, but for its masked secrets.
func (configCmd) Run(c *server.Config, t terminal) error {
	checkErr := c.Check()
	b, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	_, err = t.out.Write(b)
	return errors.Join(checkErr, err)
}
