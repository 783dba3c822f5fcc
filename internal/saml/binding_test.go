package saml_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

func TestReadRedirect(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	good := samltest.RedirectQuery(xml, "a b&c=d%+é")
	for _, test := range []struct {
		name, query string
		want        saml.Reason // "": it is read
	}{
		{"good", good, ""},
		{"parameters of the URL itself are passed over", "tenant=7&x&" + good + "&utm_source=a%20b&", ""},
		{"empty pairs", "&&" + good + "&&", ""},
		{"deflate named", good + "&SAMLEncoding=" + url.QueryEscape("urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"), ""},
		{"other encoding named", good + "&SAMLEncoding=urn:x", saml.Malformed},
		{"nothing", "", saml.Malformed},
		{"empty", "SAMLRequest=", saml.Malformed},
		{"other name", "samlrequest=abc", saml.Malformed},
		{"a response", "SAMLResponse=abc", saml.Malformed},
		{"request and response", good + "&SAMLResponse=abc", saml.Malformed},
		{"twice", good + "&" + good, saml.Malformed},
		{"foreign parameter twice", "a=1&a=2&" + good, saml.Malformed},
		{"encoded name", strings.Replace(good, "SAMLRequest", "SAMLReques%74", 1), saml.Malformed},
		{"encoded name beside", good + "&%53AMLRequest=x", saml.Malformed},
		{"bad percent-encoding", "SAMLRequest=%zz", saml.Malformed},
		{"bad percent-encoding of RelayState", "RelayState=a%4zb&" + samltest.RedirectQuery(xml, ""), saml.Malformed},
		{"cut percent-encoding", "SAMLRequest=abc%2", saml.Malformed},
		{"not base64", "SAMLRequest=***", saml.Malformed},
		{"not deflated", "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(xml))), saml.Malformed},
		{"bytes behind", "SAMLRequest=" + url.QueryEscape(behind(good)), saml.Malformed},
		{"SigAlg alone", good + "&SigAlg=x", saml.Malformed},
		{"Signature alone", good + "&Signature=eA==", saml.Malformed},
		{"Signature not base64", good + "&SigAlg=x&Signature=*", saml.Malformed},
		{"Signature empty", good + "&SigAlg=x&Signature=", saml.Malformed},
		{"RelayState not text", "RelayState=%ff&" + samltest.RedirectQuery(xml, ""), saml.Malformed},
		{"RelayState with NUL", "RelayState=a%00&" + samltest.RedirectQuery(xml, ""), saml.Malformed},
		{"another message", samltest.RedirectQuery(strings.ReplaceAll(xml, "AuthnRequest", "LogoutRequest"), ""), saml.UnexpectedMessage},
		{"of another namespace", samltest.RedirectQuery(strings.Replace(xml, saml.NSProtocol, "urn:oasis:names:tc:SAML:1.0:protocol", 1), ""), saml.UnexpectedMessage},
		{"many parameters", strings.Repeat("&a", 1) + manyParameters(200) + "&" + good, saml.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := saml.ReadRedirect(test.query)
			if test.want != "" {
				refused(t, err, test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if in.Issuer() != spEntityID || in.Binding() != saml.BindingHTTPRedirect || string(in.XML()) != xml {
				t.Errorf("read %q %q %s", in.Issuer(), in.Binding(), in.XML())
			}
			d, err := saml.Check(in, registered(), ourselves(), noon)
			if err != nil {
				t.Fatal(err)
			}
			if d.Reply.RelayState != "a b&c=d%+é" {
				t.Errorf("RelayState %q", d.Reply.RelayState)
			}
		})
	}
}

// behind adds a byte behind the DEFLATE stream.
func behind(query string) string {
	v, err := url.ParseQuery(query)
	if err != nil {
		panic(err)
	}
	b, err := base64.StdEncoding.DecodeString(v.Get("SAMLRequest"))
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(append(b, 0))
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("&p" + strings.Repeat("x", i))
	}
	return b.String()
}

func TestReadPost(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	lines := func(s string) string { // RFC 2045 lines
		var b strings.Builder
		for len(s) > 76 {
			b.WriteString(s[:76] + "\r\n")
			s = s[76:]
		}
		return b.String() + s
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(xml))
	for _, test := range []struct {
		name, body string
		want       saml.Reason
	}{
		{"good", samltest.PostBody(xml, "r"), ""},
		{"in lines", url.Values{"SAMLRequest": {lines(encoded)}}.Encode(), ""},
		{"with a submit button", samltest.PostBody(xml, "r") + "&submit=Go", ""},
		{"plus not encoded", "SAMLRequest=" + encoded[:4] + "+" + encoded[5:], saml.Malformed},
		{"empty", "", saml.Malformed},
		{"twice", samltest.PostBody(xml, "") + "&" + samltest.PostBody(xml, ""), saml.Malformed},
		{"deflated as for Redirect", samltest.RedirectQuery(xml, ""), saml.Malformed},
		{"not XML", url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte("hello"))}}.Encode(), saml.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := saml.ReadPost([]byte(test.body))
			if test.want != "" {
				refused(t, err, test.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if in.Issuer() != spEntityID || in.Binding() != saml.BindingHTTPPost {
				t.Errorf("read %q %q", in.Issuer(), in.Binding())
			}
		})
	}
}

// TestInflateAgain: the reader of DEFLATE is used again, after whatever went before, by many at once.
func TestInflateAgain(t *testing.T) {
	xml := atlassian().Request(ssoURL, noon).XML()
	good := samltest.RedirectQuery(xml, "")
	bad := []string{
		"SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(xml))),
		"SAMLRequest=" + url.QueryEscape(behind(good)),
		good[:len(good)/2&^3+3*4],
	}
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i := range 60 {
				if _, err := saml.ReadRedirect(bad[i%len(bad)]); err == nil {
					t.Error("accepted")
				}
				if in := readRedirect(t, good); string(in.XML()) != xml {
					t.Errorf("read %s", in.XML())
				}
			}
		})
	}
}

// What can't be decoded is no message: a lenient reader would take "%zz" for something that another doesn't see.
func TestMalformedPercentEncoding(t *testing.T) {
	for _, state := range []string{"%zz", "%4", "%", "%4g", "%g4"} {
		query := samltest.RedirectQuery(atlassian().Request(ssoURL, noon).XML(), "") + "&RelayState=" + state
		if _, err := saml.ReadRedirect(query); err == nil {
			t.Errorf("RelayState %q was read", state)
		}
	}
}
