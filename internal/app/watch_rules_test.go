package app_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmlenc"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// Each door of the watch asks for its permission, before it tells or fetches anything.
func TestWatchNeedsPermission(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	x := w.sp()
	w.web.put(docURL, page{body: x.xml()})
	must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
	x.acs = []string{"https://sp.example.org/other"}
	w.web.put(docURL, page{body: x.xml()})
	p := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal
	asked := w.web.asked()
	for name, try := range map[string]func(by access.Actor) error{
		"watch": func(by access.Actor) error {
			_, err := w.apps.WatchMetadata(t.Context(), by, a.ID, app.MetadataWatch{URL: docURL})
			return err
		},
		"check": func(by access.Actor) error { _, err := w.apps.CheckMetadataNow(t.Context(), by, a.ID); return err },
		"approve": func(by access.Actor) error {
			_, err := w.apps.ApproveMetadata(t.Context(), by, a.ID, p.Hash)
			return err
		},
		"approve something else": func(by access.Actor) error { _, err := w.apps.ApproveMetadata(t.Context(), by, a.ID, "x"); return err },
		"dismiss":                func(by access.Actor) error { return w.apps.DismissMetadata(t.Context(), by, a.ID, p.Hash) },
		"unwatch":                func(by access.Actor) error { return w.apps.UnwatchMetadata(t.Context(), by, a.ID) },
		"preview": func(by access.Actor) error {
			_, err := w.apps.PreviewMetadata(t.Context(), by, a.ID, []byte(x.xml()), "")
			return err
		},
		"import": func(by access.Actor) error {
			_, err := w.apps.ImportSPMetadata(t.Context(), by, a.ID, []byte(x.xml()), "")
			return err
		},
		"list": func(by access.Actor) error { _, err := w.apps.SPEntityIDs(by, []byte(x.xml())); return err },
	} {
		for _, by := range []access.Actor{reader, nobody} {
			if err := try(by); !problem.Is(err, problem.Forbidden) {
				t.Errorf("%s by %s: %v", name, by.ID, err)
			}
		}
	}
	if w.web.asked() != asked {
		t.Error("something was fetched")
	}
	if _, _, err := w.apps.MetadataSource(t.Context(), nobody, a.ID); !problem.Is(err, problem.Forbidden) {
		t.Errorf("nobody looks: %v", err)
	}
	if src, ok, err := w.apps.MetadataSource(t.Context(), reader, a.ID); err != nil || !ok || src.Proposal == nil || src.Proposal.Hash != p.Hash {
		t.Errorf("a reader sees %+v, %v", src, err)
	}
}

// Where there is no sign-on there is nothing to take.
func TestWatchNeedsSignOn(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	x := w.sp()
	w.web.put(docURL, page{body: x.xml()})
	a := w.create(app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "Only accounts"}})
	_, watch := w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL})
	_, preview := w.apps.PreviewMetadata(t.Context(), admin, a.ID, []byte(x.xml()), "")
	_, take := w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(x.xml()), "")
	for name, err := range map[string]error{"watch": watch, "preview": preview, "import": take} {
		if !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), "no sign-on") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.web.asked() != 0 {
		t.Error("something was fetched")
	}
}

// A signer's key has to be one by which a signature could hold.
func TestWatchSignersKey(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	w.web.put(docURL, page{body: w.sp().xml()})
	weak := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]string{"RSA 1024": spCert(t, weak, w.now.AddDate(1, 0, 0)), "Ed25519": spCert(t, other, w.now.AddDate(1, 0, 0))} {
		a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
		_, err := w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL, SigningCertificate: cert})
		if d := cmp.Diff([]string{"signingCertificate"}, fields(err)); d != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.web.asked() != 0 {
		t.Error("something was fetched")
	}
}

// fetching returns the applications of the same installation, which fetch in another way.
func (w *world) fetching(fetch func(context.Context, app.Request) (app.Answer, error)) *app.Applications {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	sealer := must(keys.NewSealer([]byte("0123456789abcdef0123456789ABCDEF")))(w.t)
	return app.New(app.Config{
		DB: w.db, Catalog: must(connectors())(w.t), Pairs: keys.NewPairs(sealer, clock), Sealer: sealer, PublicURL: "https://id.example.org/",
		Now: clock, Generate: generate, Fetch: fetch, Mailer: w.mail,
	})
}

// While a document is fetched somebody enters values by hand: they aren't overwritten.
func TestWatchWhileValuesAreEntered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		for name, change := range map[string]func(*app.SAMLSettings){
			"entity ID": func(s *app.SAMLSettings) { s.SPEntityID = entity },
			"ACS":       func(s *app.SAMLSettings) { s.ACS = []app.ACS{{URL: "https://sp.example.org/byhand"}} },
		} {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
			slow := w.fetching(func(ctx context.Context, r app.Request) (app.Answer, error) {
				must(w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { change(s); return nil }))(t)
				return w.web.fetch(ctx, r)
			})
			if _, err := slow.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}); !problem.Is(err, problem.Conflict) {
				t.Errorf("%s: %v", name, err)
			}
			s := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML
			if len(s.SPCertificates) != 0 || len(s.ACS) > 0 && s.ACS[0].URL != "https://sp.example.org/byhand" {
				t.Errorf("%s: overwritten: %+v", name, s.SAMLSettings)
			}
			if _, ok, err := w.apps.MetadataSource(t.Context(), admin, a.ID); ok || err != nil {
				t.Errorf("%s: watched all the same, %v", name, err)
			}
		}
	})
}

// While a document is fetched its application is told to watch another address: what came of the former counts no more.
func TestWatchElsewhereMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		w.web.put(docURL+"2", page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		evil := x
		evil.acs = []string{"https://evil.example.org/acs"}
		for name, p := range map[string]page{
			"a change": {body: evil.xml()}, "an error": {err: problem.New(problem.Unavailable, "The address answers 410 (Gone).")},
		} {
			w.web.put(docURL, p)
			must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL + "2"}))(t)
			w.web.put(docURL, page{body: x.xml()})
			must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
			w.web.put(docURL, p)
			slow := w.fetching(func(ctx context.Context, r app.Request) (app.Answer, error) {
				must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL + "2"}))(t)
				return w.web.fetch(ctx, r)
			})
			n := len(w.told(a.ID, 0))
			src := must(slow.CheckMetadataNow(t.Context(), admin, a.ID))(t)
			if src.URL != docURL+"2" || src.Error != "" || src.Proposal != nil {
				t.Errorf("%s: %+v", name, src)
			}
			if d := cmp.Diff([]string{"application_update success metadata.url"}, w.told(a.ID, n)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		// And where nothing is watched any more nothing is noted.
		w.web.put(docURL+"2", page{body: evil.xml()})
		slow := w.fetching(func(ctx context.Context, r app.Request) (app.Answer, error) {
			if err := w.apps.UnwatchMetadata(t.Context(), admin, a.ID); err != nil {
				t.Error(err)
			}
			return w.web.fetch(ctx, r)
		})
		if _, err := slow.CheckMetadataNow(t.Context(), admin, a.ID); !problem.Is(err, problem.NotFound) {
			t.Errorf("%v", err)
		}
	})
}

// Watching the same again keeps what was turned down; watching elsewhere begins anew.
func TestWatchTheSameAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		x.acs = []string{"https://sp.example.org/other"}
		for _, url := range []string{docURL, docURL + "2"} {
			w.web.put(url, page{body: x.xml()})
		}
		p := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, p.Hash); err != nil {
			t.Fatal(err)
		}
		n := len(w.told(a.ID, 0))
		if src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t); src.Proposal != nil {
			t.Errorf("proposed again: %+v", src.Proposal)
		}
		if told := w.told(a.ID, n); len(told) != 0 {
			t.Errorf("told %q", told)
		}
		if src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL + "2"}))(t); src.Proposal == nil {
			t.Error("elsewhere it isn't proposed")
		}
	})
}

// An address that answers "nothing new" before it gave anything has given nothing.
func TestWatchNothingNewOfNothing(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	apps := w.fetching(func(context.Context, app.Request) (app.Answer, error) { return app.Answer{Unchanged: true}, nil })
	_, err := apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL})
	if d := cmp.Diff([]string{"url"}, fields(err)); d != "" || !strings.Contains(problem.Public(err), "never given anything") {
		t.Errorf("%v", err)
	}
}

// What an address says of its copy is sent back, unless nobody would.
func TestWatchValidators(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	body := w.sp().xml()
	for name, c := range map[string]struct{ etag, modified, wantETag, wantModified string }{
		"both":       {`"1"`, "Wed, 25 Nov 2026 12:00:00 GMT", `"1"`, "Wed, 25 Nov 2026 12:00:00 GMT"},
		"the most":   {strings.Repeat("e", 1024), "", strings.Repeat("e", 1024), ""},
		"too long":   {strings.Repeat("e", 1025), strings.Repeat("m", 1025), "", ""},
		"lines":      {"\"1\"\r\nHost: evil.example", "a\nb", "", ""},
		"unreadable": {"\xff", "\x00", "", ""},
	} {
		a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
		var last app.Request
		apps := w.fetching(func(_ context.Context, r app.Request) (app.Answer, error) {
			last = r
			return app.Answer{ETag: c.etag, LastModified: c.modified, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		must(apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		if src := must(apps.CheckMetadataNow(t.Context(), admin, a.ID))(t); src.Error != "" {
			t.Errorf("%s: %s", name, src.Error)
		}
		if d := cmp.Diff(app.Request{URL: docURL, ETag: c.wantETag, LastModified: c.wantModified}, last); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// counted tells how much of a body was read.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// Of a document no more is read than may be, signed or not.
func TestWatchReadsNoMoreThanItMay(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	x := w.sp()
	for name, watch := range map[string]app.MetadataWatch{
		"signed": {URL: docURL, SigningCertificate: x.signing[0]}, "unsigned": {URL: docURL},
	} {
		body := &counted{Reader: io.MultiReader(strings.NewReader(x.xml()), io.LimitReader(spaces{}, 1<<30))}
		apps := w.fetching(func(context.Context, app.Request) (app.Answer, error) {
			return app.Answer{Body: io.NopCloser(body)}, nil
		})
		a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
		_, err := apps.WatchMetadata(t.Context(), admin, a.ID, watch)
		if d := cmp.Diff([]string{"url"}, fields(err)); d != "" || body.n > 128<<20+1 {
			t.Errorf("%s: %d bytes, %v", name, body.n, err)
		}
	}
}

// What a document says beside settings is a change, too, once it was agreed to.
func TestWatchTellsWhatElseChanged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for name, c := range map[string]struct {
			before, after func(*sp)
			want          []string
		}{
			"requests are signed":        {func(*sp) {}, func(x *sp) { x.signs = true }, []string{"metadata.authnRequestsSigned"}},
			"requests aren't any more":   {func(x *sp) { x.signs = true }, func(x *sp) { x.signs = false }, []string{"metadata.authnRequestsSigned"}},
			"formats":                    {func(*sp) {}, func(x *sp) { x.formats = []string{saml.NameIDTransient} }, []string{"metadata.nameIdFormats"}},
			"an end, for the first time": {func(*sp) {}, until("2026-12-24T00:00:00Z"), []string{"metadata.validUntil"}},
			"no end any more":            {until("2026-12-24T00:00:00Z"), until(""), []string{"metadata.validUntil"}},
			"an earlier end, and more": {until("2026-12-24T00:00:00Z"), func(x *sp) {
				until("2026-12-01T00:00:00Z")(x)
				x.acs = []string{"https://sp.example.org/other"}
			}, []string{"acs", "metadata.validUntil"}},
			"a later end, and more": {until("2026-12-24T00:00:00Z"), func(x *sp) {
				until("2027-12-01T00:00:00Z")(x)
				x.acs = []string{"https://sp.example.org/other"}
			}, []string{"acs"}},
			"a later end":     {until("2026-12-24T00:00:00Z"), until("2027-12-24T00:00:00Z"), nil},
			"nothing":         {func(*sp) {}, func(*sp) {}, nil},
			"assertions":      {func(*sp) {}, wants("true"), []string{"metadata.wantAssertionsSigned"}},
			"assertions, not": {wants("true"), wants("false"), []string{"metadata.wantAssertionsSigned"}},
		} {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: name}})
			x := w.sp()
			c.before(&x)
			w.web.put(docURL, page{body: x.document()})
			must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
			c.after(&x)
			w.web.put(docURL, page{body: x.document()})
			src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
			var got []string
			if src.Proposal != nil {
				got = attributes(src.Proposal.Changes)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	})
}

func until(end string) func(*sp) {
	return func(x *sp) {
		if x.attributes = ""; end != "" {
			x.attributes = ` validUntil="` + end + `"`
		}
	}
}

// wants hides WantAssertionsSigned in a list that document puts where it belongs.
func wants(value string) func(*sp) { return func(x *sp) { x.methods = []string{"wants " + value} } }

func (x sp) document() string {
	if len(x.methods) == 1 {
		if value, ok := strings.CutPrefix(x.methods[0], "wants "); ok {
			return strings.Replace(x.xml(), "<md:SPSSODescriptor ", `<md:SPSSODescriptor WantAssertionsSigned="`+value+`" `, 1)
		}
	}
	return x.xml()
}

// The name of a proposal is that of a document, too: another document of which the same would follow is another one, for
// more may be in it than is shown.
func TestWatchProposalNamesItsDocument(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
		x.acs = []string{"https://sp.example.org/other"}
		w.web.put(docURL, page{body: x.xml()})
		first := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t).Proposal
		x.formats = []string{saml.NameIDTransient}
		w.web.put(docURL, page{body: x.xml()})
		second := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal
		if first == nil || second == nil || first.Hash == second.Hash {
			t.Fatalf("%+v, %+v", first, second)
		}
		if d := cmp.Diff(first.Changes, second.Changes); d != "" {
			t.Fatal(d)
		}
		if _, err := w.apps.ApproveMetadata(t.Context(), admin, a.ID, first.Hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("%v", err)
		}
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, first.Hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("%v", err)
		}
	})
}

// interrupted is a context at whose nth question something else happens first, as far as nobody else is in its way.
type interrupted struct {
	context.Context
	mu    sync.Mutex
	at, n int
	do    func()
	done  sync.WaitGroup
}

func (c *interrupted) Err() error {
	c.mu.Lock()
	c.n++
	now := c.n == c.at
	c.mu.Unlock()
	if now {
		ended := make(chan struct{})
		c.done.Go(func() { defer close(ended); c.do() })
		select {
		case <-ended:
		case <-time.After(50 * time.Millisecond): // it waits for a transaction that this one holds
		}
	}
	return c.Context.Err()
}

// Somebody agrees to a change while, at any moment of that, somebody else enters something by hand or the document changes
// again. What was entered is never overwritten by what its author didn't see, and what the document says now still waits.
func TestWatchAgreedWhileSomethingChanges(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t)) // it is about who looks when, not about SQL
	x := w.sp()
	const byHand = "https://sp.example.org/byhand"
	y, z := x, x
	y.acs, z.acs = []string{"https://sp.example.org/y"}, []string{"https://sp.example.org/z"}
	agreed, refused := 0, 0
	for at := 1; at < 60; at++ {
		fired := false
		for _, what := range []string{"settings", "document"} {
			a := w.create(app.NewApplication{Connector: "custom-saml", Attributes: app.Attributes{Label: fmt.Sprint(what, at)}})
			w.web.put(docURL, page{body: x.xml()})
			must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
			w.web.put(docURL, page{body: y.xml()})
			p := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal
			w.web.put(docURL, page{body: z.xml()})
			happened := false
			ctx := &interrupted{Context: t.Context(), at: at, do: func() {
				happened = true
				var err error
				if what == "settings" {
					_, err = w.apps.SaveSAML(t.Context(), admin, a.ID, func(s *app.SAMLSettings) error { s.SLOURL = byHand; return nil })
				} else {
					_, err = w.apps.CheckMetadataNow(t.Context(), admin, a.ID)
				}
				if err != nil {
					t.Errorf("%s, at %d: %v", what, at, err)
				}
			}}
			_, err := w.apps.ApproveMetadata(ctx, admin, a.ID, p.Hash)
			ctx.done.Wait()
			switch {
			case err == nil:
				agreed++
			case problem.Is(err, problem.Conflict):
				refused++
			default:
				t.Errorf("%s, at %d: %v", what, at, err)
			}
			if fired = fired || happened; !happened {
				continue
			}
			s, src := must(w.apps.Get(t.Context(), admin, a.ID))(t).SAML, w.source(a.ID)
			if what == "settings" && s.SLOURL != byHand {
				t.Errorf("at %d: what was entered by hand is lost (%v)", at, err)
			}
			if what == "document" && (src.Proposal == nil || !slices.Contains(attributes(src.Proposal.Changes), "acs")) {
				t.Errorf("at %d: what the document says now waits no more (%v): %+v", at, err, src.Proposal)
			}
			if took := s.ACS[0].URL == y.acs[0]; took != (err == nil) {
				t.Errorf("%s, at %d: %s is in use, %v", what, at, s.ACS[0].URL, err)
			}
		}
		if !fired {
			break
		}
	}
	if agreed == 0 || refused == 0 {
		t.Errorf("%d agreed, %d refused: it never happened meanwhile", agreed, refused)
	}
}

// The key for encryption that is marked as one comes before one for any use.
func TestImportTakesTheKeyForEncryption(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	x := w.sp()
	own := spCert(t, rsaKey(t), w.now.AddDate(3, 0, 0))
	x.encryption, x.methods = []string{own}, []string{xmlenc.AES256GCM}
	anyUse := strings.Replace(x.xml(), `<md:KeyDescriptor use="signing">`, `<md:KeyDescriptor>`, 1)
	got := must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(anyUse), ""))(t).Application.SAML
	if got.EncryptionCertificate != own || !slices.Equal(got.SPCertificates, x.signing) {
		t.Errorf("for encryption %q, for signatures %q", got.EncryptionCertificate, got.SPCertificates)
	}
}

// That a federation moves the end of validity on with each edition, or that there is more to say about a document because
// a certificate has ended, is no change: what was turned down stays so.
func TestWatchNextEditionIsNoChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		x.signing = append(x.signing, spCert(t, rsaKey(t), w.now.Add(30*time.Hour)))
		until("2026-12-01T00:00:00Z")(&x)
		w.web.put(docURL, page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		x.acs = []string{"https://sp.example.org/other"}
		w.web.put(docURL, page{body: x.xml()})
		src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, src.Proposal.Hash); err != nil {
			t.Fatal(err)
		}
		n, changed := len(w.told(a.ID, 0)), w.source(a.ID).ChangedAt
		until("2026-12-02T00:00:00Z")(&x)
		w.web.put(docURL, page{body: x.xml()})
		for range 2 { // by then the second certificate has ended
			w.now = w.now.Add(25 * time.Hour)
			w.run()
			if src := w.source(a.ID); src.Proposal != nil || !src.ChangedAt.Equal(changed) || !src.CheckedAt.Equal(w.now) || src.ValidUntil.Day() != 2 {
				t.Errorf("%+v", src)
			}
		}
		if told := w.told(a.ID, n); len(told) != 0 {
			t.Errorf("told %q", told)
		}
	})
}

// While an address fails what it said before still waits, once, and can be agreed to.
func TestWatchKeepsAProposalWhileTheAddressFails(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		x.acs = []string{"https://sp.example.org/other"}
		w.web.put(docURL, page{body: x.xml()})
		before := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
		n := len(w.told(a.ID, 0))
		for _, p := range []page{{err: problem.New(problem.Unavailable, "The address answers 410 (Gone).")}, {body: x.xml()}} {
			w.web.put(docURL, p)
			w.now = w.now.Add(2 * time.Hour)
			src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
			if src.Proposal == nil || src.Proposal.Hash != before.Proposal.Hash || !src.ChangedAt.Equal(before.ChangedAt) || (src.Error != "") != (p.err != nil) {
				t.Errorf("%+v", src)
			}
		}
		if d := cmp.Diff([]string{"metadata_change failure", "metadata_change success"}, w.told(a.ID, n)); d != "" {
			t.Error(d)
		}
		w.web.put(docURL, page{err: problem.New(problem.Unavailable, "The address answers 410 (Gone).")})
		must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
		if got := must(w.apps.ApproveMetadata(t.Context(), admin, a.ID, before.Proposal.Hash))(t); got.Application.SAML.ACS[0].URL != x.acs[0] {
			t.Errorf("agreed to: %+v", got.Application.SAML.SAMLSettings)
		}
	})
}

// What was turned down is neither told nor proposed again when the document comes back to it from something else.
func TestWatchComesBackToWhatWasTurnedDown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		w.web.put(docURL, page{body: x.xml()})
		must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
		says := func(acs string) app.MetadataSource {
			t.Helper()
			x.acs = []string{"https://sp.example.org/" + acs}
			w.web.put(docURL, page{body: x.xml()})
			return must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
		}
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, says("no").Proposal.Hash); err != nil {
			t.Fatal(err)
		}
		n := len(w.told(a.ID, 0))
		for _, acs := range []string{"perhaps", "perhaps", "perhaps"} {
			if says(acs).Proposal == nil {
				t.Error("another change isn't proposed")
			}
		}
		if src := says("no"); src.Proposal != nil {
			t.Errorf("proposed again: %+v", src.Proposal)
		}
		if d := cmp.Diff([]string{"metadata_change success saml.acs"}, w.told(a.ID, n)); d != "" {
			t.Error(d)
		}
	})
}

// Values that are in use already need nobody's word, and what the document says then is what later changes are told of.
func TestWatchWhatIsInUseIsAgreedTo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.saml()
		x := w.sp()
		must(w.apps.ImportSPMetadata(t.Context(), admin, a.ID, []byte(x.xml()), ""))(t)
		w.web.put(docURL, page{body: x.xml()})
		if src := must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t); src.Proposal != nil {
			t.Errorf("%+v", src.Proposal)
		}
		x.formats = []string{saml.NameIDTransient}
		w.web.put(docURL, page{body: x.xml()})
		src := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t)
		if src.Proposal == nil || !slices.Equal(attributes(src.Proposal.Changes), []string{"metadata.nameIdFormats"}) {
			t.Errorf("%+v", src.Proposal)
		}
	})
}

// Where nothing waits nothing is agreed to and nothing turned down, whatever it is called.
func TestWatchNothingWaits(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	a := w.saml()
	x := w.sp()
	w.web.put(docURL, page{body: x.xml()})
	must(w.apps.WatchMetadata(t.Context(), admin, a.ID, app.MetadataWatch{URL: docURL}))(t)
	x.acs = []string{"https://sp.example.org/other"}
	w.web.put(docURL, page{body: x.xml()})
	turnedDown := must(w.apps.CheckMetadataNow(t.Context(), admin, a.ID))(t).Proposal.Hash
	if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, turnedDown); err != nil {
		t.Fatal(err)
	}
	before := must(w.apps.Get(t.Context(), admin, a.ID))(t)
	n := len(w.told(a.ID, 0))
	for _, hash := range []string{"", turnedDown, "x"} {
		if _, err := w.apps.ApproveMetadata(t.Context(), admin, a.ID, hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("agreed to %q: %v", hash, err)
		}
		if err := w.apps.DismissMetadata(t.Context(), admin, a.ID, hash); !problem.Is(err, problem.Conflict) {
			t.Errorf("turned down %q: %v", hash, err)
		}
	}
	if after := must(w.apps.Get(t.Context(), admin, a.ID))(t); after.Version != before.Version || len(w.told(a.ID, n)) != 0 {
		t.Errorf("something happened: %q", w.told(a.ID, n))
	}
}
