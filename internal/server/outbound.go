package server

import (
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// outboundClient returns the one HTTP client for requests to targets. After a name is resolved
// it refuses loopback, private and link-local addresses but those that the configuration
// allows, so that nobody who can enter a URL reaches what only this machine can.
func outboundClient(c OutboundConfig) (*http.Client, error) {
	allowed, err := prefixes(c.Allow)
	if err != nil {
		return nil, err
	}
	guard := ssrf.New(ssrf.WithAnyPort())
	control := func(network, address string, conn syscall.RawConn) error {
		if ap, err := netip.ParseAddrPort(address); err == nil {
			addr := ap.Addr().Unmap()
			for _, p := range allowed {
				if p.Contains(addr) {
					return nil
				}
			}
		}
		if err := guard.Safe(network, address, conn); err != nil {
			return problem.Wrap(problem.Forbidden, err, "connections to %s are not allowed; if that is where the target is, add it to outbound.allow", address)
		}
		return nil
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: control}
	return &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: c.Timeout,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   32,
			ForceAttemptHTTP2:     true,
		},
	}, nil
}
