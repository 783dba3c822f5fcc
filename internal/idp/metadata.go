package idp

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// metadata serves our metadata for one application (saml-metadata §2.4.3): also before its sign-on is complete, because
// the service provider may want ours first. The current certificate comes first, then the next one. ?signed=1 signs it;
// ?download=1 makes the browser save it. It is the same, to the byte, until something of it changes.
func (p *IDP) metadata(w http.ResponseWriter, r *http.Request) error {
	a, pairs, signer, err := p.published(r)
	if err != nil {
		return err
	}
	con, err := p.catalog.Get(a.Connector)
	if err != nil {
		return err
	}
	facts, _, err := catalog.MergeSAML(con.SAML, a.SAML.Mapping)
	if err != nil {
		return err
	}
	urls := p.apps.URLs(a)
	m := saml.IdPMetadata{
		EntityID: a.SAML.IDPEntityID,
		SSO: []saml.Endpoint{
			{Binding: saml.BindingHTTPRedirect, URL: urls.SSO},
			{Binding: saml.BindingHTTPPost, URL: urls.SSO},
		},
		SLO: []saml.Endpoint{
			{Binding: saml.BindingHTTPRedirect, URL: urls.SLO},
			{Binding: saml.BindingHTTPPost, URL: urls.SLO},
		},
		NameIDFormats: formats(facts), WantAuthnRequestsSigned: a.SAML.RequireSignedRequests,
		CacheDuration: metadataLife,
	}
	for _, status := range []keys.Status{keys.Current, keys.Next} {
		for _, pair := range pairs {
			if pair.Status == status {
				m.Certificates = append(m.Certificates, pair.Certificate)
				// It holds for as long as what we sign with; but metadata that is over helps nobody to go on.
				if status == keys.Current && p.now().Before(pair.NotAfter) {
					m.ValidUntil = pair.NotAfter
				}
			}
		}
	}
	if signed, _ := strconv.ParseBool(r.URL.Query().Get("signed")); signed {
		if m.ID, err = idOf(&m); err != nil {
			return err
		}
	} else {
		signer = nil
	}
	xml, err := saml.AppendMetadata([]byte(`<?xml version="1.0" encoding="UTF-8"?>`+"\n"), &m, signer)
	if err != nil {
		return err
	}
	if download, _ := strconv.ParseBool(r.URL.Query().Get("download")); download {
		w.Header().Set("Content-Disposition", `attachment; filename="`+a.Slug+`-metadata.xml"`)
	}
	return serve(w, r, "application/samlmetadata+xml", xml)
}

// metadataLife is how long our metadata may be kept before it is looked at again: a next certificate has to reach all
// before it is put to use.
const metadataLife = 6 * time.Hour

// idOf is the ID of signed metadata: the same for the same content, so that the document as a whole is.
func idOf(m *saml.IdPMetadata) (string, error) {
	content, err := saml.AppendMetadata(nil, m, nil)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return "_" + hex.EncodeToString(sum[:20]), nil
}

// certificate serves the current certificate as the file certificate.pem; ?which=next serves the next one.
func (p *IDP) certificate(w http.ResponseWriter, r *http.Request) error {
	_, pairs, _, err := p.published(r)
	if err != nil {
		return err
	}
	which := keys.Current
	if r.URL.Query().Get("which") == string(keys.Next) {
		which = keys.Next
	}
	for _, pair := range pairs {
		if pair.Status == which {
			w.Header().Set("Content-Disposition", `attachment; filename="certificate.pem"`)
			return serve(w, r, "application/x-pem-file", []byte(pair.PEM))
		}
	}
	return problem.New(problem.NotFound, "This application has no %s certificate.", which)
}

// published reads what is public about an application's sign-on.
func (p *IDP) published(r *http.Request) (a app.Application, pairs []keys.Pair, signer *xmldsig.Signer, err error) {
	err = p.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if a, _, err = app.BySlug(tx, r.PathValue("slug")); err != nil {
			return err
		}
		if pairs, err = p.pairs.List(tx, string(a.ID)); err != nil {
			return err
		}
		_, signer, err = p.pairs.XMLSigner(tx, string(a.ID), a.SAML.Hash())
		return err
	})
	if problem.Is(err, problem.NotFound) {
		return a, nil, nil, problem.New(problem.NotFound, "No application answers at this address. Copy it again from the application's sign-on page.")
	}
	return a, pairs, signer, err
}

// serve sends a file that a new certificate or setting may change at any time: not again to who has it (RFC 9110
// §13.1.2).
func serve(w http.ResponseWriter, r *http.Request, mediaType string, body []byte) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	h.Set("ETag", tag)
	if has(r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Disposition")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader may have gone; nothing to do about it
	}
	return nil
}

// has reports whether a client's entity tags name this one; weak comparison is what If-None-Match asks for.
func has(headers []string, tag string) bool {
	for _, h := range headers {
		for one := range strings.SplitSeq(h, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}
