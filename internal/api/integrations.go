package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/keys"
)

// Certificate is a signing certificate of an application.
type Certificate struct {
	Status      keys.Status `json:"status" enum:"next,current,previous"`
	PEM         string      `json:"pem"`
	Fingerprint string      `json:"fingerprint" doc:"SHA-256."`
	NotBefore   time.Time   `json:"notBefore"`
	NotAfter    time.Time   `json:"notAfter"`
	DaysLeft    int         `json:"daysLeft" doc:"Negative once it has ended."`
	CreatedAt   time.Time   `json:"createdAt"`
}

func (a *API) wireCertificate(p keys.Pair) Certificate {
	return Certificate{
		Status: p.Status, PEM: p.PEM, Fingerprint: p.Fingerprint(), NotBefore: p.NotBefore, NotAfter: p.NotAfter,
		DaysLeft: p.DaysLeft(a.Now()), CreatedAt: p.CreatedAt,
	}
}

// OwnCertificate is a pair of the organization's own.
type OwnCertificate struct {
	Certificate string `json:"certificate" required:"true" doc:"PEM."`
	PrivateKey  string `json:"privateKey" required:"true" writeOnly:"true" doc:"PEM. It is sealed and never shown."`
}

// MetadataResult tells what came out of a service provider's metadata.
type MetadataResult struct {
	Application Application    `json:"application"`
	Changes     []audit.Change `json:"changes"`
	Notes       []string       `json:"notes" doc:"What was left out or should be looked at."`
}

// TokenChange sets the token of provisioning.
type TokenChange struct {
	Token     string    `json:"token" required:"true" writeOnly:"true" doc:"It is sealed and never shown."`
	ExpiresAt time.Time `json:"expiresAt,omitzero" doc:"When it ends, as far as known: it is watched."`
}

// unchangedSince refuses to change settings when they aren't what they were at the version that
// the caller read: before. They are compared as JSON, where an empty list is like none.
func unchangedSince(before, now any) error {
	a, err := json.Marshal(before)
	if err != nil {
		return err
	}
	b, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return errStale
	}
	return nil
}

func (a *API) samlRoutes() {
	const tag = "sign-on"
	route(a, operation{method: http.MethodGet, path: "/applications/{id}/saml", id: "get-saml", tag: tag, summary: "Read the sign-on settings"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[SAML], error) {
			x, err := a.Apps.Get(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			return &answer[SAML]{ETag: etag(x.Version), Body: wireSAML(x.SAML)}, nil
		})
	route(a, operation{
		method: http.MethodPatch, path: "/applications/{id}/saml", id: "update-saml", tag: tag, summary: "Change the sign-on settings",
		text: "Values of the service provider may stay empty until it shows them.", body: patchBody[app.SAMLSettings](a),
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Precondition
		MergePatch
	},
	) (*answer[Application], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		var before *app.SAMLSettings
		if v != 0 {
			x, err := a.Apps.Get(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			if x.Version != v {
				return nil, errStale
			}
			before = &x.SAML.SAMLSettings
		}
		return a.answerApplication(a.Apps.SaveSAML(ctx, by, in.ID, func(s *app.SAMLSettings) error {
			if before != nil {
				if err := unchangedSince(wireSAML(app.SAML{SAMLSettings: *before}), wireSAML(app.SAML{SAMLSettings: *s})); err != nil {
					return err
				}
			}
			return in.apply(s)
		}))
	})
	route(a, operation{method: http.MethodPost, path: "/applications/{id}/saml/activate", id: "activate-saml", tag: tag, summary: "Activate sign-on"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Application], error) {
			return a.answerApplication(a.Apps.ActivateSAML(ctx, by, in.ID))
		})
	route(a, operation{method: http.MethodPost, path: "/applications/{id}/saml/deactivate", id: "deactivate-saml", tag: tag, summary: "Deactivate sign-on"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Application], error) {
			return a.answerApplication(a.Apps.DeactivateSAML(ctx, by, in.ID))
		})
	a.metadataRoutes(tag)
	a.inspectorRoutes(tag)
	a.certificateRoutes(tag)
}

func (a *API) certificateRoutes(tag string) {
	one := func(p keys.Pair, err error) (*answer[Certificate], error) {
		if err != nil {
			return nil, err
		}
		return reply(a.wireCertificate(p)), nil
	}
	route(a, operation{method: http.MethodGet, path: "/applications/{id}/certificates", id: "list-certificates", tag: tag, summary: "List the signing certificates"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*list[Certificate], error) {
			pairs, err := a.Apps.Certificates(ctx, by, in.ID)
			return all(pairs, a.wireCertificate, err)
		})
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/certificates", id: "prepare-certificate", tag: tag, summary: "Prepare the next certificate", status: http.StatusCreated,
		text: "It is published beside the current one, which goes on signing.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body *CertificateOptions
	},
	) (*answer[Certificate], error) {
		return one(a.Apps.PrepareCertificate(ctx, by, in.ID, in.Body.options()))
	})
	route(a, operation{method: http.MethodPut, path: "/applications/{id}/certificates/next", id: "upload-certificate", tag: tag, summary: "Upload an own pair as the next certificate"},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Body OwnCertificate
		},
		) (*answer[Certificate], error) {
			return one(a.Apps.UploadCertificate(ctx, by, in.ID, app.CertificateUpload{Certificate: in.Body.Certificate, PrivateKey: keys.Secret(in.Body.PrivateKey)}))
		})
	route(a, operation{method: http.MethodPost, path: "/applications/{id}/certificates/switch", id: "switch-certificate", tag: tag, summary: "Sign with the next certificate from now on"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Certificate], error) {
			return one(a.Apps.SwitchCertificate(ctx, by, in.ID))
		})
	route(a, operation{method: http.MethodPost, path: "/applications/{id}/certificates/back", id: "switch-certificate-back", tag: tag, summary: "Sign with the previous certificate again"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Certificate], error) {
			return one(a.Apps.BackCertificate(ctx, by, in.ID))
		})
	route(a, operation{
		method: http.MethodDelete, path: "/applications/{id}/certificates/{status}", id: "remove-certificate", tag: tag, summary: "Remove the next or previous certificate", status: http.StatusNoContent,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Status keys.Status `path:"status" enum:"next,previous"`
	},
	) (*struct{}, error) {
		return nil, a.Apps.RemoveCertificate(ctx, by, in.ID, in.Status)
	})
}

func (a *API) scimRoutes() {
	const tag = "provisioning"
	route(a, operation{method: http.MethodGet, path: "/applications/{id}/scim", id: "get-scim", tag: tag, summary: "Read the provisioning settings"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[SCIM], error) {
			x, err := a.Apps.Get(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			return &answer[SCIM]{ETag: etag(x.Version), Body: wireSCIM(x.SCIM)}, nil
		})
	route(a, operation{
		method: http.MethodPatch, path: "/applications/{id}/scim", id: "update-scim", tag: tag, summary: "Change the provisioning settings",
		text: "The token has an operation of its own.", body: patchBody[app.SCIMSettings](a),
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Precondition
		Approval
		MergePatch
	},
	) (*answer[Application], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		var before *app.SCIMSettings
		if v != 0 {
			x, err := a.Apps.Get(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			if x.Version != v {
				return nil, errStale
			}
			before = &x.SCIM.SCIMSettings
		}
		x, _, err := a.Engine.Apply(ctx, by, in.ID, app.SCIMChange{Settings: func(s *app.SCIMSettings) error {
			if before != nil {
				if err := unchangedSince(*before, *s); err != nil {
					return err
				}
			}
			return in.apply(s)
		}}, in.PlanHash)
		return a.answerApplication(x, err)
	})
	route(a, operation{
		method: http.MethodPut, path: "/applications/{id}/scim/token", id: "set-scim-token", tag: tag, summary: "Set or replace the token",
		text: "Once provisioning is on, the new token is tried first by reading; one that the target refuses changes nothing. Provisioning that was paused or stopped goes on.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body TokenChange
	},
	) (*answer[Application], error) {
		if err := access.Allow(by, access.ManageApplications); err != nil {
			return nil, err
		}
		x, err := a.Apps.Get(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		token := keys.Secret(in.Body.Token)
		switch x.SCIM.Status {
		case app.Active, app.Paused, app.Stopped:
			if _, err := a.Engine.ReplaceToken(ctx, by, in.ID, token, in.Body.ExpiresAt); err != nil {
				return nil, err
			}
			return a.answerApplication(a.Apps.Get(ctx, by, in.ID))
		}
		doubts := a.Apps.TokenWarnings(x, token)
		out, err := a.answerApplication(a.Apps.SetSCIMToken(ctx, by, in.ID, token, in.Body.ExpiresAt))
		if err == nil {
			out.Body.Warnings = append(out.Body.Warnings, doubts...)
		}
		return out, err
	})
}
