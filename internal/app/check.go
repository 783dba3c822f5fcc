package app

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
)

// parseURL is url.Parse for an absolute http or https address without surprises in it.
func parseURL(raw, what string) (*url.URL, error) {
	if raw == "" {
		return nil, problem.New(problem.Invalid, "Enter the %s.", what)
	}
	if len(raw) > maxURL {
		return nil, problem.New(problem.Invalid, "The %s may have at most %d characters.", what, maxURL)
	}
	if !plainText(raw) || strings.ContainsAny(raw, " \"<>\\^`{|}") { // RFC 3986 has none of these
		return nil, problem.New(problem.Invalid, "The %s holds a character that no address has. Copy it again.", what)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, problem.New(problem.Invalid, "The %s must be a whole address that begins with https://.", what)
	}
	if u.User != nil {
		return nil, problem.New(problem.Invalid, "The %s must not hold a user name or password.", what)
	}
	return u, nil
}

// checkEndpoint checks an address to which we send what must not be read on the way: https, or http on this very machine.
// Its query string belongs to it; a fragment can't.
func checkEndpoint(raw, what string) error {
	u, err := parseURL(raw, what)
	if err != nil {
		return err
	}
	if u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return problem.New(problem.Invalid, "The %s must begin with https://. (http is only possible for a program on this same machine.)", what)
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		return problem.New(problem.Invalid, "The %s must not have a part behind #.", what)
	}
	return nil
}

// checkLink checks an address that people are sent to.
func checkLink(raw string) error {
	_, err := parseURL(raw, "address")
	return err
}

// isLoopback accepts what saml.CheckACS accepts.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func asSAML(err error) (*saml.Error, bool) { return errors.AsType[*saml.Error](err) }
