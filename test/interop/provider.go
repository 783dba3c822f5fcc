package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Formats of NameIDs.
const (
	formatEmail      = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
	formatPersistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	formatTransient  = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
)

// settings are what a case wants of the service provider.
type settings struct {
	// Binding is how requests go: redirect or post.
	Binding string `json:"binding"`
	// Sign makes it sign its requests for sign-on; those for logout are always signed.
	Sign    bool `json:"sign"`
	Force   bool `json:"force"`
	Passive bool `json:"passive"`
	// Format is the NameID format that it asks for.
	Format string `json:"format"`
	// What it insists on in an answer.
	WantAssertionSigned bool `json:"wantAssertionSigned"`
	WantResponseSigned  bool `json:"wantResponseSigned"`
	WantEncrypted       bool `json:"wantEncrypted"`
}

// baseline is what cases start from.
func baseline() settings {
	return settings{Binding: "redirect", Format: formatEmail, WantAssertionSigned: true}
}

// idpSide is what a service provider knows of Latchkey.
type idpSide struct {
	Metadata     string   `json:"metadata"` // a file
	EntityID     string   `json:"entityID"`
	SSORedirect  string   `json:"ssoRedirect"`
	SSOPost      string   `json:"ssoPost"`
	SLORedirect  string   `json:"sloRedirect"`
	SLOPost      string   `json:"sloPost"`
	Certificates []string `json:"certificates"` // PEM, the current one first
}

// session is what a service provider knows of a person.
type session struct {
	NameID     string              `json:"nameID"`
	Format     string              `json:"format"`
	Attributes map[string][]string `json:"attributes"`
	// Error says why the last response was refused.
	Error string `json:"error"`
}

// provider is a foreign service provider.
type provider interface {
	// name is the product's, version the installed one.
	name() string
	version(context.Context) (string, error)
	// start makes ready what lasts over all cases.
	start(context.Context, *lab) error
	// configure takes settings and what is known of Latchkey.
	configure(context.Context, settings, idpSide) error
	// metadata is its own.
	metadata(context.Context) ([]byte, error)
	// login is the address at which a person begins, logout the one at which they end.
	login(settings) string
	logout(settings) string
	// session tells what it knows of the person of the browser; nil if they aren't signed in.
	session(context.Context, *browser) (*session, error)
	// lacks tells the cases that the product can't do.
	lacks() map[string]lack
	stop() error
}

// lack is a case that a service provider can't do. It is tried all the same: only if it ends with the symptom does the
// lack explain it, and if it passes there is no lack.
type lack struct {
	reason  string
	symptom string // part of the error
}

// lab is what providers need of the run.
type lab struct {
	root  string // folder of this program's sources
	dir   string // temporary folder
	slug  string // of the provider
	label string // of its application
	key   pair   // the provider's
}

// scripted is a service provider of a few lines around a library, in a language of its own. All of them behave alike:
//
//	GET  /metadata       its metadata
//	GET  /login          begins sign-on
//	POST /acs            takes a response
//	GET  /session        what it knows, as JSON; 401 if nobody is signed in
//	GET  /logout         begins logout
//	     /slo            takes logout messages
//
// They read their settings from a file with each request.
type scripted struct {
	title string
	// command starts it; the file of settings is added as last argument.
	command func(*lab) []string
	env     []string
	ver     func(context.Context, *lab) (string, error)
	cannot  map[string]lack

	lab  *lab
	base string
	file string
	run  *program
}

// scriptedSettings are the file.
type scriptedSettings struct {
	settings
	Listen      string  `json:"listen"`
	Base        string  `json:"base"`
	EntityID    string  `json:"spEntityID"`
	Key         string  `json:"key"`
	Certificate string  `json:"certificate"`
	IDP         idpSide `json:"idp"`
}

func (s *scripted) name() string { return s.title }

func (s *scripted) version(ctx context.Context) (string, error) { return s.ver(ctx, s.lab) }

func (s *scripted) lacks() map[string]lack { return s.cannot }

func (s *scripted) start(ctx context.Context, l *lab) error {
	addr, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	s.lab, s.base, s.file = l, "http://"+addr, filepath.Join(l.dir, l.slug+".json")
	return nil
}

func (s *scripted) configure(ctx context.Context, set settings, idp idpSide) error {
	b, err := json.MarshalIndent(scriptedSettings{
		settings: set, Listen: strings.TrimPrefix(s.base, "http://"), Base: s.base, EntityID: s.base + "/metadata",
		Key: s.lab.key.keyFile, Certificate: s.lab.key.certFile, IDP: idp,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file, b, 0o600); err != nil {
		return err
	}
	if s.run != nil {
		return nil
	}
	line := append(s.command(s.lab), s.file)
	if s.run, err = start(filepath.Join(s.lab.dir, s.lab.slug+".log"), s.env, line[0], line[1:]...); err != nil {
		return err
	}
	return s.run.answers(ctx, s.base+"/session")
}

func (s *scripted) metadata(ctx context.Context) ([]byte, error) {
	return fetch(ctx, s.base+"/metadata")
}

func (s *scripted) login(settings) string { return s.base + "/login" }

func (s *scripted) logout(settings) string { return s.base + "/logout" }

func (s *scripted) session(ctx context.Context, b *browser) (*session, error) {
	p, err := b.open(ctx, s.base+"/session")
	if err != nil {
		return nil, err
	}
	switch p.status {
	case http.StatusOK:
		var got session
		return &got, json.Unmarshal(p.body, &got)
	case http.StatusUnauthorized:
		return nil, nil
	}
	return nil, fmt.Errorf("session: %s", p)
}

func (s *scripted) stop() error {
	if s.run == nil {
		return nil
	}
	return s.run.stop()
}

// says runs a command and returns the first line of what it prints.
func says(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// debian is the version of an installed package.
func debian(pkg string) func(context.Context, *lab) (string, error) {
	return func(ctx context.Context, _ *lab) (string, error) {
		return says(ctx, "dpkg-query", "-W", "-f", "${Version}", pkg)
	}
}

// npm is the version of a package of node_modules.
func npm(pkg string) func(context.Context, *lab) (string, error) {
	return func(_ context.Context, l *lab) (string, error) {
		b, err := os.ReadFile(filepath.Join(l.root, "node_modules", pkg, "package.json"))
		if err != nil {
			return "", err
		}
		var p struct{ Version string }
		return p.Version, json.Unmarshal(b, &p)
	}
}

// pair is a key and its certificate, as files and as they are.
type pair struct {
	keyFile, certFile string
	keyPEM, certPEM   []byte
}

// bare is a PEM block's base64 without its frame.
func bare(text []byte) (string, error) {
	b, _ := pem.Decode(text)
	if b == nil {
		return "", errors.New("no PEM")
	}
	s := string(pem.EncodeToMemory(b))
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[1:len(lines)-1], ""), nil
}
