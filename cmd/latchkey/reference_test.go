package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/server"
)

var update = flag.Bool("update", false, "write the generated parts of docs anew")

// model is the command line as the program itself has it.
func model(t *testing.T) *kong.Application {
	t.Helper()
	var c commands
	p, err := newParser(&c, nil, io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

// golden compares a document with what the program says, or writes it.
func golden(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with: go test ./cmd/latchkey -update)", err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s is out of date (write it with: go test ./cmd/latchkey -update) -program +document:\n%s", path, d)
	}
}

// setting is one field of the configuration, as a person meets it.
type setting struct{ file, env, flag, deflt, help, group string }

// settings walks server.Config.
func settings(t *testing.T) []setting {
	t.Helper()
	var out []setting
	var walk func(ty reflect.Type, file, flag, group string)
	walk = func(ty reflect.Type, file, flagPrefix, group string) {
		for f := range ty.Fields() {
			name := f.Tag.Get("yaml")
			if name == "" {
				t.Errorf("%s.%s has no name in the file", ty, f.Name)
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, file+name+".", flagPrefix+f.Tag.Get("prefix"), f.Tag.Get("group"))
				continue
			}
			out = append(out, setting{
				file: file + name, env: f.Tag.Get("env"), flag: flagPrefix + kebab(name), deflt: f.Tag.Get("default"), help: f.Tag.Get("help"), group: group,
			})
		}
	}
	walk(reflect.TypeFor[server.Config](), "", "", "")
	return out
}

func TestEverySettingHasAllItsNames(t *testing.T) {
	flags := map[string]*kong.Flag{}
	for _, f := range model(t).Flags {
		flags[f.Name] = f
	}
	for _, s := range settings(t) {
		t.Run(s.file, func(t *testing.T) {
			f := flags[s.flag]
			if f == nil {
				t.Fatalf("there is no flag --%s", s.flag)
			}
			if want := "LATCHKEY_" + strings.ToUpper(strings.ReplaceAll(s.flag, "-", "_")); s.env != want || len(f.Envs) != 1 || f.Envs[0] != want {
				t.Errorf("its environment variable is %q %v, want %s", s.env, f.Envs, want)
			}
			if !strings.HasSuffix(s.help, ".") {
				t.Errorf("its help %q is no sentence", s.help)
			}
		})
	}
}

// TestEverySettingCanBeGivenInEachWay sets each to a value of its own by file, environment and
// flag, and looks at what arrives.
func TestEverySettingCanBeGivenInEachWay(t *testing.T) {
	for _, s := range settings(t) {
		t.Run(s.file, func(t *testing.T) {
			var got []any
			for way := range 3 {
				value := example(t, s, way+1)
				args := []string{"serve"}
				file := "{}\n"
				if way == 0 {
					file = asYAML(s.file, value)
				}
				path := t.TempDir() + "/latchkey.yaml"
				if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", path)
				if way == 1 {
					t.Setenv(s.env, value)
				}
				if way == 2 {
					args = append(args, "--"+s.flag+"="+value) // the environment of before is still set: the flag wins
				}
				var c commands
				p, err := newParser(&c, args, io.Discard, io.Discard, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Parse(args); err != nil {
					t.Fatal(err)
				}
				arrived := at1(reflect.ValueOf(c.Config), s.file)
				if text := printed(arrived); text != value {
					t.Errorf("given %q in way %d, it is %q", value, way, text)
				}
				got = append(got, arrived)
			}
			if reflect.DeepEqual(got[0], got[1]) {
				t.Error("the test gave the same value twice")
			}
		})
	}
}

// example is a valid value of a setting, a different one for each n.
func example(t *testing.T, s setting, n int) string {
	t.Helper()
	switch v := at1(reflect.ValueOf(server.Config{}), s.file).(type) {
	case time.Duration:
		return (time.Duration(n) * time.Hour).String()
	case int, int64:
		return fmt.Sprint(1000 + n)
	case []string:
		return fmt.Sprintf("10.%d.0.0/16,10.%d.1.0/24", n, n+10)
	case string, keys.Secret:
		switch s.file {
		case "log.level":
			return []string{"debug", "warn", "error"}[n-1]
		case "mail.security":
			return []string{"starttls", "implicit", "none"}[n-1]
		case "signing":
			return []string{"go", "libcrypto", "auto"}[n-1]
		case "log.format":
			return []string{"text", "json", "text"}[n-1]
		}
		return fmt.Sprintf("value-%d", n)
	default:
		t.Fatalf("a setting of type %T has no example", v)
		return ""
	}
}

func asYAML(path, value string) string {
	parts := strings.Split(path, ".")
	if strings.Contains(value, ",") {
		value = "[" + value + "]"
	}
	out := ""
	for i, p := range parts {
		out += strings.Repeat("  ", i) + p + ":"
		if i < len(parts)-1 {
			out += "\n"
		}
	}
	return out + " " + value + "\n"
}

// at1 reads a field of the configuration by its name in the file.
func at1(v reflect.Value, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("yaml") == name {
				v = v.Field(i)
				break
			}
		}
	}
	return v.Interface()
}

func printed(v any) string {
	switch v := v.(type) {
	case keys.Secret:
		return v.Reveal()
	case []string:
		return strings.Join(v, ",")
	}
	return fmt.Sprint(v)
}

func TestConfigurationIsDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Configuration

Everything has a default: ` + "`latchkey serve`" + ` alone serves on 127.0.0.1:8080 with its data in ` + "`latchkey-data`" + `.

Each setting can be given in a YAML file (` + "`--config FILE`" + ` or ` + "`LATCHKEY_CONFIG`" + `), in the environment, and as a flag.
Of several the flag wins, then the environment, then the file. Lists are YAML lists in the file and separated by
commas elsewhere; spans of time are written as 90s, 15m or 8h. The file is read strictly: a key that doesn't
exist is refused with its line.

` + "```yaml" + `
publicUrl: https://id.example.com
trustedProxies: [10.0.0.0/8]
data: /var/lib/latchkey
session:
  idle: 4h
log:
  format: json
` + "```" + `

` + "`latchkey config`" + ` prints the effective configuration, with secrets masked, in the form of such a file.

Secrets (master key, database and mail password) are better given in the environment or by a file that only the
program's user may read: a flag can be seen by everybody on the machine.

`)
	group := "-"
	for _, s := range settings(t) {
		if s.group != group {
			group = s.group
			title := group
			if title == "" {
				title = "General"
			}
			fmt.Fprintf(&b, "## %s\n\n| in the file | environment | flag | default | meaning |\n|---|---|---|---|---|\n", title)
		}
		deflt := s.deflt
		if deflt != "" {
			deflt = "`" + deflt + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | `--%s` | %s | %s |\n", s.file, s.env, s.flag, deflt, strings.ReplaceAll(s.help, "|", `\|`))
	}
	doc := b.String()
	doc = strings.ReplaceAll(doc, "|\n## ", "|\n\n## ")
	golden(t, "../../docs/configuration.md", doc)
}

func TestCommandsAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Command line

The program is its own tool for administrators: the same ` + "`latchkey`" + ` that serves. Commands work on the
installation's database directly, so they need the same configuration as the server (` + "`--data`" + ` or
` + "`LATCHKEY_POSTGRES`" + `, and the master key), and they work whether it is being served or not. What they do
is recorded in the events under the name of the operating system's user (` + "`cli:name`" + `).

- A person is named by e-mail address, user name or id; a group by name or id; an application by label, by the
  last part of its IdP URL, or by id.
- ` + "`--output json`" + ` prints what programs read, in the form of the API and without limits on the number of rows; ` + "`events`" + ` and acts print one object a line.
- Colours and progress show on a terminal only, and colours not with ` + "`NO_COLOR`" + `. Tables fit the terminal's width; elsewhere nothing is cut.
- Secrets are asked for on a terminal and read as a line from standard input elsewhere.
- What can't be undone asks, and without a terminal needs ` + "`--yes`" + `.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | the command, a flag or the input is wrong; or some rows of an import are |
| 3 | not found |
| 4 | conflict: taken, changed meanwhile, or not possible in this state |
| 5 | not allowed |
| 6 | try again later: the other side doesn't answer, or isn't done yet |

The settings that every command takes are in [configuration.md](configuration.md).

`)
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		if n.Type == kong.CommandNode {
			document(t, &b, n)
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(model(t).Node)
	golden(t, "../../docs/cli.md", strings.TrimRight(b.String(), "\n")+"\n")
}

// document writes one command, and checks that it explains itself.
func document(t *testing.T, b *strings.Builder, n *kong.Node) {
	t.Helper()
	path := n.FullPath()
	if !strings.HasSuffix(n.Help, ".") {
		t.Errorf("%s: the help %q is no sentence", path, n.Help)
	}
	level := "##"
	if n.Parent != nil && n.Parent.Type == kong.CommandNode {
		level = "###"
	}
	fmt.Fprintf(b, "%s %s\n\n%s", level, strings.TrimPrefix(path, "latchkey "), n.Help)
	if n.Detail != "" {
		fmt.Fprintf(b, " %s", n.Detail)
	}
	b.WriteString("\n\n")
	if !n.Leaf() {
		return
	}
	usage := path
	for _, p := range n.Positional {
		usage += " " + p.Summary()
	}
	if len(n.Flags) > 0 {
		usage += " [flags]"
	}
	fmt.Fprintf(b, "```\n%s\n```\n\n", usage)
	if len(n.Positional)+len(n.Flags) == 0 {
		return
	}
	b.WriteString("| | |\n|---|---|\n")
	row := func(name, help string, envs []string) {
		if !strings.HasSuffix(help, ".") {
			t.Errorf("%s %s: the help %q is no sentence", path, name, help)
		}
		for _, env := range envs {
			help += " `" + env + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(name, "|", `\|`), strings.ReplaceAll(strings.ReplaceAll(help, "|", `\|`), "<", `\<`))
	}
	for _, p := range n.Positional {
		row(p.Summary(), p.Help, nil)
	}
	for _, f := range n.Flags {
		name := f.String()
		if f.Short != 0 && !strings.HasPrefix(name, "-"+string(f.Short)) {
			name = fmt.Sprintf("-%c, %s", f.Short, name)
		}
		row(strings.ReplaceAll(name, `=""`, "=…"), f.Help, f.Envs)
	}
	b.WriteString("\n")
}
