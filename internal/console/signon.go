package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// signOnPage is the sign-on tab.
type signOnPage struct {
	appFrame
	Banner web.Banner
	// Ours, Theirs, Metadata and Signing are its forms.
	Ours, Theirs, Metadata, Signing web.Form
	// ACS are the rows of the form Theirs.
	ACS int
	// Certificates of the service provider in the form Signing.
	SPCertificates int
	// Warnings are doubts about values, by field, e.g. "acs[0].url".
	Warnings map[string][]string
	Guide    templ.Component
}

// emptyACS is how many empty rows follow the entered ones.
const emptyACS = 1

func (c *Console) signOnFrame(w http.ResponseWriter, r *request) (signOnPage, error) {
	f, err := c.application(w, r, tabSignOn)
	if err != nil {
		return signOnPage{}, err
	}
	if f.Con.SAML == nil {
		return signOnPage{}, problem.New(problem.NotFound, "%s has no sign-on by SAML.", f.App.Label)
	}
	f.Actions = nil
	p := signOnPage{appFrame: f, Warnings: map[string][]string{}}
	for _, x := range c.Apps.Warnings(f.App) {
		if name, ok := strings.CutPrefix(x.Field, "saml."); ok {
			p.Warnings[name] = append(p.Warnings[name], x.Text)
		}
	}
	open := "sign-on-there"
	if f.App.SAML.Status == app.Active {
		open = "enforce"
	}
	p.Guide = f.guide(catalog.PartSignOn, open)
	if g, ok := p.Guide.(web.Guide); ok && !slices.ContainsFunc(g.Sections, func(s web.GuideSection) bool { return s.ID == open }) {
		g.Open = ""
		p.Guide = g
	}
	p.Banner = f.signOnBanner(nil)
	p.Banner.Action = p.switchAction()
	p.fill(f.App.SAML.SAMLSettings)
	return p, nil
}

// switchAction turns sign-on on or off, and tries it out.
func (p *signOnPage) switchAction() templ.Component {
	var list []templ.Component
	if p.App.SAML.Status == app.Active {
		list = append(list, web.Button{Label: "Test sign-on", Icon: "log-in", Small: true, Href: p.launchURL(), NewTab: true})
	}
	switch {
	case !p.May:
	case p.App.SAML.Status == app.Active:
		if p.App.Groups == 0 {
			list = append(list, web.Button{Label: "Bind groups", Small: true, Href: p.path("groups")})
		}
		list = append(list, web.Button{Label: "Deactivate…", Icon: "power", Small: true, Href: p.path("sign-on", "deactivate")})
	case len(p.App.SAML.Missing) == 0:
		list = append(list, web.PostButton{Button: web.Button{Label: "Activate sign-on", Icon: "power", Variant: web.Primary}, Action: p.path("sign-on", "activate")})
	}
	if len(list) == 0 {
		return nil
	}
	return web.Group(list...)
}

// fill sets the forms from settings.
func (p *signOnPage) fill(s app.SAMLSettings) {
	p.Ours = web.NewForm(map[string]string{"idpEntityId": s.IDPEntityID}).Named("ours")
	p.Theirs, p.ACS = theirForm(s)
	p.Metadata = web.Form{}.Named("metadata")
	v := map[string]string{
		"sign": signValue(s), "signatureAlgorithm": s.SignatureAlgorithm, "requireSignedRequests": boolValue(s.RequireSignedRequests), "sloUrl": s.SLOURL,
	}
	for i, pem := range s.SPCertificates {
		v[certField(i)] = pem
	}
	p.SPCertificates = len(s.SPCertificates) + 1
	p.Signing = web.NewForm(v).Named("signing")
}

func theirForm(s app.SAMLSettings) (web.Form, int) {
	v := map[string]string{"spEntityId": s.SPEntityID, "defaultRelayState": s.DefaultRelayState}
	for i, acs := range s.ACS {
		v[acsField(i, "url")], v[acsField(i, "index")] = acs.URL, strconv.Itoa(acs.Index)
		if acs.Default {
			v["acsDefault"] = strconv.Itoa(i)
		}
	}
	return web.NewForm(v).Named("theirs"), len(s.ACS) + emptyACS
}

func acsField(i int, part string) string { return fmt.Sprintf("acs[%d].%s", i, part) }

func certField(i int) string { return fmt.Sprintf("spCertificates[%d]", i) }

func signValue(s app.SAMLSettings) string {
	switch {
	case s.SignAssertion && s.SignResponse:
		return "both"
	case s.SignResponse:
		return "response"
	}
	return "assertion"
}

func (c *Console) signOn(w http.ResponseWriter, r *request) error {
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, signOnView(p))
}

// saveSignOn changes settings; when they can't be saved, failed puts the reason into a form.
func (c *Console) saveSignOn(w http.ResponseWriter, r *request, message string, change func(*app.SAMLSettings) error, failed func(*signOnPage, error) bool) error {
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	a, err := c.Apps.SaveSAML(r.Context(), r.By, p.App.ID, change)
	if err != nil {
		if !failed(&p, err) {
			return err
		}
		return web.Render(w, r.Request, web.Status(err), signOnView(p))
	}
	if len(a.SAML.Missing) == 0 && a.SAML.Status != app.Active {
		message += " Nothing is missing: sign-on can be activated."
	}
	return done(w, r, p.path("sign-on"), message)
}

func (c *Console) saveOurValues(w http.ResponseWriter, r *request) error {
	id := r.PostForm.Get("idpEntityId")
	return c.saveSignOn(w, r, "The entity ID is saved.", func(s *app.SAMLSettings) error {
		s.IDPEntityID = id
		return nil
	}, func(p *signOnPage, err error) (ok bool) {
		p.Ours, ok = web.PostedForm(r.Request).Named("ours").Fail(err)
		return ok
	})
}

const maxPostedACS = 200

// postedACS reads the rows of assertion consumer services; empty ones are left out.
func postedACS(r *request) ([]app.ACS, error) {
	var list []app.ACS
	var bad problem.Fields
	chosen := r.PostForm.Get("acsDefault")
	used := map[int]bool{}
	var open []int // rows without an index
	for i := range maxPostedACS {
		url := strings.TrimSpace(r.PostForm.Get(acsField(i, "url")))
		if url == "" {
			continue
		}
		acs := app.ACS{URL: url, Default: chosen == strconv.Itoa(i)}
		if text := strings.TrimSpace(r.PostForm.Get(acsField(i, "index"))); text == "" {
			open = append(open, len(list))
		} else if n, err := strconv.Atoi(text); err != nil {
			bad.Add(acsField(len(list), "index"), "An index is a number from 0 to 65535.")
		} else {
			acs.Index, used[n] = n, true
		}
		list = append(list, acs)
	}
	for _, i := range open {
		n := 0
		for used[n] {
			n++
		}
		list[i].Index, used[n] = n, true
	}
	return list, bad.Err()
}

func (c *Console) saveTheirValues(w http.ResponseWriter, r *request) error {
	acs, acsErr := postedACS(r)
	set := func(s *app.SAMLSettings) {
		s.SPEntityID, s.ACS, s.DefaultRelayState = r.PostForm.Get("spEntityId"), acs, r.PostForm.Get("defaultRelayState")
	}
	return c.saveSignOn(w, r, "The values of the other side are saved.", func(s *app.SAMLSettings) error {
		if acsErr != nil {
			return acsErr
		}
		set(s)
		return nil
	}, func(p *signOnPage, err error) (ok bool) {
		var posted app.SAMLSettings
		set(&posted)
		p.Theirs, p.ACS = theirForm(posted)
		p.Theirs, ok = p.Theirs.Fail(err)
		return ok
	})
}

func (c *Console) importMetadata(w http.ResponseWriter, r *request) error {
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return err
	}
	xml, err := postedFile(r, "metadata", app.MaxSPMetadata)
	if err == nil && len(xml) == 0 {
		err = problem.InvalidField("metadata", "Choose the metadata file of %s.", p.product())
	}
	var got app.MetadataImport
	if err == nil {
		got, err = c.Apps.ImportSPMetadata(r.Context(), r.By, p.App.ID, xml, "")
	}
	if err != nil {
		form, ok := web.PostedForm(r.Request).Named("metadata").Fail(err)
		if !ok {
			return err
		}
		p.Metadata = form
		return web.Render(w, r.Request, web.Status(err), signOnView(p))
	}
	message := "The metadata says nothing new."
	if len(got.Changes) > 0 {
		var names []string
		for _, x := range got.Changes {
			names = append(names, samlWord(x.Attribute))
		}
		message = "Taken from the metadata: " + sentenceList(names) + "."
	}
	level := web.OK
	for _, n := range got.Notes {
		message, level = message+" "+n, web.Info
	}
	return redirect(w, r, p.path("sign-on"), level, message)
}

// samlWord names a setting of sign-on.
func samlWord(attribute string) string {
	switch attribute {
	case "spEntityId":
		return "SP entity ID"
	case "acs":
		return "ACS URLs"
	case "spCertificates":
		return "SP certificates"
	case "sloUrl":
		return "single logout URL"
	}
	return attribute
}

func (c *Console) saveSigning(w http.ResponseWriter, r *request) error {
	var certs []string
	for i := range maxPostedACS {
		if s := strings.TrimSpace(r.PostForm.Get(certField(i))); s != "" {
			certs = append(certs, s)
		}
	}
	set := func(s *app.SAMLSettings) {
		sign := r.PostForm.Get("sign")
		s.SignAssertion, s.SignResponse = sign == "assertion" || sign == "both", sign == "response" || sign == "both"
		s.SignatureAlgorithm, s.RequireSignedRequests = r.PostForm.Get("signatureAlgorithm"), checked(r, "requireSignedRequests")
		s.SPCertificates, s.SLOURL = certs, r.PostForm.Get("sloUrl")
	}
	return c.saveSignOn(w, r, "What is signed, and how, is saved.", func(s *app.SAMLSettings) error {
		set(s)
		return nil
	}, func(p *signOnPage, err error) bool {
		posted := p.App.SAML.SAMLSettings
		set(&posted)
		kept := *p
		kept.fill(posted)
		form, ok := kept.Signing.Fail(inputNamed(err, "signAssertion", "sign"))
		p.Signing, p.SPCertificates = form, kept.SPCertificates
		return ok
	})
}

// inputNamed gives a field's error to the input that stands for it.
func inputNamed(err error, field, input string) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return err
	}
	out := *p
	out.Fields = slices.Clone(p.Fields)
	for i := range out.Fields {
		if out.Fields[i].Name == field {
			out.Fields[i].Name = input
		}
	}
	return &out
}

func (c *Console) activateSignOn(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	a, err := c.Apps.ActivateSAML(r.Context(), r.By, id)
	if problem.Is(err, problem.Invalid) {
		return redirect(w, r, appPath(id, "sign-on"), web.Warn, problem.Public(err))
	}
	if err != nil {
		return err
	}
	message := "Sign-on is active."
	if a.Groups == 0 {
		message += " Now bind the groups whose members may use it."
		return done(w, r, appPath(id, "groups"), message)
	}
	return done(w, r, appPath(id, "sign-on"), message+" Try it in a private window.")
}

func (c *Console) deactivateSignOnFrame(w http.ResponseWriter, r *request) (confirmPage, appFrame, error) {
	if err := mayManage(r); err != nil {
		return confirmPage{}, appFrame{}, err
	}
	s, err := c.signOnFrame(w, r)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	n, err := c.entitledPeople(r, s.App.ID)
	if err != nil {
		return confirmPage{}, appFrame{}, err
	}
	f := s.inner("Deactivate sign-on?", "Sign-on", "sign-on")
	p := confirmPage{Page: f.Page, Confirm: web.ConfirmForm{Action: f.path("sign-on", "deactivate"), Submit: "Deactivate sign-on", Cancel: f.path("sign-on")}}
	p.Confirm.Consequences = []string{
		fmt.Sprintf("%s can't sign in to %s from here any more, at once. Who is signed in there stays so until that session ends.", atMost(n), f.App.Label),
		fmt.Sprintf("If %s enforces single sign-on, turn that off there first: people are locked out otherwise.", f.product()),
		"All settings and certificates are kept, so that it can be activated again.",
	}
	p.Aside = f.guide(catalog.PartRemoval, "")
	return p, f, nil
}

func (c *Console) confirmDeactivateSignOn(w http.ResponseWriter, r *request) error {
	p, _, err := c.deactivateSignOnFrame(w, r)
	if err != nil {
		return err
	}
	return c.renderConfirm(w, r, http.StatusOK, p)
}

func (c *Console) deactivateSignOn(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if _, err := c.Apps.DeactivateSAML(r.Context(), r.By, id); err != nil {
		return err
	}
	return done(w, r, appPath(id, "sign-on"), "Sign-on is off. Nobody gets in from here.")
}

// instantSwap tells whether the product holds one certificate, so that both sides change in the
// same minute.
func (f appFrame) instantSwap() bool { return f.Con.SAML != nil && f.Con.SAML.Certificates.Slots == 1 }

func (c *Console) downloadCertificate(w http.ResponseWriter, r *request) error {
	status, ok := strings.CutSuffix(r.PathValue("status"), ".pem")
	pairs, err := c.Apps.Certificates(r.Context(), r.By, app.ID(r.PathValue("id")))
	if err != nil {
		return err
	}
	pair, found := pairOf(pairs, keys.Status(status))
	if !ok || !found {
		return problem.New(problem.NotFound, "There is no such certificate. It may have been switched or removed.")
	}
	name := "certificate.pem"
	if pair.Status != keys.Current {
		name = "certificate-" + string(pair.Status) + ".pem"
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-pem-file")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(pair.PEM)) // the reader may have gone
	return nil
}

func (c *Console) prepareCertificate(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if _, err := c.Apps.PrepareCertificate(r.Context(), r.By, id, keys.Options{}); err != nil {
		return err
	}
	return done(w, r, appPath(id, "certificate", "swap"), "The next certificate is prepared. Nothing has changed yet.")
}

// certificateUploadPage takes an administrator's own key pair.
type certificateUploadPage struct {
	appFrame
	Form web.Form
}

func (c *Console) certificateFrame(w http.ResponseWriter, r *request, title string) (appFrame, error) {
	if err := mayManage(r); err != nil {
		return appFrame{}, err
	}
	p, err := c.signOnFrame(w, r)
	if err != nil {
		return appFrame{}, err
	}
	return p.inner(title, "Sign-on", "sign-on"), nil
}

func (c *Console) uploadCertificatePage(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, "Use an own key pair")
	if err != nil {
		return err
	}
	f.Narrow = true
	return web.Render(w, r.Request, http.StatusOK, certificateUploadView(certificateUploadPage{appFrame: f}))
}

const maxPEMFile = 64 << 10

func (c *Console) uploadCertificate(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, "Use an own key pair")
	if err != nil {
		return err
	}
	cert, key := r.PostForm.Get("certificate"), r.PostForm.Get("privateKey")
	for name, to := range map[string]*string{"certificateFile": &cert, "privateKeyFile": &key} {
		b, err := postedFile(r, name, maxPEMFile)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			*to = string(b)
		}
	}
	_, err = c.Apps.UploadCertificate(r.Context(), r.By, f.App.ID, app.CertificateUpload{Certificate: cert, PrivateKey: keys.Secret(key)})
	if err != nil {
		// The private key isn't sent back: it has to be pasted again.
		form, ok := web.NewForm(map[string]string{"certificate": cert}).Fail(err)
		if !ok {
			return err
		}
		f.Narrow = true
		return web.Render(w, r.Request, web.Status(err), certificateUploadView(certificateUploadPage{appFrame: f, Form: form}))
	}
	return done(w, r, f.path("certificate", "swap"), "Your pair is stored as the next certificate. Nothing has changed yet.")
}

// certificateSwapPage walks through the change to the next certificate.
type certificateSwapPage struct {
	appFrame
	Next, Previous       keys.Pair
	HasNext, HasPrevious bool
	Guide                templ.Component
}

func (c *Console) swapCertificatePage(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, "Renew the certificate")
	if err != nil {
		return err
	}
	p := certificateSwapPage{appFrame: f, Guide: f.guide(catalog.PartSignOn, "renew-certificate")}
	p.Next, p.HasNext = f.pair(keys.Next)
	p.Previous, p.HasPrevious = f.pair(keys.Previous)
	if g, ok := p.Guide.(web.Guide); ok {
		// Only what belongs here.
		g.Sections = slices.DeleteFunc(slices.Clone(g.Sections), func(s web.GuideSection) bool { return s.ID != "renew-certificate" && s.ID != "when-sign-on-fails" })
		p.Guide = g
		if len(g.Sections) == 0 {
			p.Guide = nil
		}
	}
	return web.Render(w, r.Request, http.StatusOK, certificateSwapView(p))
}

func (c *Console) switchCertificate(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	pair, err := c.Apps.SwitchCertificate(r.Context(), r.By, id)
	if err != nil {
		return c.certificateRefused(w, r, id, err)
	}
	return done(w, r, appPath(id, "certificate", "swap"), "Answers are signed with the new certificate from now on; it is good until "+day(pair.NotAfter)+". Sign in once in a private window.")
}

func (c *Console) backCertificate(w http.ResponseWriter, r *request) error {
	id := app.ID(r.PathValue("id"))
	if _, err := c.Apps.BackCertificate(r.Context(), r.By, id); err != nil {
		return c.certificateRefused(w, r, id, err)
	}
	return done(w, r, appPath(id, "certificate", "swap"), "Answers are signed with the previous certificate again. The other side needs it too.")
}

func (c *Console) removeCertificate(w http.ResponseWriter, r *request) error {
	id, status := app.ID(r.PathValue("id")), keys.Status(r.PostForm.Get("status"))
	if status != keys.Next && status != keys.Previous {
		return problem.New(problem.Invalid, "Only the next or the previous certificate can be removed.")
	}
	if err := c.Apps.RemoveCertificate(r.Context(), r.By, id, status); err != nil {
		return c.certificateRefused(w, r, id, err)
	}
	return done(w, r, appPath(id, "sign-on")+"#certificates", "The "+string(status)+" certificate is removed.")
}

// certificateRefused goes back to the sign-on page when somebody else was quicker.
func (c *Console) certificateRefused(w http.ResponseWriter, r *request, id app.ID, err error) error {
	switch problem.KindOf(err) {
	case problem.Conflict, problem.NotFound, problem.Invalid:
		if _, gone := c.Apps.Get(r.Context(), r.By, id); gone != nil {
			return gone
		}
		return redirect(w, r, appPath(id, "sign-on"), web.Warn, problem.Public(err))
	}
	return err
}
