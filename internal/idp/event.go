package idp

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// success is the event of a sign-on: who got in where, by which proofs and groups, and what the application was told.
func (p *IDP) success(r *http.Request, v *visit, st *state, response *saml.Response) audit.Event {
	s := st.session
	groups := []string{}
	for _, g := range st.standing.Via {
		groups = append(groups, g.Name)
	}
	sent := map[string][]string{}
	for _, a := range response.Attributes {
		sent[a.Name] = a.Values
	}
	d := detail(v)
	d["acs"] = response.Destination
	d["name_id"], d["name_id_format"] = response.Subject.Value, response.Subject.Format
	d["attributes"], d["groups"] = sent, groups
	d["factors"], d["authn_context"] = methods(s.Factors), response.Authn.ContextClass
	d["session_index"], d["response_id"] = response.Authn.SessionIndex, response.ID
	d["policy"] = "default"
	return audit.Event{
		Type: audit.SSOAuth, Outcome: audit.Success, Actor: p.actor(r, s),
		Object:        audit.Ref{Kind: audit.KindApplication, ID: string(st.app.ID), Name: st.app.Label},
		ApplicationID: string(st.app.ID), Message: fmt.Sprintf("%s signed on to %s.", s.User.Name(), st.app.Label), Detail: d,
	}
}

// detail is what is worth knowing of a visit, however it ends.
func detail(v *visit) map[string]any {
	d := map[string]any{"idp_initiated": v == nil || v.Decision == nil}
	if v == nil || v.Decision == nil {
		return d
	}
	req := v.Decision.Request
	d["request_id"], d["binding"], d["acs"] = req.ID, v.Binding, v.Decision.Reply.ACS.URL
	d["request_signed"] = v.Decision.Signed
	if req.ForceAuthn {
		d["force_authn"] = true
	}
	if req.IsPassive {
		d["is_passive"] = true
	}
	return d
}

// record writes a refusal's event, and whatever else with it in the same transaction.
func (p *IDP) record(r *http.Request, ref *refusal, also func(*store.Tx) error) error {
	err := p.write(r, ref, also)
	if err == nil {
		p.noteRefusal(r, ref)
	}
	return err
}

// write is record without the inspector. What strangers cause is bounded: anybody can send requests, and nobody may fill
// the database with them.
func (p *IDP) write(r *http.Request, ref *refusal, also func(*store.Tx) error) error {
	if ref.session.ID == "" {
		// Whoever is signed in is named in the event; if that can't be found out, nobody is.
		if s, err := p.authn.Session(r.Context(), p.cookie.Read(r)); err == nil {
			ref.session = s
		}
	}
	stranger := ref.session.ID == "" && !p.strangers.Allow()
	if stranger {
		p.log.InfoContext(r.Context(), "sign-on refused; no event is written, there are too many",
			"reason", ref.reason, "application", string(ref.application.ID), "address", p.address(r))
		// Nor is the message noted as used: what a stranger is answered gives nothing away a second time.
		if also == nil || ref.visit.flow == "" {
			return nil
		}
	}
	d := detail(ref.visit)
	d["error"] = ref.reason
	if ref.event == audit.SLO {
		delete(d, "idp_initiated")
	} else if ref.visit == nil {
		d["idp_initiated"] = ref.idpInitiated
	}
	if ref.cause != nil {
		d["cause"] = clip(ref.cause.Error(), 500)
	}
	if ref.session.ID != "" {
		d["factors"] = methods(ref.session.Factors)
	}
	e := audit.Event{
		Type: cmp.Or(ref.event, audit.SSOAuth), Outcome: ref.outcome, Actor: p.actor(r, ref.session),
		Object:        audit.Ref{Kind: audit.KindApplication, ID: string(ref.application.ID), Name: ref.application.Label},
		ApplicationID: string(ref.application.ID), Message: ref.message(), Detail: d,
	}
	// The person may close the page at once; that it happened is to be known all the same.
	return p.db.Update(context.WithoutCancel(r.Context()), func(tx *store.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		if stranger {
			return nil
		}
		_, err := audit.Record(tx, p.now().UTC(), e)
		return err
	})
}

// message is one sentence for the event.
func (ref *refusal) message() string {
	label := ref.application.Label
	if label == "" {
		label = "an unknown application"
	}
	who := "Somebody"
	if ref.session.ID != "" {
		who = ref.session.User.Name()
	}
	if ref.event == audit.SLO {
		return fmt.Sprintf("A sign-out message of %s was refused: %s", label, ref.Text)
	}
	if ref.outcome == audit.Denied {
		return fmt.Sprintf("%s was refused at %s: %s", who, label, ref.Text)
	}
	return fmt.Sprintf("Sign-on to %s failed: %s", label, ref.Text)
}
