package saml_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

// TestClass14_InflatingStops: a message that inflates to much more than is read costs the memory of what is read, not of
// what it would become.
func TestClass14_InflatingStops(t *testing.T) {
	bomb := samltest.RedirectQuery("<samlp:AuthnRequest>"+strings.Repeat(" ", 24<<20), "") // some 32 KB
	if len(bomb) > 48<<10 {
		t.Fatalf("the query has %d bytes: it is refused for its length", len(bomb))
	}
	for _, read := range []func(string) (saml.Incoming, error){saml.ReadRedirect, saml.ReadLogoutRedirect} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(bomb)
		runtime.ReadMemStats(&after)
		refused(t, err, saml.TooLarge)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
			t.Errorf("%d bytes were allocated for a query of %d", n, len(bomb))
		}
	}
}

// TestClass09_MalformedEncoding: what isn't percent-encoding is refused, for two readers would read it differently.
func TestClass09_MalformedEncoding(t *testing.T) {
	_, good, _ := strings.Cut(samltest.RedirectQuery(atlassian().Request(ssoURL, noon).XML(), ""), "=")
	for _, value := range []string{"%", "%4", "%zz", "%4g", "%g4", "%%41", "%+1", "%-1", "% 1", "%u0041", "\x25\xff\xff"} {
		for _, query := range []string{"SAMLRequest=" + good + "&RelayState=" + value, "SAMLRequest=" + good + value, "SAMLRequest=" + value + good, "SAMLRequest=" + good + "&RelayState=a" + value + "z"} {
			if _, err := saml.ReadRedirect(query); err == nil {
				t.Errorf("%q is read", query[max(0, len(query)-40):])
			}
			if _, err := saml.ReadPost([]byte(query)); err == nil {
				t.Errorf("%q is read by POST", query[max(0, len(query)-40):])
			}
		}
	}
}
