package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// MetadataFile is a service provider's metadata as the body of a request.
type MetadataFile struct {
	EntityID string `query:"entityId" doc:"Which service provider is meant, if the document describes several."`
	RawBody  []byte `contentType:"application/samlmetadata+xml"`
}

// MetadataProposal is what taking a document's values would change.
type MetadataProposal struct {
	Hash    string         `json:"hash" doc:"Names exactly these changes."`
	FoundAt time.Time      `json:"foundAt,omitzero"`
	Changes []audit.Change `json:"changes"`
	Notes   []string       `json:"notes" doc:"What would be left out or should be looked at."`
}

func wireProposal(p app.MetadataProposal) MetadataProposal {
	return MetadataProposal{Hash: p.Hash, FoundAt: p.FoundAt, Changes: orEmpty(p.Changes), Notes: orEmpty(p.Notes)}
}

// MetadataWatch says where a service provider's metadata is watched.
type MetadataWatch struct {
	URL                string `json:"url" required:"true" doc:"An https address."`
	EntityID           string `json:"entityId,omitempty" doc:"Which service provider is meant, if the document describes several."`
	SigningCertificate string `json:"signingCertificate,omitempty" doc:"Whose signature the document must carry (PEM); without one it is taken unsigned."`
}

// MetadataSource is how it stands with a watched address.
type MetadataSource struct {
	MetadataWatch
	CheckedAt  time.Time         `json:"checkedAt,omitzero"`
	ChangedAt  time.Time         `json:"changedAt,omitzero" doc:"When what it says of the service provider last changed."`
	NextAt     time.Time         `json:"nextAt,omitzero"`
	ValidUntil time.Time         `json:"validUntil,omitzero"`
	Error      string            `json:"error,omitempty" doc:"Why the last check failed; what was known before stays in use."`
	Proposal   *MetadataProposal `json:"proposal,omitempty" doc:"A change that waits for approval."`
}

func wireSource(s app.MetadataSource, err error) (*answer[MetadataSource], error) {
	if err != nil {
		return nil, err
	}
	out := MetadataSource{
		MetadataWatch: MetadataWatch{URL: s.URL, EntityID: s.EntityID, SigningCertificate: s.SigningCertificate},
		CheckedAt:     s.CheckedAt, ChangedAt: s.ChangedAt, NextAt: s.NextAt, ValidUntil: s.ValidUntil, Error: s.Error,
	}
	if s.Proposal != nil {
		p := wireProposal(*s.Proposal)
		out.Proposal = &p
	}
	return reply(out), nil
}

// ProposalHash names the proposal that is meant.
type ProposalHash struct {
	Hash string `json:"hash" required:"true" doc:"The proposal's; another one is refused."`
}

// CertificateOptions say what pair is made.
type CertificateOptions struct {
	Bits int `json:"bits,omitempty" enum:"2048,3072,4096" doc:"Size of the RSA key; 2048 when missing."`
	Days int `json:"days,omitempty" minimum:"1" maximum:"3650" doc:"How long the certificate is valid; three years when missing."`
}

func (o *CertificateOptions) options() keys.Options {
	if o == nil {
		return keys.Options{}
	}
	return keys.Options{Bits: o.Bits, Days: o.Days}
}

// ExchangePath names an exchange of an application.
type ExchangePath struct {
	ApplicationPath
	Exchange string `path:"exchange" doc:"The exchange's id."`
}

// SimulationRequest says whose sign-on is simulated.
type SimulationRequest struct {
	UserID       directory.UserID `json:"userId" required:"true"`
	NameIDFormat string           `json:"nameIdFormat,omitempty" doc:"A NameID format that the application is thought to ask for."`
	ACS          string           `json:"acs,omitempty" doc:"A registered assertion consumer service; the default one when missing."`
}

// PastedMessage is a SAML message as an administrator found it.
type PastedMessage struct {
	Message string `json:"message" required:"true" maxLength:"300000" doc:"A URL, a query, the body of a form, base64, or XML."`
}

// Mail is a mail that was queued: what became of it, never what it says.
type Mail struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	To        string     `json:"to"`
	Subject   string     `json:"subject"`
	State     mail.State `json:"state" enum:"waiting,sent,failed"`
	Attempts  int        `json:"attempts"`
	Error     string     `json:"error,omitempty"`
	Cause     string     `json:"cause,omitempty" doc:"Id of the event that it follows from."`
	CreatedAt time.Time  `json:"createdAt"`
	SentAt    time.Time  `json:"sentAt,omitzero"`
}

func wireMail(m mail.Status) Mail {
	return Mail{
		ID: m.ID, Kind: m.Kind, To: m.To, Subject: m.Subject, State: m.State, Attempts: m.Attempts, Error: m.Error, Cause: m.Cause,
		CreatedAt: m.CreatedAt, SentAt: m.SentAt,
	}
}

func (a *API) metadataRoutes(tag string) {
	const path = "/applications/{id}/saml/metadata-source"
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/saml/metadata", id: "import-metadata", tag: tag, summary: "Take the settings from the service provider's metadata",
		size: app.MaxSPMetadata + 2,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		MetadataFile
	},
	) (*answer[MetadataResult], error) {
		m, err := a.Apps.ImportSPMetadata(ctx, by, in.ID, in.RawBody, in.EntityID)
		return a.metadataResult(m, err)
	})
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/saml/metadata/preview", id: "preview-metadata", tag: tag, summary: "Tell what taking the service provider's metadata would change",
		size: app.MaxSPMetadata + 2,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		MetadataFile
	},
	) (*answer[MetadataProposal], error) {
		p, err := a.Apps.PreviewMetadata(ctx, by, in.ID, in.RawBody, in.EntityID)
		if err != nil {
			return nil, err
		}
		return reply(wireProposal(p)), nil
	})
	route(a, operation{
		method: http.MethodPost, path: "/saml/metadata/entities", id: "list-metadata-entities", tag: tag, summary: "List the service providers that a metadata document describes",
		size: app.MaxSPMetadata + 2,
	}, func(_ context.Context, by access.Actor, in *struct {
		RawBody []byte `contentType:"application/samlmetadata+xml"`
	},
	) (*list[string], error) {
		ids, err := a.Apps.SPEntityIDs(by, in.RawBody)
		return all(ids, func(s string) string { return s }, err)
	})
	route(a, operation{method: http.MethodGet, path: path, id: "get-metadata-source", tag: tag, summary: "Read where the service provider's metadata is watched, and what waits for approval"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[MetadataSource], error) {
			s, ok, err := a.Apps.MetadataSource(ctx, by, in.ID)
			if err == nil && !ok {
				err = problem.New(problem.NotFound, "No metadata is watched for this application.")
			}
			return wireSource(s, err)
		})
	route(a, operation{
		method: http.MethodPut, path: path, id: "watch-metadata", tag: tag, summary: "Watch the service provider's metadata at an address",
		text: "It is fetched at once. An application without values of the service provider takes them; for any other the differences are a proposal.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body MetadataWatch
	},
	) (*answer[MetadataSource], error) {
		return wireSource(a.Apps.WatchMetadata(ctx, by, in.ID, app.MetadataWatch{
			URL: in.Body.URL, EntityID: in.Body.EntityID, SigningCertificate: in.Body.SigningCertificate,
		}))
	})
	route(a, operation{method: http.MethodDelete, path: path, id: "unwatch-metadata", tag: tag, summary: "Watch the metadata no more", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*struct{}, error) {
			return nil, a.Apps.UnwatchMetadata(ctx, by, in.ID)
		})
	route(a, operation{method: http.MethodPost, path: path + "/check", id: "check-metadata", tag: tag, summary: "Fetch the watched metadata now"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[MetadataSource], error) {
			return wireSource(a.Apps.CheckMetadataNow(ctx, by, in.ID))
		})
	route(a, operation{
		method: http.MethodPost, path: path + "/approve", id: "approve-metadata", tag: tag, summary: "Take the proposed changes",
		text: "A proposal that is not the present one is refused, as is one whose settings have changed meanwhile.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body ProposalHash
	},
	) (*answer[MetadataResult], error) {
		return a.metadataResult(a.Apps.ApproveMetadata(ctx, by, in.ID, in.Body.Hash))
	})
	route(a, operation{
		method: http.MethodPost, path: path + "/dismiss", id: "dismiss-metadata", tag: tag, summary: "Turn the proposed changes down", status: http.StatusNoContent,
		text: "They aren't proposed again unless the document changes again.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body ProposalHash
	},
	) (*struct{}, error) {
		return nil, a.Apps.DismissMetadata(ctx, by, in.ID, in.Body.Hash)
	})
}

func (a *API) metadataResult(m app.MetadataImport, err error) (*answer[MetadataResult], error) {
	if err != nil {
		return nil, err
	}
	return reply(MetadataResult{Application: a.wireApplication(m.Application), Changes: orEmpty(m.Changes), Notes: orEmpty(m.Notes)}), nil
}

func (a *API) inspectorRoutes(tag string) {
	const path = "/applications/{id}/saml/exchanges"
	route(a, operation{
		method: http.MethodGet, path: path, id: "list-exchanges", tag: tag, summary: "List the last exchanges with the service provider",
		text: "Newest first, without the messages. Only the last ones are kept, and of very many at once not all.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Paging
	},
	) (*list[idp.Exchange], error) {
		p, err := a.SignOn.Exchanges(ctx, by, in.ID, in.Cursor, in.Limit)
		return page(p, func(x idp.Exchange) idp.Exchange { return x }, err)
	})
	one := func(ctx context.Context, by access.Actor, in *ExchangePath) (idp.Exchange, error) {
		x, err := a.SignOn.Exchange(ctx, by, in.Exchange)
		if err == nil && x.ApplicationID != in.ID {
			err = problem.New(problem.NotFound, "There is no such exchange of this application. Only the last ones are kept.")
		}
		return x, err
	}
	route(a, operation{
		method: http.MethodGet, path: path + "/{exchange}", id: "get-exchange", tag: tag, summary: "Read an exchange, with its messages and what each check says",
		text: "Names, attribute values and signatures were redacted before they were kept.",
	}, func(ctx context.Context, by access.Actor, in *ExchangePath) (*answer[idp.Exchange], error) {
		x, err := one(ctx, by, in)
		if err != nil {
			return nil, err
		}
		return reply(x), nil
	})
	route(a, operation{
		method: http.MethodGet, path: path + "/{exchange}/bundle", id: "get-exchange-bundle", tag: tag, summary: "Read an exchange with the settings that it rests on, to give to others",
	}, func(ctx context.Context, by access.Actor, in *ExchangePath) (*answer[json.RawMessage], error) {
		if _, err := one(ctx, by, in); err != nil {
			return nil, err
		}
		b, err := a.SignOn.Bundle(ctx, by, in.Exchange)
		if err != nil {
			return nil, err
		}
		return reply(json.RawMessage(b)), nil
	})
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/saml/simulate", id: "simulate-sign-on", tag: tag, summary: "Work out what the application would be told about a person",
		text: "Nobody is signed in. The response is neither signed nor valid any more: taken anywhere, it lets nobody in.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body SimulationRequest
	},
	) (*answer[idp.Simulation], error) {
		s, err := a.SignOn.Simulate(ctx, by, in.ID, in.Body.UserID, idp.SimulateOptions{NameIDFormat: in.Body.NameIDFormat, ACS: in.Body.ACS})
		if err != nil {
			return nil, err
		}
		return reply(s), nil
	})
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/saml/inspect", id: "inspect-message", tag: tag, summary: "Decode a SAML message and tell what each check says about it",
		text: "Nothing is acted upon.", size: 1 << 20,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body PastedMessage
	},
	) (*answer[idp.Inspection], error) {
		x, err := a.SignOn.Inspect(ctx, by, in.ID, in.Body.Message)
		if err != nil {
			return nil, err
		}
		return reply(x), nil
	})
}

func (a *API) mailRoutes() {
	const tag = "mail"
	route(a, operation{method: http.MethodGet, path: "/mails", id: "list-mails", tag: tag, summary: "List the last mails and what became of them"},
		func(ctx context.Context, by access.Actor, in *Paging) (*list[Mail], error) {
			p, err := a.Mail.List(ctx, by, in.Cursor, in.Limit)
			return page(p, wireMail, err)
		})
	route(a, operation{method: http.MethodPost, path: "/mails/{mail}/retry", id: "retry-mail", tag: tag, summary: "Try a mail again now", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *struct {
			Mail string `path:"mail" doc:"The mail's id."`
		},
		) (*struct{}, error) {
			return nil, a.Mail.Retry(ctx, by, in.Mail)
		})
	route(a, operation{method: http.MethodPost, path: "/mails/test", id: "test-mail", tag: tag, summary: "Send a test mail and wait for the server's answer", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *struct {
			Body struct {
				To string `json:"to" required:"true" doc:"An address."`
			}
		},
		) (*struct{}, error) {
			return nil, a.Mail.Test(ctx, by, in.Body.To)
		})
}
