package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// password is everybody's.
const password = "interop-Wrench-4711"

// product is the built program, served on loopback. It is used by its public doors only: command line and API.
type product struct {
	url string
	key string
	run *program
}

// serveProduct sets up an installation in a folder and serves it.
func serveProduct(ctx context.Context, bin, dir string) (*product, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(bin); err != nil {
		return nil, fmt.Errorf("there is no program at %s: run make build, or name it with -bin", bin)
	}
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	data := filepath.Join(dir, "latchkey")
	// The service providers are at 127.0.0.1: another site, for cookies.
	p := &product{url: "http://localhost:" + port}
	setup := exec.CommandContext(ctx, bin, "setup", "--data", data, "--public-url", p.url, "--email", "owner@interop.example", "--given-name", "Olive", "--family-name", "Owner", "--organization", "Interop", "--api-key", "interop", "--output", "json")
	setup.Stdin = strings.NewReader(password + "\n")
	var stderr bytes.Buffer
	setup.Stderr = &stderr
	out, err := setup.Output()
	if err != nil {
		return nil, fmt.Errorf("latchkey setup: %w: %s", err, stderr.String())
	}
	var made struct{ APIKey string }
	if err := json.Unmarshal(out, &made); err != nil || made.APIKey == "" {
		return nil, fmt.Errorf("latchkey setup gave no API key: %s", out)
	}
	p.key = made.APIKey
	p.run, err = start(filepath.Join(dir, "latchkey.log"), nil, bin, "serve", "--listen", addr, "--public-url", p.url, "--data", data, "--outbound-allow", "127.0.0.0/8", "--limits-network", "100000")
	if err != nil {
		return nil, err
	}
	if err := p.run.answers(ctx, "http://"+addr+"/readyz"); err != nil {
		return nil, errors.Join(err, p.run.stop())
	}
	return p, nil
}

// refused is an answer of the API that isn't a success.
type refused struct {
	status int
	body   string
}

func (e *refused) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// call uses the API. in is sent as JSON, or as it is if it is []byte; out may be nil.
func (p *product) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case []byte:
		body, kind = bytes.NewReader(v), "application/samlmetadata+xml"
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %w", method, path, &refused{resp.StatusCode, string(got)})
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(got, out)
}

// person creates somebody who may sign in.
func (p *product) person(ctx context.Context, email, given, family, title string, groups ...string) (id string, err error) {
	var made struct{ ID string }
	if err := p.call(ctx, http.MethodPost, "/users", map[string]any{
		"email": email, "username": email, "givenName": given, "familyName": family, "title": title, "state": "active", "groups": groups,
	}, &made); err != nil {
		return "", err
	}
	return made.ID, p.call(ctx, http.MethodPut, "/users/"+made.ID+"/password", map[string]any{"password": password}, nil)
}

func (p *product) group(ctx context.Context, name string) (id string, err error) {
	var made struct{ ID string }
	err = p.call(ctx, http.MethodPost, "/groups", map[string]any{"name": name}, &made)
	return made.ID, err
}

// application is one that people sign on to.
type application struct {
	ID   string
	Slug string
	URLs struct{ SSO, Metadata, Certificate string }
	SAML struct {
		Status      string
		IDPEntityID string `json:"idpEntityId"`
		SPEntityID  string `json:"spEntityId"`
	}
}

// application creates one, with the groups bound to it.
func (p *product) application(ctx context.Context, label, slug string, groups ...string) (application, error) {
	var a application
	if err := p.call(ctx, http.MethodPost, "/applications", map[string]any{"connector": "custom-saml", "label": label, "slug": slug}, &a); err != nil {
		return a, err
	}
	for _, g := range groups {
		if err := p.call(ctx, http.MethodPut, "/applications/"+a.ID+"/groups/"+g, nil, nil); err != nil {
			return a, err
		}
	}
	return a, nil
}

// fetch reads an address as a program, not as a person.
func fetch(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d: %.300s", address, resp.StatusCode, b)
	}
	return b, err
}

// freeAddress is an address on loopback that nobody listens at.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	return addr, l.Close()
}

// pause waits a little, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
