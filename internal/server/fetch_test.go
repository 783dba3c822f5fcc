package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

func newTestFetcher(t *testing.T, allow ...string) *fetcher {
	t.Helper()
	f, err := newFetcher(OutboundConfig{Allow: allow, Timeout: 500 * time.Millisecond}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// trust makes a fetcher trust a test server's certificate.
func (f *fetcher) trust(s *httptest.Server) {
	f.client.Transport.(byScheme)["https"].TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

func read(a app.Answer, err error) (string, error) {
	if err != nil || a.Body == nil {
		return "", err
	}
	raw, err := io.ReadAll(a.Body)
	return string(raw), errors.Join(err, a.Body.Close())
}

func TestFetch(t *testing.T) {
	var plain, secure *httptest.Server
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Header.Get("If-None-Match") == `"1"` || r.Header.Get("If-Modified-Since") == "then" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Last-Modified", "then")
			_, _ = io.WriteString(w, "document for "+r.Header.Get("User-Agent"))
		case "/odd304":
			w.WriteHeader(http.StatusNotModified)
		case "/once":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/ever":
			http.Redirect(w, r, "/ever", http.StatusFound)
		case "/down":
			http.Redirect(w, r, plain.URL+"/ok", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
		default:
			http.NotFound(w, r)
		}
	})
	plain, secure = httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for name, c := range map[string]struct {
		url   string
		allow []string
		body  string
		words string
	}{
		"https":                       {secure.URL + "/ok", []string{"127.0.0.1"}, "document for Latchkey/test", ""},
		"http where allowed":          {plain.URL + "/ok", []string{"127.0.0.0/8"}, "document for Latchkey/test", ""},
		"http where not":              {plain.URL + "/ok", nil, "", "must begin with https://"},
		"https within, not allowed":   {secure.URL + "/ok", nil, "", "not allowed"},
		"leads on":                    {secure.URL + "/once", []string{"127.0.0.1"}, "document for Latchkey/test", ""},
		"leads on for ever":           {secure.URL + "/ever", []string{"127.0.0.1"}, "", "leads on and on"},
		"leads away from https":       {secure.URL + "/down", []string{"127.0.0.1"}, "", "without https"},
		"leads to a file":             {secure.URL + "/file", []string{"127.0.0.1"}, "", "without https"},
		"http leads to a file":        {plain.URL + "/file", []string{"127.0.0.1"}, "", "isn't https"},
		"not found":                   {secure.URL + "/none", []string{"127.0.0.1"}, "", "answers 404 (Not Found)"},
		"forbidden":                   {secure.URL + "/forbidden", []string{"127.0.0.1"}, "", "answers 403 (Forbidden)"},
		"not modified without asking": {secure.URL + "/odd304", []string{"127.0.0.1"}, "", "answers 304"},
		"slow":                        {secure.URL + "/slow", []string{"127.0.0.1"}, "", "in time"},
		"nobody there":                {"https://127.0.0.1:1/", []string{"127.0.0.1"}, "", "can't be reached"},
		"no such name":                {"https://no-such-host.invalid/", nil, "", "isn't known"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTestFetcher(t, c.allow...)
			f.trust(secure)
			got, err := read(f.fetch(t.Context(), app.Request{URL: c.url}))
			if got != c.body || (err == nil) != (c.words == "") || err != nil && !strings.Contains(problem.Public(err), c.words) {
				t.Errorf("%q, %q (%v)", got, problem.Public(err), err)
			}
		})
	}
	t.Run("conditional", func(t *testing.T) {
		f := newTestFetcher(t, "127.0.0.1")
		f.trust(secure)
		a, err := f.fetch(t.Context(), app.Request{URL: secure.URL + "/ok"})
		if _, readErr := read(a, err); readErr != nil || a.ETag != `"1"` || a.LastModified != "then" {
			t.Fatalf("%+v, %v", a, readErr)
		}
		for _, q := range []app.Request{{ETag: a.ETag}, {LastModified: a.LastModified}} {
			q.URL = secure.URL + "/ok"
			if again, err := f.fetch(t.Context(), q); err != nil || !again.Unchanged || again.Body != nil {
				t.Errorf("%+v, %v", again, err)
			}
		}
	})
	t.Run("untrusted certificate", func(t *testing.T) {
		f := newTestFetcher(t, "127.0.0.1")
		if _, err := f.fetch(t.Context(), app.Request{URL: secure.URL + "/ok"}); !strings.Contains(problem.Public(err), "isn't trusted") {
			t.Errorf("%v", err)
		}
	})
}

// TestNeighbour_SSRF_MetadataLeadsOn: wherever an allowed address leads on to passes the guard again (Zitadel GO-2026-4210,
// Casdoor GO-2026-5535).
func TestNeighbour_SSRF_MetadataLeadsOn(t *testing.T) {
	var visits atomic.Int64
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	hidden := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) })}}
	hidden.Start()
	t.Cleanup(hidden.Close)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, hidden.URL, http.StatusFound) }))
	t.Cleanup(door.Close)
	f := newTestFetcher(t, "127.0.0.1")
	if _, err := f.fetch(t.Context(), app.Request{URL: door.URL}); !problem.Is(err, problem.Forbidden) || visits.Load() != 0 {
		t.Errorf("%v, %d visits", err, visits.Load())
	}
	for _, address := range []string{"http://169.254.169.254/latest/meta-data", "https://169.254.169.254/", "https://[::1]/", "https://10.0.0.1/", "http://[::ffff:127.0.0.2]/"} {
		if _, err := f.fetch(t.Context(), app.Request{URL: address}); !problem.Is(err, problem.Forbidden) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

const spDocument = `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://sp.example.org"><SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><AssertionConsumerService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.org/acs"/></SPSSODescriptor></EntityDescriptor>`

// The whole program watches an address by itself, and writes mail where it is told to.
func TestHouseWatchesAndMails(t *testing.T) {
	var asked atomic.Int64
	sp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, spDocument)
	}))
	t.Cleanup(sp.Close)
	folder := filepath.Join(t.TempDir(), "mail")
	s := newServer(t, func(c *Config) {
		c.Outbound.Allow = []string{"127.0.0.1"}
		c.Mail.Folder = folder
	})
	by := access.SystemActor("test")
	a, err := s.Apps.Create(t.Context(), by, app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: "Wiki"}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := s.Apps.WatchMetadata(t.Context(), by, a.ID, app.MetadataWatch{URL: sp.URL})
	if err != nil || src.EntityID != "https://sp.example.org" || asked.Load() != 1 {
		t.Fatalf("%+v, %v", src, err)
	}
	if err := s.Mail.Test(t.Context(), by, "ada@example.org"); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	owner, err := s.Directory.CreateUser(t.Context(), by, directory.NewUser{
		Attributes: directory.Attributes{Email: "olga@example.org", Profile: directory.Profile{GivenName: "Olga", FamilyName: "Own"}}, State: directory.Active,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Directory.SetRole(t.Context(), by, owner.ID, access.Owner); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apps.PrepareCertificate(t.Context(), by, a.ID, keys.Options{Days: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apps.SwitchCertificate(t.Context(), by, a.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Pool.Run(ctx) }()
	var files []string
	for range 1000 {
		if files, err = filepath.Glob(filepath.Join(folder, "*.eml")); err != nil || len(files) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := errors.Join(err, <-ended); err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	text, err := os.ReadFile(files[1])
	if err != nil || !strings.Contains(string(text), "olga@example.org") || !strings.Contains(string(text), "signing certificate ends in 5 days") {
		t.Errorf("%s, %v", text, err)
	}
	if asked.Load() != 1 {
		t.Error("asked before it was due")
	}
}

func TestMailConfigIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		mail  MailConfig
		want  []string
		where string
	}{
		"none":                {MailConfig{Port: 587}, nil, ""},
		"server":              {MailConfig{Host: "smtp.example.org", From: "latchkey@example.org"}, nil, "by smtp.example.org"},
		"server, no sender":   {MailConfig{Host: "smtp.example.org"}, []string{"mail.from"}, "by smtp.example.org"},
		"plain elsewhere":     {MailConfig{Host: "smtp.example.org", From: "a@example.org", Security: "none"}, []string{"mail.security"}, "by smtp.example.org"},
		"bad port":            {MailConfig{Host: "smtp.example.org", From: "a@example.org", Port: 70000}, []string{"mail.port"}, "by smtp.example.org"},
		"folder":              {MailConfig{Folder: "out"}, nil, "into the folder out"},
		"folder, wrong from":  {MailConfig{Folder: "out", From: "x"}, []string{"mail.from"}, "into the folder out"},
		"both":                {MailConfig{Host: "smtp.example.org", Folder: "out"}, []string{"mail.folder"}, "by smtp.example.org"},
		"password for nobody": {MailConfig{Password: keys.Secret("x")}, []string{"mail.host"}, ""},
	} {
		cfg := Config{Listen: "127.0.0.1:0", Data: t.TempDir(), Mail: c.mail}
		var got []string
		for _, f := range problem.FieldsOf(cfg.Check()) {
			got = append(got, f.Name)
		}
		if d := cmp.Diff(c.want, got); d != "" || cfg.Mail.Where() != c.where {
			t.Errorf("%s: %s, %q", name, d, cfg.Mail.Where())
		}
	}
}
