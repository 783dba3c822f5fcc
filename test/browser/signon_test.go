package browser

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// intranet is a service provider of which Latchkey knows nothing but what its metadata says.
type intranet struct {
	*httptest.Server
	mu  sync.Mutex
	acs string
}

func newIntranet(t *testing.T) *intranet {
	s := &intranet{acs: "/acs"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metadata", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		fmt.Fprint(w, s.metadata(s.URL+"/sp"))
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><html lang=en><title>Intranet</title><link rel=icon href=data:,><main><h1>Welcome to the intranet</h1><p>%d bytes came</p></main></html>", len(r.FormValue("SAMLResponse")))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *intranet) metadata(entity string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + entity + `">
		<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
		<SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="` + s.URL + `/slo"/>
		<AssertionConsumerService index="0" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="` + s.URL + s.acs + `"/>
		</SPSSODescriptor></EntityDescriptor>`
}

func (s *intranet) moveTo(acs string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acs = acs
}

// request is the address of a sign-on that begins at the intranet.
func (s *intranet) request(t *testing.T, sso, destination string) string {
	t.Helper()
	xml := fmt.Sprintf(`<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_%d" Version="2.0" IssueInstant=%q Destination=%q>`+
		`<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">%s/sp</saml:Issuer></samlp:AuthnRequest>`,
		time.Now().UnixNano(), time.Now().UTC().Format(time.RFC3339), destination, s.URL)
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte(xml)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return sso + "?SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(b.Bytes())) + "&RelayState=" + url.QueryEscape(s.URL+"/home")
}

// part keeps a picture of a part of the page, wide in light colours and narrow in dark ones.
func (p *person) part(name, selector string) {
	p.t.Helper()
	*p.seq++
	for _, look := range []struct {
		suffix, scheme string
		width          int64
	}{{"", "light", 1280}, {"-narrow", "dark", 390}} {
		p.colours(look.scheme)
		p.size(look.width, 900)
		ctx, cancel := context.WithTimeout(p.tab, patience)
		box, err := chromedp.Run(ctx, chromedp.Evaluate[page.Viewport](`(() => {
			const r = document.querySelector(`+"`"+selector+"`"+`).getBoundingClientRect();
			return { x: 0, y: r.top + scrollY, width: innerWidth, height: Math.min(r.height, 3200), scale: 1 };
		})()`))
		if err != nil {
			p.fail("find %s: %v", selector, err)
		}
		res, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true), Clip: &box,
		})
		cancel()
		if err != nil {
			p.fail("picture of %s: %v", selector, err)
		}
		if err := os.WriteFile(filepath.Join(shots, fmt.Sprintf("%02d-%s%s%s.png", *p.seq, p.prefix, name, look.suffix)), res.Data, 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	p.colours("light")
	p.size(1280, 900)
}

// TestSignOnInDepth goes through what sign-on has beyond the main job: metadata that is watched, the renewal of a
// certificate step by step, the inspector, and mail.
func TestSignOnInDepth(t *testing.T) {
	sp := newIntranet(t)
	in := start(t, "--mail-folder="+filepath.Join(t.TempDir(), "mail"))
	var seq int
	p, hiro := newPerson(t, "signon-", &seq), newPerson(t, "signon-hiro-", &seq)
	j := &judge{}
	// Each page is judged, and kept in all looks.
	look := func(name string) {
		t.Helper()
		p.settle()
		j.look(p, name)
		p.shot(name)
		p.colours("dark")
		p.size(390, 844)
		p.shot(name + "-narrow")
		p.colours("light")
		p.size(1280, 900)
	}
	p.signIn(in, seedOwner, seedPassword)
	console := in.url + "/console"

	// An application is set up from its metadata alone.
	p.open(console + "/catalogue/custom-saml")
	p.fill("Display label", "Intranet")
	p.follow("Save", "")
	p.follow("Configure now", "")
	app := strings.TrimSuffix(p.at(), "/sign-on")
	p.sees("needed to activate", "From an address")
	look("empty")
	p.fill("From an address", sp.URL+"/none")
	p.follow("Watch", "")
	p.sees("One field needs attention")
	look("watch-error")
	p.fill("From an address", sp.URL+"/metadata")
	p.follow("Watch", "")
	p.sees("The values were taken from the metadata", "Watched")
	p.follow("Activate sign-on", "")
	p.choose("Engineering", "")
	p.follow("Bind", "")
	p.open(app + "/sign-on")
	look("settings")

	// Its settings, one by one.
	for _, x := range []struct{ row, says string }{
		{"NameID", "pairwise"}, {"Signatures", "What is signed"}, {"Signed requests", "May be unsigned"}, {"Encryption", "Encrypt assertions"},
		{"Single logout", "Our single logout URL"}, {"End of session", "SessionNotOnOrAfter"},
	} {
		p.click(x.row, "How sign-on works")
		p.sees(x.says)
	}
	look("settings-open")
	p.part("settings-rows", "#protocol")
	p.choose("Persistent", "NameID")
	p.follow("Save NameID", "")
	p.sees("The NameID is saved", "Persistent, made here for each person")
	p.click("Encryption", "How sign-on works")
	p.choose("Encrypt assertions", "")
	p.follow("Save encryption", "")
	p.sees("Enter the certificate to encrypt for")
	look("setting-error")
	p.part("setting-error-rows", "#protocol")
	p.open(app + "/sign-on/sha1")
	look("sha1")

	// The metadata changes: nothing happens before somebody agrees.
	sp.moveTo("/acs2")
	p.open(app + "/sign-on")
	p.follow("Check now", "")
	p.sees("1 change", sp.URL+"/acs (index 0, default)", sp.URL+"/acs2 (index 0, default)")
	look("changes")
	p.open(console)
	p.sees("The metadata of Intranet has changed")
	look("home")
	p.open(console + "/applications")
	p.sees("Its metadata has changed")
	look("list")
	p.open(app + "/sign-on/metadata/changes")
	p.follow("Approve", "")
	p.sees("Taken from the metadata: ACS URLs")

	// A federation's file: choose, compare, throw away.
	var b strings.Builder
	b.WriteString(`<EntitiesDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata">`)
	for i := range 300 {
		b.WriteString(sp.metadata(fmt.Sprintf("https://sp%d.example.com/saml", i)))
	}
	b.WriteString(`</EntitiesDescriptor>`)
	file := filepath.Join(t.TempDir(), "federation.xml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.open(app + "/sign-on")
	p.click("Take a file once", "")
	p.attach("From a file", file)
	p.follow("Show what it changes", "")
	p.sees("300 service providers", "The first 50 of 300")
	look("choose")
	p.fill("Search", "sp77.")
	p.sees("1 service provider")
	p.sees("Clear") // redrawn with the list
	p.follow("https://sp77.example.com/saml", "")
	p.sees("still the same service provider")
	look("file")
	p.follow("Discard the file", "")
	p.sees("Nothing was changed")

	// Renewal: the next certificate stands beside the present one until both sides are ready.
	p.open(app + "/certificate/swap")
	p.choose("RSA with 3072 bits", "")
	look("prepare")
	p.follow("Prepare it", "")
	p.sees("Let the other side take it in")
	look("staged")
	p.open(app + "/sign-on")
	p.sees("Next, published beside")
	p.open(app + "/certificate/swap")
	p.choose("Intranet has taken in the next certificate beside the present one", "")
	p.follow("Switch now", "")
	p.sees("Try it out")
	look("switched")
	p.follow("Go back to the previous one", "")
	p.sees("signed with the previous certificate again")
	p.open(console + "/applications")
	atlassian := p.hrefOf("Atlassian Cloud")
	p.open(atlassian + "/certificate/swap")
	p.follow("Prepare it", "")
	p.sees("Save there, and switch here right after")
	look("instant")
	p.open(atlassian + "/sign-on")
	look("atlassian")

	// Somebody signs on, and something goes wrong.
	hiro.signIn(in, seedEngineer, seedPassword)
	hiro.inNewTab("Intranet", "", func(q *person) { q.sees("Welcome to the intranet") })
	p.open(app + "/sign-on")
	sso := p.value("IdP URL", "")
	hiro.open(sp.request(t, sso, sso))
	hiro.sees("Welcome to the intranet")
	wrong := sp.request(t, sso, "https://elsewhere.example.com/sso")
	hiro.open(wrong)
	hiro.missing("Welcome to the intranet")
	p.open(app + "/sign-on/exchanges")
	p.comesToSee("The message was made for another address")
	p.sees("Sign-on by hiro.tanaka@"+domain, "Sign-on from the portal by hiro.tanaka@"+domain)
	look("exchanges")
	p.click("The message was made for another address", "")
	p.sees("was sent nothing", "Destination.")
	look("exchange-drawer")
	p.follow("Open as a page", "The message was made for another address")
	p.sees("Failed", "elsewhere.example.com")
	bundle := p.hrefOf("Download bundle")
	look("exchange")
	if text := fetch(t, bundle, p.cookies(bundle)); !strings.Contains(text, "elsewhere.example.com") || strings.Contains(text, "hiro.tanaka@") {
		t.Errorf("the bundle: %.500s", text)
	}
	p.open(app + "/sign-on/exchanges")
	p.click("Sign-on by hiro.tanaka@"+domain, "Done")
	p.sees("What it was answered", "Audience.")

	p.open(app + "/sign-on/simulate?person=hiro")
	p.sees("Hiro Tanaka would get in", "Only a look", "Response, unsigned")
	look("simulate")
	p.open(app + "/sign-on/decode")
	p.fill("Message", wrong)
	p.follow("Decode", "Paste what you have")
	p.sees("A request to sign on (AuthnRequest)", "elsewhere.example.com")
	look("decode")

	p.open(console + "/settings/mail")
	p.sees("Mail is sent into the folder")
	p.follow("Send a test", "")
	p.sees("A test was sent to "+seedOwner, "Sent")
	look("mail")

	p.contented()
	hiro.contented()
	for _, problem := range j.problems {
		t.Error(problem)
	}
}
