package main

import (
	"github.com/alecthomas/kong"
)

// printHelp prints help. The configuration's flags are listed where somebody configures the
// program, and not again with each of the many commands that merely read it.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	options.FlagsLast = true
	if selected := ctx.Selected(); selected != nil {
		switch selected.FullPath() {
		case "latchkey serve", "latchkey config", "latchkey demo":
			return kong.DefaultHelpPrinter(options, ctx)
		}
	}
	// Those that say where the installation is stay.
	keep := map[string]bool{"help": true, "version": true, "config": true, "data": true}
	var hidden []*kong.Flag
	for _, f := range ctx.Model.Flags {
		if f.Hidden || keep[f.Name] && (f.Name != "version" || ctx.Selected() == nil) {
			continue
		}
		f.Hidden = true
		hidden = append(hidden, f)
	}
	err := kong.DefaultHelpPrinter(options, ctx)
	for _, f := range hidden {
		f.Hidden = false
	}
	return err
}
