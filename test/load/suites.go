package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// suite runs tests of packages that hold what a measure asks for, and tells how many passed.
func suite(ctx context.Context, r *report, what, run string, packages ...string) error {
	args := append([]string{"test", "-count=1", "-json", "-run", run}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	passed, skipped := 0, 0
	var failed []string
	d := json.NewDecoder(out)
	for {
		var e struct{ Action, Package, Test string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return errors.Join(err, cmd.Wait())
		}
		name := e.Package[strings.LastIndexByte(e.Package, '/')+1:] + " " + e.Test
		switch {
		case e.Action == "fail" && (e.Test != "" || len(failed) == 0):
			failed = append(failed, strings.TrimSpace(name))
		case e.Test == "":
		case e.Action == "pass":
			passed++
		case e.Action == "skip":
			skipped++
		}
	}
	if err := cmd.Wait(); err != nil && len(failed) == 0 {
		failed = append(failed, err.Error())
	}
	result := fmt.Sprintf("%d passed", passed)
	if len(failed) > 0 {
		result += ", failed: " + strings.Join(failed[:min(len(failed), 3)], ", ")
	}
	if skipped > 0 {
		result += fmt.Sprintf(", %d skipped", skipped)
	}
	r.row(what, "", result, "", "all", len(failed) == 0 && passed > 0 && skipped == 0)
	return nil
}

// wholeProgram signs on at the built program as two service providers, and has the responses
// judged by xmlsec1, xmllint and goxmldsig.
func wholeProgram(ctx context.Context, o options, r *report) (err error) {
	s, err := furnishSignOn(ctx, 100, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	p, err := s.serve(ctx, o.bin, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	email := s.people[0]
	judge := func(sp *provider, page []byte, id string, signatures int) error {
		if err := sp.check(page, id, email, signatures == 2); err != nil {
			return err
		}
		_, fields, err := samltest.AutoForm(bytes.NewReader(page))
		if err != nil {
			return err
		}
		xml, err := base64.StdEncoding.DecodeString(fields.Get("SAMLResponse"))
		if err != nil {
			return err
		}
		return errors.Join(samltest.XMLSec(ctx, xml, sp.certificate, signatures), samltest.Validate(ctx, xml, samltest.SchemaProtocol))
	}
	row := func(what string, err error) {
		result := "accepted"
		if err != nil {
			result = "refused: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		r.row(what, "", result, "", "accepted", err == nil)
	}
	page, id, err := s.fullSignIn(ctx, http.DefaultTransport, email)
	if err != nil {
		return err
	}
	row("built program: request, password, response", judge(&s.one, page, id, 1))
	c, err := browser()
	if err != nil {
		return err
	}
	resp, err := signIn(ctx, c, s.url, "", email)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	for _, x := range []struct {
		what       string
		sp         *provider
		signatures int
	}{{"built program: signed in, one signature", &s.one, 1}, {"built program: signed in, two signatures", &s.both, 2}} {
		id, address := x.sp.request()
		page, err := fetch(ctx, c, address)
		if err != nil {
			return err
		}
		row(x.what, judge(x.sp, page, id, x.signatures))
	}
	return nil
}

func measureInterop(ctx context.Context, o options, r *report) error {
	if _, err := exec.LookPath("xmlsec1"); err != nil {
		r.missing("xmlsec1 is not installed here")
	}
	if err := wholeProgram(ctx, o, r); err != nil {
		return err
	}
	for _, s := range []struct {
		what, run string
		packages  []string
	}{
		{"signatures verified by xmlsec1 and goxmldsig, messages by the OASIS schemas", ".", []string{"./internal/saml", "./internal/saml/xmldsig", "./internal/saml/samltest"}},
		{"the endpoints, with a foreign library as service provider", ".", []string{"./internal/idp"}},
		{"the stand-in for Atlassian, which reads responses by another library", ".", []string{"./internal/rehearsal"}},
	} {
		if err := suite(ctx, r, s.what, s.run, s.packages...); err != nil {
			return err
		}
	}
	r.missing("no whole foreign service providers (SimpleSAMLphp, mod_auth_mellon, Spring Security) are driven")
	return nil
}

func measureContract(ctx context.Context, _ options, r *report) error {
	for _, s := range []struct {
		what, run string
		packages  []string
	}{
		{"connectors as files: facts, sources, examples, mappings", ".", []string{"./internal/catalog"}},
		{"the target that plays Atlassian's quirks", ".", []string{"./internal/rehearsal"}},
		{"provisioning against a target with those quirks", ".", []string{"./internal/provision", "./internal/provision/plan"}},
	} {
		if err := suite(ctx, r, s.what, s.run, s.packages...); err != nil {
			return err
		}
	}
	r.missing("no real tenant was asked")
	return nil
}
