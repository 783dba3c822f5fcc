package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
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
	return &http.Client{Timeout: c.Timeout, Transport: guardedTransport(c, guard(allowed), 32)}, nil
}

// control is what a net.Dialer asks before it connects to an address.
type control func(network, address string, conn syscall.RawConn) error

// guard lets through what is public or allowed.
func guard(allowed []netip.Prefix) control {
	public := ssrf.New(ssrf.WithAnyPort())
	return func(network, address string, conn syscall.RawConn) error {
		if contains(allowed, address) {
			return nil
		}
		if err := public.Safe(network, address, conn); err != nil {
			return problem.Wrap(problem.Forbidden, err, "connections to %s are not allowed; if that is where the target is, add it to outbound.allow", address)
		}
		return nil
	}
}

// contains reports whether an address with its port is in one of the networks.
func contains(networks []netip.Prefix, address string) bool {
	ap, err := netip.ParseAddrPort(address)
	return err == nil && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ap.Addr().Unmap()) })
}

func guardedTransport(c OutboundConfig, ctl control, idle int) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: ctl}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: c.Timeout,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   idle,
		ForceAttemptHTTP2:     true,
	}
}
