package console

import (
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

// instantSwap tells whether the product is known to hold one certificate, so that both sides change in the same minute.
func (f appFrame) instantSwap() bool {
	return f.Con.SAML != nil && f.Con.SAML.Certificates.Slots == 1 && !f.Con.Generic
}

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

// prepareForm is the choice of what pair to make.
func prepareForm() web.Form {
	return web.NewForm(map[string]string{"bits": "2048", "days": "1095"}).Named("prepare")
}

func keySizes() []web.Option {
	return []web.Option{
		{Value: "2048", Label: "RSA with 2048 bits", Help: "What every application takes. Sound until 2030 at least."},
		{Value: "3072", Label: "RSA with 3072 bits", Help: "For rules that demand it. A signature takes about three times as long."},
		{Value: "4096", Label: "RSA with 4096 bits", Help: "A signature takes about seven times as long."},
	}
}

func validities() []web.Option {
	return []web.Option{
		{Value: "365", Label: "A year"}, {Value: "730", Label: "2 years"}, {Value: "1095", Label: "3 years"},
		{Value: "1825", Label: "5 years"}, {Value: "3650", Label: "10 years"},
	}
}

func (c *Console) prepareCertificate(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, swapTitle)
	if err != nil {
		return err
	}
	var o keys.Options
	var bad problem.Fields
	for name, to := range map[string]*int{"bits": &o.Bits, "days": &o.Days} {
		text := strings.TrimSpace(r.PostForm.Get(name))
		if text == "" {
			continue // the default
		}
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			bad.Add(name, "Choose one of the list.")
		}
		*to = n
	}
	if err = bad.Err(); err == nil {
		_, err = c.Apps.PrepareCertificate(r.Context(), r.By, f.App.ID, o)
	}
	if err != nil {
		form, ok := web.PostedForm(r.Request).Named("prepare").Fail(err)
		if !ok {
			return err
		}
		p := swapPage(f, r)
		p.Prepare = form
		return web.Render(w, r.Request, web.Status(err), certificateSwapView(p))
	}
	return done(w, r, swapPath(f, r), "The next certificate is prepared. Answers are signed with the present one as before.")
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
	// Instant tells that the other side holds one certificate, so that both sides change in the same minute. Choose
	// tells that the administrator has to say whether it is so.
	Instant, Choose bool
	// Prepare makes the next pair, Switch takes it into use.
	Prepare, Switch web.Form
	Guide           templ.Component
}

const swapTitle = "Renew the certificate"

// The two ways to renew, as parameter "way".
const (
	wayInstant = "instant"
	wayStaged  = "staged"
)

func swapPath(f appFrame, r *request) string {
	return withQuery(f.path("certificate", "swap"), "way", r.FormValue("way"))
}

func swapPage(f appFrame, r *request) certificateSwapPage {
	p := certificateSwapPage{appFrame: f, Guide: f.guide(catalog.PartSignOn, "renew-certificate"), Prepare: prepareForm(), Switch: web.Form{}.Named("switch")}
	p.Next, p.HasNext = f.pair(keys.Next)
	p.Previous, p.HasPrevious = f.pair(keys.Previous)
	p.Instant, p.Choose = f.instantSwap(), f.Con.Generic
	switch r.FormValue("way") {
	case wayInstant:
		p.Instant = true
	case wayStaged:
		p.Instant = false
	}
	if g, ok := p.Guide.(web.Guide); ok {
		// Only what belongs here.
		g.Sections = slices.DeleteFunc(slices.Clone(g.Sections), func(s web.GuideSection) bool { return s.ID != "renew-certificate" && s.ID != "when-sign-on-fails" })
		p.Guide = g
		if len(g.Sections) == 0 {
			p.Guide = nil
		}
	}
	return p
}

func (c *Console) swapCertificatePage(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, swapTitle)
	if err != nil {
		return err
	}
	return web.Render(w, r.Request, http.StatusOK, certificateSwapView(swapPage(f, r)))
}

func (c *Console) switchCertificate(w http.ResponseWriter, r *request) error {
	f, err := c.certificateFrame(w, r, swapTitle)
	if err != nil {
		return err
	}
	if _, ok := f.pair(keys.Next); ok && !checked(r, "ready") {
		p := swapPage(f, r)
		p.Switch, _ = p.Switch.Fail(problem.InvalidField("ready", "Tick it when it is done there. Switched too early, nobody gets into %s.", f.App.Label))
		return web.Render(w, r.Request, http.StatusUnprocessableEntity, certificateSwapView(p))
	}
	pair, err := c.Apps.SwitchCertificate(r.Context(), r.By, f.App.ID)
	if err != nil {
		return c.certificateRefused(w, r, f.App.ID, err)
	}
	return done(w, r, swapPath(f, r), "Answers are signed with the new certificate from now on; it is good until "+day(pair.NotAfter)+". Sign in once in a private window.")
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
