package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// fetcher fetches documents, such as metadata, from addresses that administrators enter. Whatever the address, and
// wherever it leads on to, connections pass the guard of outboundClient; without TLS only addresses that the configuration
// allows by name are reached, since anybody on the way could change the document.
type fetcher struct {
	client *http.Client
	agent  string
}

const (
	// fetchTime bounds a whole document; that an answer begins is bounded by outbound.timeout.
	fetchTime    = 2 * time.Minute
	maxRedirects = 3
)

func newFetcher(c OutboundConfig, version string) (*fetcher, error) {
	allowed, err := prefixes(c.Allow)
	if err != nil {
		return nil, err
	}
	return &fetcher{
		agent: "Latchkey/" + version,
		client: &http.Client{
			Timeout: max(fetchTime, c.Timeout),
			Transport: byScheme{
				"https": guardedTransport(c, guard(allowed), 1),
				"http":  guardedTransport(c, onlyAllowed(allowed), 1),
			},
			CheckRedirect: func(r *http.Request, via []*http.Request) error {
				switch {
				case len(via) > maxRedirects:
					return problem.New(problem.Unavailable, "The address leads on and on to others.")
				case via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https":
					return problem.New(problem.Unavailable, "The address leads on to one without https, %s. Enter where the document really is.", r.URL.Redacted())
				}
				return nil
			},
		},
	}, nil
}

// onlyAllowed lets through what the configuration allows, and nothing else.
func onlyAllowed(allowed []netip.Prefix) control {
	return func(_, address string, _ syscall.RawConn) error {
		if contains(allowed, address) {
			return nil
		}
		return problem.New(problem.Forbidden, "The address must begin with https://. Without it documents are only fetched from addresses that outbound.allow names, and %s is none.", address)
	}
}

// byScheme chooses the transport, for each step of a chain of redirects anew.
type byScheme map[string]*http.Transport

func (s byScheme) RoundTrip(r *http.Request) (*http.Response, error) {
	t, ok := s[r.URL.Scheme]
	if !ok {
		return nil, problem.New(problem.Unavailable, "The address leads on to one that isn't https.")
	}
	return t.RoundTrip(r)
}

func (s byScheme) CloseIdleConnections() {
	for _, t := range s {
		t.CloseIdleConnections()
	}
}

// fetch asks for a document. The body is the caller's to limit and to close.
func (f *fetcher) fetch(ctx context.Context, q app.Request) (app.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, q.URL, nil)
	if err != nil {
		return app.Answer{}, problem.Wrap(problem.Invalid, err, "This is no address that can be fetched.")
	}
	r.Header.Set("User-Agent", f.agent)
	r.Header.Set("Accept", "application/samlmetadata+xml, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1")
	if q.ETag != "" {
		r.Header.Set("If-None-Match", q.ETag)
	}
	if q.LastModified != "" {
		r.Header.Set("If-Modified-Since", q.LastModified)
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return app.Answer{}, unreachable(err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return app.Answer{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"), Body: resp.Body}, nil
	case resp.StatusCode == http.StatusNotModified && (q.ETag != "" || q.LastModified != ""):
		return app.Answer{Unchanged: true}, resp.Body.Close()
	}
	status := fmt.Sprintf("%d", resp.StatusCode)
	if text := http.StatusText(resp.StatusCode); text != "" {
		status += " (" + text + ")"
	}
	return app.Answer{}, problem.Wrap(problem.Unavailable, resp.Body.Close(), "The address answers %s.", status)
}

// unreachable puts a request that failed into words. A name or address within the network isn't told beyond what was
// entered, but for what the guard says.
func unreachable(err error) error {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p
	}
	_, noName := errors.AsType[*net.DNSError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, wrongName := errors.AsType[x509.HostnameError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case noName:
		return problem.Wrap(problem.Unavailable, err, "The host of the address isn't known.")
	case untrusted, wrongName:
		return problem.Wrap(problem.Unavailable, err, "The certificate of the address isn't trusted here.")
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return problem.Wrap(problem.Unavailable, err, "The address didn't answer in time.")
	}
	return problem.Wrap(problem.Unavailable, err, "The address can't be reached.")
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }
