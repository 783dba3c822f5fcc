package saml_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
)

// The classes of security_test.go, for messages of single logout.

// logoutPost sends a logout message by HTTP-POST to its check.
func logoutPost(xml string) (any, error) {
	_, sp, idp := leaving()
	in, err := saml.ReadLogoutPost([]byte(samltest.PostBody(xml, "relay")))
	if err != nil {
		return nil, err
	}
	return logoutCheck(in, sp, idp)
}

// logoutRedirect sends one by HTTP-Redirect.
func logoutRedirect(query string) (any, error) {
	_, sp, idp := leaving()
	in, err := saml.ReadLogoutRedirect(query)
	if err != nil {
		return nil, err
	}
	return logoutCheck(in, sp, idp)
}

func logoutCheck(in saml.Incoming, sp saml.ServiceProvider, idp saml.IdentityProvider) (any, error) {
	if in.Message() == "LogoutResponse" {
		return saml.CheckLogoutResponse(in, sp, idp, noon)
	}
	return saml.CheckLogoutRequest(in, sp, idp, noon)
}

// untold asserts that a logout message is refused, and that nobody but the person hears of it.
func untold(t *testing.T, got any, err error) *saml.Error {
	t.Helper()
	e, ok := errors.AsType[*saml.Error](err)
	if !ok {
		t.Fatalf("accepted: %+v, %v", got, err)
	}
	if e.Sendable() || e.SendableLogout() {
		t.Fatalf("would be answered: %v", e)
	}
	return e
}

// logoutMessages are a good request and a good response, with a twin of each that an attacker would like to be read.
func logoutMessages(fake *samltest.SP) map[string][2]string {
	evil := fake.LogoutRequest(sloURL, samltest.Received{NameID: "root@example.com"}, noon)
	failed := fake.LogoutResponse(sloURL, "_ours", noon, saml.StatusResponder)
	return map[string][2]string{
		"LogoutRequest":  {fake.LogoutRequest(sloURL, somebody(), noon).XML(), evil.XML()},
		"LogoutResponse": {failed.XML(), fake.LogoutResponse(sloURL, "_ours", noon).XML()},
	}
}

func TestClass01_LogoutWrapping(t *testing.T) {
	fake, _, _ := leaving()
	for kind, pair := range logoutMessages(fake) {
		signed := fake.Sign(pair[0])
		if got, err := logoutPost(signed); err != nil {
			t.Fatalf("the unwrapped original: %+v, %v", got, err)
		}
		for name, xml := range wrappings(t, signed, pair[1]) {
			t.Run(kind+"/"+name, func(t *testing.T) {
				got, err := logoutPost(xml)
				untold(t, got, err)
			})
		}
		// Whatever is changed in what is signed, nothing but the original is ever read.
		for i := 0; i < len(signed); i += 19 {
			changed := signed[:i] + string(signed[i]^1) + signed[i+1:]
			got, err := logoutPost(changed)
			if d, ok := got.(saml.LogoutDecision); err == nil && ok && d.Request.NameID.Value != "ada@example.com" {
				t.Errorf("byte %d changed: %+v", i, got)
			}
			if r, ok := got.(saml.LogoutResponse); err == nil && ok && r.Status.Code != saml.StatusResponder {
				t.Errorf("byte %d changed: %+v", i, got)
			}
		}
	}
}

// TestClass06_LogoutUnsigned: a logout message without a signature that holds is refused by every way, whatever is
// registered.
func TestClass06_LogoutUnsigned(t *testing.T) {
	fake, sp, idp := leaving()
	alg := url.QueryEscape(xmldsig.RSASHA256)
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 256))
	for kind, pair := range logoutMessages(fake) {
		xml := pair[0]
		query := samltest.RedirectQuery(xml, "r")
		for name, q := range map[string]string{
			"missing":           query,
			"empty":             query + "&SigAlg=" + alg + "&Signature=",
			"both empty":        query + "&SigAlg=&Signature=",
			"no algorithm":      query + "&Signature=" + url.QueryEscape(zeros),
			"unknown algorithm": query + "&SigAlg=urn:none&Signature=" + url.QueryEscape(zeros),
			"zeros":             query + "&SigAlg=" + alg + "&Signature=" + url.QueryEscape(zeros),
			"XML signature":     samltest.RedirectQuery(fake.Sign(xml), "r"),
		} {
			t.Run(kind+"/redirect/"+name, func(t *testing.T) {
				got, err := logoutRedirect(q)
				untold(t, got, err)
			})
		}
		signed := fake.Sign(xml)
		_, value, _ := between(signed, "<ds:SignatureValue>", "</ds:SignatureValue>")
		for name, x := range map[string]string{
			"missing":           xml,
			"empty element":     strings.Replace(xml, "</saml:Issuer>", `</saml:Issuer><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>`, 1),
			"other namespace":   strings.Replace(signed, "http://www.w3.org/2000/09/xmldsig#\"", "http://www.w3.org/2000/09/xmldsig\"", 1),
			"empty value":       strings.Replace(signed, value, "", 1),
			"zeros":             strings.Replace(signed, value, zeros, 1),
			"unknown algorithm": strings.Replace(signed, xmldsig.RSASHA256, "urn:none", 1),
			"unknown digest":    strings.Replace(signed, "http://www.w3.org/2001/04/xmlenc#sha256", "urn:none", 1),
		} {
			t.Run(kind+"/post/"+name, func(t *testing.T) {
				got, err := logoutPost(x)
				untold(t, got, err)
			})
		}
		// That the SP need not sign its sign-in requests, or that no key of it is known, opens no way.
		for name, keys := range map[string][]crypto.PublicKey{"no key": nil, "a nil key": {nil}, "another's key": {samltest.Other().Cert.PublicKey}} {
			sp := sp
			sp.Keys, sp.RequireSignedRequests = keys, false
			for way, in := range map[string]func() (saml.Incoming, error){
				"unsigned":         func() (saml.Incoming, error) { return saml.ReadLogoutRedirect(query) },
				"signed, redirect": func() (saml.Incoming, error) { return saml.ReadLogoutRedirect(fake.SignedRedirectQuery(xml, "r")) },
				"signed, post": func() (saml.Incoming, error) {
					return saml.ReadLogoutPost([]byte(samltest.PostBody(signed, "r")))
				},
			} {
				t.Run(kind+"/"+name+"/"+way, func(t *testing.T) {
					in, err := in()
					if err != nil {
						t.Fatal(err)
					}
					got, err := logoutCheck(in, sp, idp)
					if e := untold(t, got, err); e.Reason != saml.SignatureMissing && e.Reason != saml.SignatureInvalid {
						t.Error(e)
					}
				})
			}
		}
	}
}

func TestClass07_LogoutCommentSplitsName(t *testing.T) {
	fake, _, _ := leaving()
	xml := fake.LogoutRequest(sloURL, somebody(), noon).XML()
	for name, x := range map[string]string{
		"NameID":         strings.Replace(xml, ">ada@example.com<", ">ada@example.com<!-- -->.evil.example<", 1),
		"NameID, end":    strings.Replace(xml, ">ada@example.com<", ">ada@example.com<!-- --><", 1),
		"NameID, CDATA":  strings.Replace(xml, ">ada@example.com<", ">ada@example.com<![CDATA[]]><!-- --><", 1),
		"NameID, by PI":  strings.Replace(xml, ">ada@example.com<", ">ada@example.com<?x?>.evil.example<", 1),
		"SessionIndex":   strings.Replace(xml, ">_s1<", ">_s<!-- -->1<", 1),
		"Issuer":         strings.Replace(xml, ">"+spEntityID+"<", ">"+spEntityID+"<!-- -->.evil.example<", 1),
		"NameID element": strings.Replace(xml, ">ada@example.com<", ">ada@example.com<saml:x/>.evil.example<", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if x == xml {
				t.Fatal("the case changes nothing")
			}
			got, err := logoutRedirect(fake.SignedRedirectQuery(x, ""))
			if e := untold(t, got, err); e.Reason != saml.Malformed {
				t.Error(e)
			}
		})
	}
	// The attack itself: what the service provider signed for a name of the attacker's is split afterwards.
	signed := fake.Sign(strings.Replace(xml, ">ada@example.com<", ">ada@example.com.evil.example<", 1))
	if _, err := logoutPost(signed); err != nil {
		t.Fatal(err)
	}
	for _, split := range []string{"<!-- -->", "<!---->", "<?x?>", "<![CDATA[]]><!-- -->", "<x/>"} {
		t.Run("signed, then split by "+split, func(t *testing.T) {
			got, err := logoutPost(strings.Replace(signed, "example.com.evil", "example.com"+split+".evil", 1))
			untold(t, got, err)
		})
	}
}

// TestClass08_EncryptedName: nothing is ever decrypted here, for no key for it is published.
func TestClass08_EncryptedName(t *testing.T) {
	fake, _, _ := leaving()
	req := fake.LogoutRequest(sloURL, somebody(), noon)
	data, err := fake.Recipient().AppendEncryptedData(nil, []byte(`<saml:NameID xmlns:saml="`+saml.NSAssertion+`">ada@example.com</saml:NameID>`))
	if err != nil {
		t.Fatal(err)
	}
	req.NameID, req.Children = "", `<saml:EncryptedID>`+string(data)+`</saml:EncryptedID>`
	for name, send := range ways(fake) {
		t.Run(name, func(t *testing.T) {
			in, err := send(req.XML())
			if err != nil {
				t.Fatal(err)
			}
			_, sp, idp := leaving()
			_, err = saml.CheckLogoutRequest(in, sp, idp, noon)
			e := refused(t, err, saml.UnsupportedSubject)
			if !e.SendableLogout() || e.Status.SubCode != saml.StatusRequestUnsupported {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestClass09_LogoutQueryAmbiguity(t *testing.T) {
	fake, _, _ := leaving()
	for kind, pair := range logoutMessages(fake) {
		query := fake.SignedRedirectQuery(pair[0], "https://example.atlassian.net/")
		evil := samltest.RedirectQuery(pair[1], "")
		parameter, _, _ := strings.Cut(query, "=")
		encode := strings.NewReplacer("SAML", "%53AML")
		for name, q := range map[string]string{
			"message twice":               evil + "&" + query,
			"message twice, behind":       query + "&" + evil,
			"encoded name before":         encode.Replace(evil) + "&" + query,
			"encoded name behind":         query + "&" + encode.Replace(evil),
			"encoded name":                encode.Replace(query),
			"name with plus":              query + "&SAML+Request=1",
			"RelayState twice":            query + "&RelayState=evil",
			"RelayState changed":          strings.Replace(query, "example.atlassian", "evil.atlassian", 1),
			"RelayState removed":          strings.Replace(query, "&RelayState="+url.QueryEscape("https://example.atlassian.net/"), "", 1),
			"message changed":             strings.Replace(query, query[:strings.Index(query, "&")], evil, 1),
			"same octets, other hex":      strings.Replace(query, "%3A%2F%2F", "%3a%2f%2f", 1),
			"algorithm changed":           strings.Replace(query, "rsa-sha256", "rsa-sha512", 1),
			"semicolon as separator":      strings.Replace(query, "&RelayState=", ";RelayState=", 1),
			"request parameter beside":    query + "&SAMLRequest=",
			"response parameter beside":   query + "&SAMLResponse=x",
			"signed under the other name": strings.Replace(query, parameter, map[string]string{"SAMLRequest": "SAMLResponse", "SAMLResponse": "SAMLRequest"}[parameter], 1),
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				got, err := logoutRedirect(q)
				untold(t, got, err)
			})
		}
		t.Run(kind+"/order in the URL does not matter", func(t *testing.T) {
			parts := strings.Split(query, "&")
			for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
				parts[i], parts[j] = parts[j], parts[i]
			}
			if _, err := logoutRedirect("x=1&" + strings.Join(parts, "&")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestClass10_LogoutAlgorithm(t *testing.T) {
	fake, sp, idp := leaving()
	xml := fake.LogoutRequest(sloURL, somebody(), noon).XML()
	for _, alg := range []string{"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", "http://www.w3.org/2000/09/xmldsig#hmac-sha1", xmldsig.RSASHA1, "none", ""} {
		t.Run(alg, func(t *testing.T) {
			octets := samltest.RedirectQuery(xml, "") + "&SigAlg=" + url.QueryEscape(alg)
			h := hmac.New(sha256.New, fake.Cert.Raw)
			h.Write([]byte(octets))
			got, err := logoutRedirect(octets + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(h.Sum(nil))))
			untold(t, got, err)
			got, err = logoutPost(strings.Replace(fake.Sign(xml), xmldsig.RSASHA256, alg, 1))
			untold(t, got, err)
		})
	}
	// SHA-1 holds by exception only.
	fake.Hash = crypto.SHA1
	for way, send := range ways(fake) {
		t.Run("SHA-1/"+way, func(t *testing.T) {
			in, err := send(xml)
			if err != nil {
				t.Fatal(err)
			}
			got, err := saml.CheckLogoutRequest(in, sp, idp, noon)
			untold(t, got, err)
			sp := sp
			sp.AllowSHA1 = true
			if _, err := saml.CheckLogoutRequest(in, sp, idp, noon); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClass11_LogoutSemanticChecks breaks one thing at a time in an otherwise good, signed message.
func TestClass11_LogoutSemanticChecks(t *testing.T) {
	fake, sp, idp := leaving()
	for name, test := range map[string]struct {
		change func(*samltest.LogoutRequest)
		want   saml.Reason
	}{
		"Destination of another":     {func(r *samltest.LogoutRequest) { r.Destination = "https://idp.example.org/slo" }, saml.WrongDestination},
		"Destination is for sign-on": {func(r *samltest.LogoutRequest) { r.Destination = ssoURL }, saml.WrongDestination},
		"no Destination":             {func(r *samltest.LogoutRequest) { r.Destination = "" }, saml.WrongDestination},
		"old":                        {func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(-time.Hour) }, saml.Stale},
		"over":                       {func(r *samltest.LogoutRequest) { r.NotOnOrAfter = noon.Add(-time.Hour) }, saml.Stale},
		"future":                     {func(r *samltest.LogoutRequest) { r.IssueInstant = noon.Add(time.Hour) }, saml.FromTheFuture},
		"another's name":             {func(r *samltest.LogoutRequest) { r.Issuer = "https://other.example/" }, saml.UnknownIssuer},
		"other version":              {func(r *samltest.LogoutRequest) { r.Attributes = ` Version="2.1"` }, saml.UnsupportedVersion},
		"nobody":                     {func(r *samltest.LogoutRequest) { r.NameID = "" }, saml.Malformed},
	} {
		req := fake.LogoutRequest(sloURL, somebody(), noon)
		test.change(&req)
		for way, send := range ways(fake) {
			t.Run(name+"/"+way, func(t *testing.T) {
				in, err := send(req.XML())
				if err != nil {
					t.Fatal(err)
				}
				_, err = saml.CheckLogoutRequest(in, sp, idp, noon)
				refused(t, err, test.want)
			})
		}
	}
	t.Run("checked as another service provider", func(t *testing.T) {
		sp := sp
		sp.EntityID = "https://other.example/"
		for _, send := range ways(fake) {
			in, err := send(fake.LogoutRequest(sloURL, somebody(), noon).XML())
			if err != nil {
				t.Fatal(err)
			}
			_, err = saml.CheckLogoutRequest(in, sp, idp, noon)
			refused(t, err, saml.UnknownIssuer)
		}
	})
}

func TestClass14_LogoutExhaustion(t *testing.T) {
	fake, _, _ := leaving()
	req := fake.LogoutRequest(sloURL, somebody(), noon)
	send := func(children string) error {
		r := req
		r.Children = children
		_, err := saml.ReadLogoutPost([]byte(samltest.PostBody(r.XML(), "")))
		return err
	}
	for name, err := range map[string]error{
		"many sessions": send(strings.Repeat("<samlp:SessionIndex>s</samlp:SessionIndex>", 1500)),
		"deep":          send(`<samlp:Extensions>` + strings.Repeat("<a>", 30) + strings.Repeat("</a>", 30) + `</samlp:Extensions>`),
		"large":         send(`<samlp:Extensions>` + strings.Repeat("a", 130<<10) + `</samlp:Extensions>`),
	} {
		t.Run(name, func(t *testing.T) { refused(t, err, saml.TooLarge) })
	}
	_, err := saml.ReadLogoutPost(make([]byte, saml.MaxPostBody+1))
	refused(t, err, saml.TooLarge)
}

// TestClass15_LogoutPanic calls each door with nothing in its hands.
func TestClass15_LogoutPanic(t *testing.T) {
	fake, _, _ := leaving()
	for _, pair := range logoutMessages(fake) {
		signed := fake.Sign(pair[0])
		for i := 0; i < len(signed); i += 31 {
			if _, err := logoutPost(signed[:i]); err == nil {
				t.Errorf("accepted: %s", signed[:i])
			}
		}
	}
	if _, err := saml.AppendLogoutRequest(nil, &saml.LogoutRequest{}, nil); err == nil {
		t.Error("an empty request was written")
	}
	if _, err := saml.AppendLogoutResponse(nil, &saml.LogoutResponse{}, nil); err == nil {
		t.Error("an empty response was written")
	}
	if _, err := saml.RedirectURL("", "", nil, "", nil); err == nil {
		t.Error("an empty URL was made")
	}
	if _, ok := (saml.ServiceProvider{}).LogoutEndpoint(""); ok {
		t.Error("an endpoint from nowhere")
	}
	if f := saml.Explain(saml.Incoming{}, saml.ServiceProvider{}, saml.IdentityProvider{}, time.Time{}); len(f) != 1 || f[0].Verdict != saml.Fail {
		t.Error(f)
	}
	if f := saml.ExplainResponse(nil, saml.ServiceProvider{}, saml.IdentityProvider{}, time.Time{}); len(f) != 1 || f[0].Verdict != saml.Fail {
		t.Error(f)
	}
	if _, err := saml.ReadPasted(""); err == nil {
		t.Error("nothing was read")
	}
	if _, err := saml.PreviewResponse(&saml.Response{}); err == nil {
		t.Error("an empty response was written")
	}
	if saml.Redact(nil) == "" {
		t.Error("nothing is said about nothing")
	}
}

// TestClass16_LogoutForeignNamespace has a twin of another namespace for each element and attribute that we read.
func TestClass16_LogoutForeignNamespace(t *testing.T) {
	const twin = `xmlns:t="urn:example:twin"`
	fake, _, _ := leaving()
	req := fake.LogoutRequest(sloURL, somebody(), noon)
	xml := req.XML()
	for name, x := range map[string]string{
		"NameID alone":           strings.NewReplacer("<saml:NameID", `<t:NameID `+twin, "</saml:NameID", "</t:NameID").Replace(xml),
		"NameID before":          strings.Replace(xml, "<saml:NameID", `<t:NameID `+twin+`>root@example.com</t:NameID><saml:NameID`, 1),
		"NameID behind":          strings.Replace(xml, "</saml:NameID>", `</saml:NameID><t:NameID `+twin+`>root@example.com</t:NameID>`, 1),
		"NameID of the protocol": strings.NewReplacer("<saml:NameID", `<samlp:NameID`, "</saml:NameID", "</samlp:NameID").Replace(xml),
		"SessionIndex":           strings.NewReplacer("<samlp:SessionIndex", `<t:SessionIndex `+twin, "</samlp:SessionIndex", "</t:SessionIndex").Replace(xml),
		"Issuer beside":          strings.Replace(xml, "<saml:Issuer", `<t:Issuer `+twin+`>x</t:Issuer><saml:Issuer`, 1),
		"Issuer alone":           strings.NewReplacer("<saml:Issuer", `<t:Issuer `+twin, "</saml:Issuer", "</t:Issuer").Replace(xml),
		"Signature":              strings.Replace(xml, "<saml:NameID", `<t:Signature `+twin+`/><saml:NameID`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if x == xml {
				t.Fatal("the case changes nothing")
			}
			got, err := logoutRedirect(fake.SignedRedirectQuery(x, ""))
			if e := untold(t, got, err); e.Reason != saml.Malformed {
				t.Error(e)
			}
		})
	}
	t.Run("attributes are passed over", func(t *testing.T) {
		x := strings.Replace(xml, " ID=", ` `+twin+` t:ID="_t" t:Destination="x" t:NotOnOrAfter="x" t:Reason="x" t:IssueInstant="x" t:Version="x" ID=`, 1)
		x = strings.Replace(x, "<saml:NameID ", `<saml:NameID t:Format="x" t:SPNameQualifier="x" `, 1)
		got, err := logoutRedirect(fake.SignedRedirectQuery(x, ""))
		if err != nil {
			t.Fatal(err)
		}
		r := got.(saml.LogoutDecision).Request
		if r.ID != req.ID || r.Reason != "" || r.NameID != (saml.NameID{Value: "ada@example.com", Format: saml.NameIDEmailAddress}) {
			t.Errorf("%+v", r)
		}
	})
	t.Run("status", func(t *testing.T) {
		res := fake.LogoutResponse(sloURL, "_ours", noon).XML()
		for _, name := range []string{"Status", "StatusCode"} {
			x := strings.NewReplacer("<samlp:"+name, `<t:`+name+` `+twin, "</samlp:"+name, "</t:"+name).Replace(res)
			got, err := logoutRedirect(fake.SignedRedirectQuery(x, ""))
			if e := untold(t, got, err); e.Reason != saml.Malformed {
				t.Error(e)
			}
		}
	})
}
