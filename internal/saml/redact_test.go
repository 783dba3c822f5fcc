package saml_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
)

func TestMask(t *testing.T) {
	for value, want := range map[string]string{
		"":                               "…(0)",
		"a":                              "…(1)",
		"ab":                             "…(2)",
		"ada":                            "a…(3)",
		"Ωμέγα":                          "Ω…(5)",
		"ada@example.com":                "a…(3)@example.com",
		"ab@example.com":                 "…(2)@example.com",
		"@example.com":                   "@…(12)",
		"ada@localhost":                  "a…(13)",
		"ada@ex ample.com":               "a…(16)",
		"ada@example..com":               "a…(16)",
		"ada@b@example.com":              "a…(17)",
		"ada@münchen.example":            "a…(19)",
		"\u202eada":                      `\u{202e}…(4)`,
		"\xffada":                        `\xff…(4)`,
		"<ada>":                          "<…(5)",
		"ada@" + long("a", 300) + ".com": "a…(308)",
	} {
		if got := saml.Mask(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

// secretMessage holds a secret in each place that must not be shown.
const secretMessage = `<?xml version="1.0"?>
<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" IssueInstant="2026-03-14T12:00:00Z" Destination="https://sp.example.com/acs?a=1&amp;b=2">
  <saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">https://login.example.com/</saml:Issuer>
  <ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:Reference URI="#_r"><ds:DigestValue>SecretDigestValue0123456789</ds:DigestValue></ds:Reference></ds:SignedInfo>
    <ds:SignatureValue>SecretSignature0123456789
abcdefSecretSignatureEnd</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>SecretCertificate0123456789</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>
  <!-- SecretComment -->
  <samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
  <saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a">
    <saml:Subject><saml:NameID Format="urn:x" SPNameQualifier="https://sp.example.com/">SecretPerson</saml:NameID>
      <saml:SubjectConfirmation><saml:SubjectConfirmationData Address="SecretAddress" Recipient="https://sp.example.com/acs"/></saml:SubjectConfirmation></saml:Subject>
    <saml:BaseID><x>SecretBase</x></saml:BaseID>
    <saml:AttributeStatement>
      <saml:Attribute Name="mail" FriendlyName="E-Mail"><saml:AttributeValue>secret.mail@example.com</saml:AttributeValue><saml:AttributeValue><![CDATA[SecretCDATA]]></saml:AttributeValue></saml:Attribute>
      <saml:Attribute Name="nested"><saml:AttributeValue><saml:Issuer SecretName="1">SecretNested</saml:Issuer><SecretTag>text</SecretTag></saml:AttributeValue></saml:Attribute>
      <saml:Attribute Name="entity"><saml:AttributeValue>&#83;ecretEntity</saml:AttributeValue></saml:Attribute>
    </saml:AttributeStatement>
    <saml:EncryptedID><xenc:CipherValue xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">SecretCipher0123456789</xenc:CipherValue></saml:EncryptedID>
  </saml:Assertion>
  <samlp:Extensions><vendor:thing xmlns:vendor="urn:example:vendor" token="SecretToken">SecretVendor <vendor:more>SecretMore</vendor:more> SecretTail</vendor:thing></samlp:Extensions>
</samlp:Response>
`

// secrets are the values of secretMessage that nobody may read.
var secrets = []string{
	"SecretDigestValue", "SecretSignature", "SecretCertificate", "SecretComment", "SecretPerson", "SecretAddress", "SecretBase", "secret.mail",
	"SecretCDATA", "SecretNested", "SecretName", "SecretTag", "SecretEntity", "ecretEntity", "SecretCipher", "SecretToken", "SecretVendor", "SecretMore", "SecretTail",
}

func TestRedact(t *testing.T) {
	got := saml.Redact([]byte(secretMessage))
	golden(t, "redacted.txt", []byte(got))
	for _, secret := range secrets {
		if strings.Contains(got, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	for _, public := range []string{
		"https://login.example.com/", `Destination="https://sp.example.com/acs?a=1&amp;b=2"`, "status:Success", `Name="mail"`, "@example.com",
		`SPNameQualifier="https://sp.example.com/"`, "S…(12)", "SecretDi…(27)", `Recipient="https://sp.example.com/acs"`,
	} {
		if !strings.Contains(got, public) {
			t.Errorf("%s is not shown", public)
		}
	}
}

// TestRedactOurs: all that we and our service provider write.
func TestRedactOurs(t *testing.T) {
	fake, _, _ := leaving()
	answer, err := saml.AppendResponse(nil, response(), signer(t, 0), saml.SignBoth)
	if err != nil {
		t.Fatal(err)
	}
	r := response()
	r.Encrypt = fake.Recipient()
	encrypted, err := saml.AppendResponse(nil, r, signer(t, 0), saml.SignBoth)
	if err != nil {
		t.Fatal(err)
	}
	for name, xml := range map[string]string{
		"answer":    string(answer),
		"encrypted": string(encrypted),
		"request":   fake.Sign(fake.Request(ssoURL, noon).XML()),
		"logout":    fake.Sign(fake.LogoutRequest(sloURL, somebody(), noon).XML()),
		"metadata":  string(fake.Metadata()),
	} {
		t.Run(name, func(t *testing.T) {
			got := saml.Redact([]byte(xml))
			for _, secret := range []string{"ada@", "Lovelace", "0195f3a2", "jira-users"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s is shown", secret)
				}
			}
			if strings.Contains(got, "can't be read") {
				t.Errorf("it was not read:\n%s", got)
			}
			for line := range strings.Lines(got) {
				if !utf8.ValidString(line) || len(line) > 3000 {
					t.Errorf("%q", line)
				}
			}
			if name == "answer" && strings.Count(got, "ds:SignatureValue>") != 4 {
				t.Errorf("the signatures are gone:\n%s", got)
			}
		})
	}
}

// TestRedactUnreadable: of what can't be read only words of the standard are left.
func TestRedactUnreadable(t *testing.T) {
	for name, xml := range map[string]string{
		"nothing":        "",
		"cut":            secretMessage[:len(secretMessage)-30],
		"DOCTYPE":        `<!DOCTYPE x [<!ENTITY SecretEntity "SecretPerson">]>` + secretMessage,
		"not UTF-8":      secretMessage + "\xff",
		"tag not closed": strings.Replace(secretMessage, "</saml:NameID>", "</saml:NameID", 1),
		"quote missing":  strings.Replace(secretMessage, `="urn:x"`, `="urn:x`, 1),
		"text alone":     "SecretPerson signs in with SecretToken",
		"too large":      "<a>" + strings.Repeat("SecretPerson ", 50000) + "</a>",
		"too deep":       strings.Repeat("<SecretTag>", 100) + strings.Repeat("</SecretTag>", 100),
	} {
		t.Run(name, func(t *testing.T) {
			got := saml.Redact([]byte(xml))
			if !strings.Contains(got, "can't be read as XML") {
				t.Errorf("it was read:\n%s", got)
			}
			for _, secret := range secrets {
				if strings.Contains(got, secret) {
					t.Errorf("%s is shown:\n%s", secret, got)
				}
			}
			if len(got) > 20<<10 {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	got := saml.Redact([]byte(`<samlp:AuthnRequest ID="_1"><saml:Issuer>secret`))
	if !strings.HasSuffix(got, "\n<samlp:AuthnRequest ID=\"_…\"><saml:Issuer>…") {
		t.Errorf("%q", got)
	}
}

// boundedRedaction asserts what must hold of the redaction of anything.
func boundedRedaction(t *testing.T, xml string) string {
	t.Helper()
	got := saml.Redact([]byte(xml))
	const most = 80 << 10
	if len(got) > most {
		t.Fatalf("%d bytes", len(got))
	}
	if !utf8.ValidString(got) {
		t.Fatalf("not UTF-8: %q", got)
	}
	for _, r := range got {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("U+%04X does not show", r)
		}
	}
	return got
}

// FuzzRedact: anything may be shown within bounds.
func FuzzRedact(f *testing.F) {
	f.Add(secretMessage)
	f.Add("<a " + distinct(` a%="1"`, 30) + "/>")
	f.Add(strings.Repeat("<a>", 60) + "x" + strings.Repeat("</a>", 60))
	for _, xml := range seeds(f, "testdata/requests/*.xml") {
		f.Add(string(xml))
	}
	for _, xml := range seeds(f, "testdata/golden/*.xml") {
		f.Add(string(xml))
	}
	f.Fuzz(func(t *testing.T, xml string) { boundedRedaction(t, xml) })
}

// FuzzRedactSecret puts junk into a message that holds secrets, so that it may still be XML or not: they are never shown.
func FuzzRedactSecret(f *testing.F) {
	for _, junk := range []string{"", "<", ">", "<x/>", "</saml:NameID>", "<saml:Issuer>", "<!--", "-->", "<![CDATA[", "]]>", "\"", "\x00", "<?x?>", "&lt;"} {
		for _, at := range []uint16{0, 100, 900, 1500, 2000, 2500, 3000} {
			f.Add(junk, at)
		}
	}
	hidden := []string{"SecretPerson", "SecretNested", "SecretBase", "SecretCDATA", "SecretVendor", "SecretMore", "SecretSignatureEnd"}
	f.Fuzz(func(t *testing.T, junk string, at uint16) {
		if strings.ContainsAny(junk, "@&") {
			return // the domain of an address is shown
		}
		i := int(at) % len(secretMessage)
		got := boundedRedaction(t, secretMessage[:i]+junk+secretMessage[i:])
		for _, secret := range hidden {
			if strings.Contains(got, secret) && !strings.Contains(junk, secret) {
				t.Fatalf("%s is shown:\n%s", secret, got)
			}
		}
	})
}

func ExampleRedact() {
	sp := samltest.NewSP("https://sp.example.com/", "https://sp.example.com/acs")
	request := sp.LogoutRequest("https://login.example.com/saml2/wiki/slo", samltest.Received{NameID: "ada@example.com", SessionIndex: "_s1"}, noon)
	request.ID = "_1"
	fmt.Print(saml.Redact([]byte(request.XML())))
	// Output:
	// <samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" Destination="https://login.example.com/saml2/wiki/slo" ID="_1" IssueInstant="2026-03-14T12:00:00Z" NotOnOrAfter="2026-03-14T12:05:00Z" Version="2.0">
	//   <saml:Issuer>https://sp.example.com/</saml:Issuer>
	//   <saml:NameID>a…(3)@example.com</saml:NameID>
	//   <samlp:SessionIndex>_s1</samlp:SessionIndex>
	// </samlp:LogoutRequest>
}
