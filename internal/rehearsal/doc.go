// Package rehearsal hides a stand-in for Atlassian Cloud: a SAML service provider, a SCIM 2.0 server and the
// organization behind them, so that an integration can be lived through before it touches production.
//
// It behaves as the public material says that Atlassian Cloud does: checks, error texts, filters, limits and
// oddities included. It shares no code with the side that it checks, and verifies signatures with another
// library than the one that makes them.
//
// What happens between the parts:
//
//	SCIM write ──► directory record ──(propagation delay)──► account, groups of the organization ──► product access
//	SAML response ──► connection ──► account by NameID ──► authentication policy ──► session on the site
//
// The SCIM directory is written at once; the organization follows later (Switches.PropagationDelay), which is
// why conflicts show up in the troubleshooting log and not in the HTTP answer.
package rehearsal
