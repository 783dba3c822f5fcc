package console

import (
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/saml/xmldsig"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// The rows of settings that open on the sign-on tab: each has a form, an anchor and a path of this name.
const (
	setSubject    = "subject"
	setSignatures = "signatures"
	setEncryption = "encryption"
	setRequests   = "requests"
	setLogout     = "logout"
	setSession    = "session"
)

// settingForms fills the forms of the rows.
func settingForms(f appFrame, s app.SAMLSettings) map[string]web.Form {
	return map[string]web.Form{
		setSubject:    subjectForm(f, s),
		setSignatures: web.NewForm(map[string]string{"sign": signValue(s), "signatureAlgorithm": s.SignatureAlgorithm}).Named(setSignatures),
		setEncryption: web.NewForm(map[string]string{
			"encryptAssertions": boolValue(s.EncryptAssertions), "encryptionCertificate": s.EncryptionCertificate, "encryptionAlgorithm": cmp.Or(s.EncryptionAlgorithm, app.EncryptionAlgorithms()[0]),
		}).Named(setEncryption),
		setRequests: web.NewForm(map[string]string{"requireSignedRequests": requiredValue(s.RequireSignedRequests)}).Named(setRequests),
		setLogout: web.NewForm(map[string]string{
			"sloUrl": s.SLOURL, "sloBinding": orRedirect(s.SLOBinding), "sloResponseUrl": s.SLOResponseURL,
		}).Named(setLogout),
		setSession: web.NewForm(map[string]string{"sendSessionEnd": boolValue(s.SendSessionEnd)}).Named(setSession),
	}
}

func requiredValue(on bool) string {
	if on {
		return "required"
	}
	return "optional"
}

func orRedirect(binding string) string {
	if binding == "" {
		return saml.BindingHTTPRedirect
	}
	return binding
}

// form is the form of a row.
func (p signOnPage) form(name string) web.Form { return p.Settings[name] }

// saveSetting changes what a row holds; named turns an error's fields into those of the row's form.
func (c *Console) saveSetting(w http.ResponseWriter, r *request, name, message string, change func(*app.SAMLSettings) error, named func(field string) string) error {
	return c.saveSignOn(w, r, "#"+name, message, change, func(p *signOnPage, err error) bool {
		if named != nil {
			err = renamed(err, named)
		}
		form, ok := web.PostedForm(r.Request).Named(name).Fail(err)
		p.Settings[name], p.Failed = form, name
		return ok
	})
}

// renamed gives the errors of fields to the inputs that stand for them.
func renamed(err error, input func(field string) string) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return err
	}
	out := *p
	out.Fields = slices.Clone(p.Fields)
	for i := range out.Fields {
		out.Fields[i].Name = input(out.Fields[i].Name)
	}
	return &out
}

// What a NameID is made of, beside attributes.
const (
	subjectPairwise = "pairwise"
	subjectKept     = "kept" // an expression or constant of the mapping
)

func subjectForm(f appFrame, s app.SAMLSettings) web.Form {
	id, _, err := catalog.MergeSAML(f.Con.SAML, s.Mapping)
	if err != nil { // a stored override that the connector no longer takes
		id = f.Con.SAML.NameID
	}
	v := map[string]string{"format": id.Format, "persistentSource": subjectPairwise}
	source, key := "source", "customKey"
	own := !reflect.DeepEqual(id.Source, f.Con.SAML.NameID.Source)
	if id.Format == saml.NameIDPersistent {
		source, key = "persistentSource", "persistentKey"
		v["source"] = f.Con.SAML.NameID.Attribute
	}
	if id.Format != saml.NameIDPersistent || own {
		custom, isCustom := strings.CutPrefix(id.Attribute, catalog.CustomPrefix)
		switch {
		case id.Attribute == "":
			v[source] = subjectKept
		case isCustom:
			v[source], v[key] = customAttribute, custom
		default:
			v[source] = id.Attribute
		}
	}
	return web.NewForm(v).Named(setSubject)
}

// postedSubject reads what the NameID shall be; nil is what the connector says.
func postedSubject(r *request, con *catalog.SAML, now catalog.NameIDFacts) (*catalog.NameIDOverride, error) {
	get := r.PostForm.Get
	format := get("format")
	if format == "" && len(con.NameID.Formats) == 1 {
		format = con.NameID.Format
	}
	if format == "" {
		return nil, problem.InvalidField("format", "Choose a format.")
	}
	source, key := "source", "customKey"
	if format == saml.NameIDPersistent {
		source, key = "persistentSource", "persistentKey"
	}
	from := con.NameID.Source
	switch v := get(source); {
	case format == saml.NameIDTransient, v == subjectPairwise:
	case v == subjectKept:
		from = now.Source
	case v == customAttribute:
		name := strings.TrimSpace(get(key))
		if name == "" {
			return nil, problem.InvalidField(key, "Enter the custom attribute's key.")
		}
		from = catalog.Source{Attribute: catalog.CustomPrefix + name}
	case v == "":
		return nil, problem.InvalidField(source, "Choose what identifies a person.")
	default:
		from = catalog.Source{Attribute: v}
	}
	o := catalog.NameIDOverride{}
	if format != con.NameID.Format {
		o.Format = format
	}
	if !reflect.DeepEqual(from, con.NameID.Source) {
		o.Source = &from
	}
	if o.Format == "" && o.Source == nil {
		return nil, nil
	}
	return &o, nil
}

func (c *Console) saveSubject(w http.ResponseWriter, r *request) error {
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return err
	}
	source := "source"
	if r.PostForm.Get("format") == saml.NameIDPersistent {
		source = "persistentSource"
	}
	return c.saveSetting(w, r, setSubject, "The NameID is saved. It counts from the next sign-on on.", func(s *app.SAMLSettings) error {
		if f.Con.SAML == nil {
			return nil // refused by the domain
		}
		now, _, err := catalog.MergeSAML(f.Con.SAML, s.Mapping)
		if err != nil {
			return err
		}
		s.Mapping.NameID, err = postedSubject(r, f.Con.SAML, now)
		return err
	}, func(field string) string {
		switch {
		case !strings.HasPrefix(field, "mapping"):
			return field
		case strings.HasSuffix(field, "format") && len(f.Con.SAML.NameID.Formats) > 1:
			return "format"
		}
		return source
	})
}

func (c *Console) saveSignatures(w http.ResponseWriter, r *request) error {
	return c.saveSetting(w, r, setSignatures, "What is signed, and how, is saved.", func(s *app.SAMLSettings) error {
		sign := r.PostForm.Get("sign")
		s.SignAssertion, s.SignResponse = sign == "assertion" || sign == "both", sign == "response" || sign == "both"
		s.SignatureAlgorithm = r.PostForm.Get("signatureAlgorithm")
		return nil
	}, func(field string) string {
		if field == "signAssertion" {
			return "sign"
		}
		return field
	})
}

// sha1Frame asks before SHA-1 is allowed.
func (c *Console) sha1Frame(w http.ResponseWriter, r *request) (confirmPage, appFrame, error) {
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, err
	}
	s, err := c.signOnFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	if s.App.SAML.AllowSHA1 {
		return confirmPage{}, appFrame{}, problem.New(problem.Conflict, "SHA-1 is allowed for %s already.", s.App.Label)
	}
	f := s.inner("Allow SHA-1?", "Sign-on", "sign-on")
	return confirmPage{
		Page: f.Page, Intro: "Only for an application that can't do better. Ask its maker for RSA with SHA-256 first.",
		Confirm: web.ConfirmForm{
			Action: f.path("sign-on", "sha1"), Word: f.App.Label, What: "the application's label", Submit: "Allow SHA-1", Cancel: f.path("sign-on") + "#" + setSignatures,
			Consequences: []string{
				"SHA-1 is broken: two documents can be made that share one signature. Whoever manages that signs in to " + f.App.Label + " as anybody.",
				"It can then be chosen for what is signed here, and requests that " + f.product() + " signs with it are taken.",
				"No other application is touched. The exception is recorded in the activity, and can be ended at any time.",
			},
		},
	}, f, nil
}

func (c *Console) confirmSHA1(w http.ResponseWriter, r *request) error {
	p, _, err := c.sha1Frame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) allowSHA1(w http.ResponseWriter, r *request) error {
	p, f, err := c.sha1Frame(w, r)
	if err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(r.PostForm.Get("confirm")), f.App.Label) {
		p.Confirm.Error = "Type " + f.App.Label + " to confirm."
		return c.renderConfirm(w, r, http.StatusUnprocessableEntity, p)
	}
	return c.setSHA1(w, r, true, "SHA-1 is allowed for this application. Choose it below only if you must.")
}

func (c *Console) endSHA1(w http.ResponseWriter, r *request) error {
	return c.setSHA1(w, r, false, "SHA-1 is no longer allowed.")
}

func (c *Console) setSHA1(w http.ResponseWriter, r *request, on bool, message string) error {
	id := app.ID(r.PathValue("id"))
	_, err := c.Apps.SaveSAML(r.Context(), r.By, id, func(s *app.SAMLSettings) error {
		s.AllowSHA1 = on
		if !on && s.SignatureAlgorithm == xmldsig.RSASHA1 {
			s.SignatureAlgorithm = xmldsig.RSASHA256
		}
		return nil
	})
	if err != nil {
		return err
	}
	return done(w, r, appPath(id, "sign-on")+"#"+setSignatures, message)
}

func (c *Console) saveEncryption(w http.ResponseWriter, r *request) error {
	return c.saveSetting(w, r, setEncryption, "Encryption is saved.", func(s *app.SAMLSettings) error {
		s.EncryptAssertions, s.EncryptionCertificate = checked(r, "encryptAssertions"), r.PostForm.Get("encryptionCertificate")
		if s.EncryptionAlgorithm = r.PostForm.Get("encryptionAlgorithm"); s.EncryptionAlgorithm == app.EncryptionAlgorithms()[0] {
			s.EncryptionAlgorithm = "" // stays the default when a better one becomes it
		}
		if s.EncryptAssertions && strings.TrimSpace(s.EncryptionCertificate) == "" {
			return problem.InvalidField("encryptionCertificate", "Enter the certificate to encrypt for. The other side gives it, often in its metadata.")
		}
		return nil
	}, nil)
}

func (c *Console) saveRequests(w http.ResponseWriter, r *request) error {
	return c.saveSetting(w, r, setRequests, "What is asked of requests is saved.", func(s *app.SAMLSettings) error {
		s.RequireSignedRequests = r.PostForm.Get("requireSignedRequests") == "required"
		var kept []string
		for _, text := range s.SPCertificates {
			if slices.Contains(r.PostForm["keep"], fingerprintOf(text)) {
				kept = append(kept, text)
			}
		}
		if text := strings.TrimSpace(r.PostForm.Get("newCertificate")); text != "" {
			kept = append(kept, text)
		}
		s.SPCertificates = kept
		if s.RequireSignedRequests && len(kept) == 0 {
			return problem.InvalidField("newCertificate", "Enter the certificate that requests are signed with: without it every request would be refused.")
		}
		return nil
	}, func(field string) string {
		if strings.HasPrefix(field, "spCertificates") {
			return "newCertificate"
		}
		return field
	})
}

func (c *Console) saveLogout(w http.ResponseWriter, r *request) error {
	return c.saveSetting(w, r, setLogout, "Single logout is saved.", func(s *app.SAMLSettings) error {
		s.SLOURL, s.SLOBinding, s.SLOResponseURL = r.PostForm.Get("sloUrl"), r.PostForm.Get("sloBinding"), r.PostForm.Get("sloResponseUrl")
		return nil
	}, nil)
}

func (c *Console) saveSessionEnd(w http.ResponseWriter, r *request) error {
	return c.saveSetting(w, r, setSession, "Saved.", func(s *app.SAMLSettings) error {
		s.SendSessionEnd = checked(r, "sendSessionEnd")
		return nil
	}, nil)
}

// spCertificate is a certificate of the service provider, in words.
type spCertificate struct {
	Fingerprint, Subject, Key, Ends string
	// Doubt says why it isn't good, "" if it is.
	Doubt string
	Level web.Level
}

func fingerprintOf(pem string) string {
	cert, err := keys.ParseCertificate(pem)
	if err != nil {
		return pem
	}
	return keys.Fingerprint(cert)
}

// spCertificateOf describes one; weak says what a weak key can't do.
func (f appFrame) spCertificateOf(pem, weak string) spCertificate {
	cert, err := keys.ParseCertificate(pem)
	if err != nil {
		return spCertificate{Fingerprint: pem, Subject: "Unreadable", Doubt: "It can't be read. Remove it and enter it again.", Level: web.Danger}
	}
	x := spCertificate{Fingerprint: keys.Fingerprint(cert), Subject: cert.Subject.String(), Key: keyWords(cert)}
	x.Level, x.Ends = endState(cert.NotAfter, f.Now)
	switch {
	case xmldsig.CheckKey(cert.PublicKey) != nil:
		x.Level, x.Doubt = web.Danger, "Its key is too weak: "+weak+" Ask for one with at least 2048 bits."
	case x.Level == web.Danger && !cert.NotAfter.After(f.Now):
		x.Level, x.Doubt = web.Warn, "It has ended. Its key is used all the same; ask for a new one."
	case x.Level == web.Danger, x.Level == web.Warn:
		x.Level, x.Doubt = web.Warn, "It ends soon. Ask the other side for the next one."
	}
	if x.Subject == "" {
		x.Subject = "without a name"
	}
	return x
}

func keyWords(c *x509.Certificate) string {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return "RSA, " + strconv.Itoa(k.N.BitLen()) + " bits"
	}
	return c.PublicKeyAlgorithm.String()
}

func (f appFrame) requestCertificates() []spCertificate {
	var list []spCertificate
	for _, text := range f.App.SAML.SPCertificates {
		list = append(list, f.spCertificateOf(text, "signatures by it are not accepted."))
	}
	return list
}

// What the rows say in short.

func (p signOnPage) subjectValue() string {
	text := formatName(p.Subject.Format)
	row, ok := p.Subject.row(catalog.NameIDTarget)
	switch {
	case !ok, p.Subject.Format == saml.NameIDTransient:
		return text + ", new at each sign-on"
	case p.Subject.Format == saml.NameIDPersistent && reflect.DeepEqual(row.Source, p.Con.SAML.NameID.Source):
		return text + ", made here for each person"
	}
	return text + ", from " + row.Source.String()
}

func formatName(uri string) string {
	switch uri {
	case saml.NameIDEmailAddress:
		return "E-mail address"
	case saml.NameIDPersistent:
		return "Persistent"
	case saml.NameIDTransient:
		return "Transient"
	case saml.NameIDUnspecified:
		return "Unspecified"
	case saml.NameIDX509SubjectName:
		return "X.509 subject name"
	}
	return uri
}

func formatHelp(uri string) string {
	switch uri {
	case saml.NameIDEmailAddress:
		return "The value is the person's e-mail address. When the address changes, the application meets somebody new, unless it follows another attribute."
	case saml.NameIDPersistent:
		return "A name that stays with the person for ever and is another one at every application (pairwise), so that applications can't compare whom they know."
	case saml.NameIDTransient:
		return "A new random name at every sign-on: the application can't recognize anybody by it."
	case saml.NameIDUnspecified:
		return "Whatever value both sides have agreed on, such as the user name."
	case saml.NameIDX509SubjectName:
		return "A distinguished name as in certificates, such as CN=Ada Lovelace."
	}
	return ""
}

func (p signOnPage) subjectFormats() []web.Option {
	var list []web.Option
	for _, uri := range p.Subject.Formats {
		list = append(list, web.Option{Value: uri, Label: formatName(uri), Help: formatHelp(uri)})
	}
	return list
}

// subjectSources are what a NameID can be made of. An expression stays as it is; it is changed among the mappings.
func (p signOnPage) subjectSources(persistent bool) []web.Option {
	var list []web.Option
	if persistent {
		list = append(list, web.Option{Value: subjectPairwise, Label: "A random name, made here"})
	}
	if row, ok := p.Subject.row(catalog.NameIDTarget); ok && row.Attribute == "" {
		list = append(list, web.Option{Value: subjectKept, Label: "As in the mapping: " + row.Source.String()})
	}
	for _, a := range catalog.Attributes() {
		if persistent && a.Name == p.Con.SAML.NameID.Attribute || a.Name == "groups" {
			continue // the connector's own stands for the random name
		}
		list = append(list, web.Option{Value: a.Name, Label: upper(a.Label)})
	}
	return append(list, web.Option{Value: customAttribute, Label: "A custom attribute…"})
}

func (p signOnPage) signaturesValue() (web.Level, string) {
	what := map[string]string{"assertion": "The assertion", "response": "The response", "both": "Assertion and response"}[signValue(p.App.SAML.SAMLSettings)]
	text := what + ", " + algorithmName(p.App.SAML.SignatureAlgorithm)
	switch {
	case p.App.SAML.SignatureAlgorithm == xmldsig.RSASHA1:
		return web.Danger, text
	case p.App.SAML.AllowSHA1:
		return web.Warn, text + "; SHA-1 is allowed"
	}
	return web.Neutral, text
}

func (p signOnPage) encryptionValue() (web.Level, string) {
	s := p.App.SAML
	switch {
	case s.EncryptAssertions && s.EncryptionCertificate == "":
		return web.Warn, "On, but the certificate is missing"
	case s.EncryptAssertions:
		text := "Assertions are encrypted, " + encryptionName(s.EncryptionAlgorithm)
		if x := p.spCertificateOf(s.EncryptionCertificate, ""); x.Doubt != "" {
			return web.Warn, text + "; the certificate " + x.Ends
		}
		return web.Neutral, text
	case !p.Con.SAML.EncryptionSupported:
		return web.Neutral, "Off: " + p.product() + " can't read encrypted assertions"
	}
	return web.Neutral, "Off: assertions travel signed, and over https"
}

func encryptionName(uri string) string {
	if uri == "" {
		uri = app.EncryptionAlgorithms()[0]
	}
	if i := strings.LastIndexByte(uri, '#'); i >= 0 {
		switch uri[i+1:] {
		case "aes256-gcm":
			return "AES-GCM with 256 bits"
		case "aes192-gcm":
			return "AES-GCM with 192 bits"
		case "aes128-gcm":
			return "AES-GCM with 128 bits"
		}
	}
	return uri
}

func encryptionOptions() []web.Option {
	var list []web.Option
	for _, uri := range app.EncryptionAlgorithms() {
		list = append(list, web.Option{Value: uri, Label: encryptionName(uri)})
	}
	return list
}

func (p signOnPage) requestsValue() (web.Level, string) {
	n, bad, level := 0, 0, web.Neutral
	for _, x := range p.requestCertificates() {
		n++
		if x.Doubt != "" {
			bad++
			level = web.Warn
		}
	}
	text := "Signatures are not required"
	if p.App.SAML.RequireSignedRequests {
		text = "Unsigned requests are refused"
	}
	switch {
	case n == 0:
		return level, text
	case bad > 0:
		return level, fmt.Sprintf("%s; %s, %s attention", text, count(n, "certificate", "certificates"), plural(bad, "1 needs", strconv.Itoa(bad)+" need"))
	}
	return level, text + "; " + count(n, "certificate", "certificates")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (p signOnPage) logoutValue() string {
	switch s := p.App.SAML; {
	case s.SLOURL != "":
		return bindingName(orRedirect(s.SLOBinding)) + " to " + s.SLOURL
	case !p.Con.SAML.SingleLogout:
		return "Off: " + p.product() + " doesn't offer it"
	}
	return "Off: signing out here leaves the session there"
}

func bindingName(uri string) string {
	switch uri {
	case saml.BindingHTTPRedirect:
		return "HTTP-Redirect"
	case saml.BindingHTTPPost:
		return "HTTP-POST"
	}
	return uri
}

func (p signOnPage) sessionValue() string {
	if p.App.SAML.SendSessionEnd {
		return "Told: the session there ends with the one here at the latest"
	}
	return "Not told: the application decides how long its session lasts"
}

// algorithms are the signature algorithms that can be chosen.
func (p signOnPage) algorithms() []web.Option {
	var list []web.Option
	for _, uri := range app.SignatureAlgorithms() {
		list = append(list, web.Option{Value: uri, Label: algorithmName(uri)})
	}
	if p.App.SAML.AllowSHA1 {
		list = append(list, web.Option{Value: xmldsig.RSASHA1, Label: algorithmName(xmldsig.RSASHA1)})
	}
	return list
}

func algorithmName(uri string) string {
	switch uri {
	case xmldsig.RSASHA256:
		return "RSA with SHA-256"
	case xmldsig.RSASHA384:
		return "RSA with SHA-384"
	case xmldsig.RSASHA512:
		return "RSA with SHA-512"
	case xmldsig.RSASHA1:
		return "RSA with SHA-1, which is broken"
	}
	return uri
}
