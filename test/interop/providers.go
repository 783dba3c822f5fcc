package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
)

// entry is a service provider that can be tried.
type entry struct {
	slug     string
	packages []string // of Debian
	node     bool     // needs node_modules
	module   bool     // needs the programs of test/interop/gosaml2
	make     func() provider
}

// providers are all, in the order of the matrix.
func providers() []entry {
	return []entry{
		{slug: "shibboleth", packages: []string{"apache2-bin", "libapache2-mod-shib", "shibboleth-sp-utils"}, make: newShibboleth},
		{slug: "mellon", packages: []string{"apache2-bin", "libapache2-mod-auth-mellon"}, make: newMellon},
		{slug: "node-saml", node: true, make: nodeSAML},
		{slug: "gosaml2", module: true, make: goSAML2},
		{slug: "crewjam", module: true, make: crewjam},
	}
}

func nodeSAML() provider {
	return &scripted{
		title: "node-saml", ver: npm("@node-saml/node-saml"),
		command: func(l *lab) []string { return []string{"node", filepath.Join(l.root, "node", "nodesaml.js")} },
		cannot: map[string]lack{
			"sha384":           {"it knows RSA with SHA-1, SHA-256 and SHA-512", "Invalid document signature"},
			"refuse-recipient": {"it doesn't look at the Recipient", "it signed zoe"},
		},
	}
}

func goSAML2() provider {
	return &scripted{
		title: "gosaml2", ver: goModule("github.com/russellhaering/gosaml2"),
		command: func(l *lab) []string { return []string{filepath.Join(l.dir, "gosaml2"), "gosaml2"} },
	}
}

func crewjam() provider {
	return &scripted{
		title: "crewjam/saml", ver: goModule("github.com/crewjam/saml"),
		command: func(l *lab) []string { return []string{filepath.Join(l.dir, "gosaml2"), "crewjam"} },
	}
}

// goModule is the version of a module that test/interop/gosaml2 requires.
func goModule(path string) func(context.Context, *lab) (string, error) {
	return func(ctx context.Context, l *lab) (string, error) {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", path)
		cmd.Dir = filepath.Join(l.root, "gosaml2")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
}
