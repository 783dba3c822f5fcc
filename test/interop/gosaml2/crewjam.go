package main

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/crewjam/saml"
	"github.com/crewjam/saml/samlsp"
	dsig "github.com/russellhaering/goxmldsig"
)

type crewjam struct{}

// asked are the ids of requests that may be answered.
var asked struct {
	sync.Mutex
	ids []string
}

func (crewjam) provider(s *settings) (*saml.ServiceProvider, error) {
	b, err := os.ReadFile(s.IDP.Metadata)
	if err != nil {
		return nil, err
	}
	idp, err := samlsp.ParseMetadata(b)
	if err != nil {
		return nil, err
	}
	at := func(path string) url.URL {
		u, err := url.Parse(s.Base + path)
		if err != nil {
			panic(err) // the file is ours
		}
		return *u
	}
	sp := &saml.ServiceProvider{
		EntityID: s.EntityID, Key: s.key, Certificate: s.certificate, MetadataURL: at("/metadata"), AcsURL: at("/acs"), SloURL: at("/slo"),
		IDPMetadata: idp, AuthnNameIDFormat: saml.NameIDFormat(s.Format), AllowIDPInitiated: true,
		LogoutBindings: []string{saml.HTTPRedirectBinding, saml.HTTPPostBinding}, LogoutSignatureMethod: dsig.RSASHA256SignatureMethod,
	}
	if s.Sign {
		sp.SignatureMethod = dsig.RSASHA256SignatureMethod
	}
	if s.Force {
		sp.ForceAuthn = &s.Force
	}
	return sp, nil
}

func (l crewjam) metadata(s *settings) ([]byte, error) {
	sp, err := l.provider(s)
	if err != nil {
		return nil, err
	}
	return xml.MarshalIndent(sp.Metadata(), "", "  ")
}

func (l crewjam) login(s *settings) (onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return onward{}, err
	}
	binding := saml.HTTPRedirectBinding
	if s.Binding == "post" {
		binding = saml.HTTPPostBinding
	}
	req, err := sp.MakeAuthenticationRequest(sp.GetSSOBindingLocation(binding), binding, saml.HTTPPostBinding)
	if err != nil {
		return onward{}, err
	}
	if s.Passive {
		req.IsPassive = &s.Passive
	}
	asked.Lock()
	asked.ids = append(asked.ids, req.ID)
	asked.Unlock()
	if s.Binding == "post" {
		return onward{page: req.Post("/session")}, nil
	}
	u, err := req.Redirect("/session", sp)
	if err != nil {
		return onward{}, err
	}
	return onward{url: u.String()}, nil
}

// reason unwraps what the library keeps from people.
func reason(err error) error {
	var e *saml.InvalidResponseError
	if errors.As(err, &e) {
		return e.PrivateErr
	}
	return err
}

func (l crewjam) response(s *settings, r *http.Request) (*person, error) {
	sp, err := l.provider(s)
	if err != nil {
		return nil, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	asked.Lock()
	ids := append([]string(nil), asked.ids...)
	asked.Unlock()
	a, err := sp.ParseResponse(r, ids)
	if err != nil {
		return nil, reason(err)
	}
	if a.Subject == nil || a.Subject.NameID == nil {
		return nil, errors.New("no NameID")
	}
	p := &person{NameID: a.Subject.NameID.Value, Format: a.Subject.NameID.Format, Attributes: map[string][]string{}}
	for _, x := range a.AuthnStatements {
		p.index = x.SessionIndex
	}
	for _, statement := range a.AttributeStatements {
		for _, at := range statement.Attributes {
			for _, v := range at.Values {
				p.Attributes[at.Name] = append(p.Attributes[at.Name], v.Value)
			}
		}
	}
	return p, nil
}

func (l crewjam) logout(s *settings, p *person) (onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return onward{}, err
	}
	u, err := sp.MakeRedirectLogoutRequest(p.NameID, "", saml.WithSessionIndex(p.index))
	if err != nil {
		return onward{}, err
	}
	return onward{url: u.String()}, nil
}

func (l crewjam) logoutMessage(s *settings, r *http.Request) (string, onward, error) {
	sp, err := l.provider(s)
	if err != nil {
		return "", onward{}, err
	}
	if r.FormValue("SAMLResponse") != "" {
		return "", onward{}, reason(sp.ValidateLogoutResponseRequest(r))
	}
	req, err := sp.ValidateLogoutRequest(r)
	if err != nil {
		return "", onward{}, reason(err)
	}
	if req.NameID == nil {
		return "", onward{}, errors.New("no NameID")
	}
	u, err := sp.MakeRedirectLogoutResponse(req.ID, r.FormValue("RelayState"))
	if err != nil {
		return "", onward{}, err
	}
	return req.NameID.Value, onward{url: u.String()}, nil
}
