package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// install gets what the service providers need and this machine hasn't got, and says so.
func install(ctx context.Context, root, dir string, all []entry) error {
	var missing []string
	node := false
	// The judges.
	wanted := []string{"xmlsec1", "libxml2-utils", "opensaml-schemas", "xmltooling-schemas"}
	for _, e := range all {
		node = node || e.node
		wanted = append(wanted, e.packages...)
	}
	for _, pkg := range wanted {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", pkg).Output()
		if (err != nil || string(out) != "installed") && !slices.Contains(missing, pkg) {
			missing = append(missing, pkg)
		}
	}
	if node {
		if _, err := exec.LookPath("npm"); err != nil {
			missing = append(missing, "npm")
		}
	}
	if len(missing) > 0 {
		if err := apt(ctx, dir, missing); err != nil {
			return err
		}
	}
	if node {
		if _, err := os.Stat(filepath.Join(root, "node_modules", "@node-saml", "node-saml", "package.json")); err != nil {
			fmt.Println("# installing the libraries of test/interop/package-lock.json")
			if err := quietly(ctx, root, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"); err != nil {
				return err
			}
		}
	}
	return quietly(ctx, filepath.Join(root, "gosaml2"), "go", "build", "-o", filepath.Join(dir, "gosaml2"), ".")
}

// noStart is where Debian's packages ask whether a service may be started.
const noStart = "/usr/sbin/policy-rc.d"

// apt installs packages of Debian, and keeps it from starting their services.
func apt(ctx context.Context, dir string, packages []string) (err error) {
	fmt.Println("# installing", strings.Join(packages, ", "))
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("this needs %s: install them, or run it as root on Debian", strings.Join(packages, ", "))
	}
	f, err := os.OpenFile(noStart, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		// The machine has a rule of its own.
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, os.Remove(noStart)) }()
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if err := quietly(ctx, dir, "apt-get", "update", "-q"); err != nil {
		return err
	}
	return quietly(ctx, dir, "apt-get", append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)...)
}

// quietly runs a command in a folder; what it says is shown only if it fails.
func quietly(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return nil
}
