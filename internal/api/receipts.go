package api

import (
	"context"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/provision"
)

// Health is how it stands with one application's provisioning, and whether it lives.
type Health struct {
	ApplicationID app.ID `json:"applicationId"`
	Label         string `json:"label"`
	provision.Status
}

// ReceiptNote is a person's word about an account.
type ReceiptNote struct {
	Note string `json:"note" minLength:"1" maxLength:"500" doc:"What was seen or done there."`
}

// receiptRoutes are the proofs that people who left have no access, the signs of life, and when somebody is called.
func (a *API) receiptRoutes() {
	const tag = "receipts"
	route(a, operation{
		method: http.MethodGet, path: "/users/{id}/receipt", id: "get-receipt", tag: tag, summary: "Read the proof that a person has no access any more",
		text: "For each application that the person left: when access ended, which request switched the account off, and what was found when it was read back. Works for people who were deleted, by id, e-mail address or name.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ID string `path:"id" doc:"Id, e-mail address or user name; of somebody who was deleted also the name."`
	},
	) (*answer[provision.Receipt], error) {
		id, err := a.Engine.FindLeaver(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		r, err := a.Engine.Receipt(ctx, by, id)
		if err != nil {
			return nil, err
		}
		return reply(r), nil
	})
	route(a, operation{method: http.MethodGet, path: "/receipts", id: "list-receipts", tag: tag, summary: "List the entries of all receipts", text: "Newest first."},
		func(ctx context.Context, by access.Actor, in *struct {
			Paging
			State       provision.ReceiptState `query:"state" enum:"open,closed,withdrawn"`
			Overdue     bool                   `query:"overdue" doc:"Only those that are open for too long."`
			Application app.ID                 `query:"application" doc:"Id of an application."`
		},
		) (*list[provision.ReceiptItem], error) {
			p, err := a.Engine.Receipts(ctx, by, provision.ReceiptQuery{State: in.State, Overdue: in.Overdue, Application: in.Application, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, same[provision.ReceiptItem], err)
		})
	route(a, operation{
		method: http.MethodPost, path: "/receipts/{id}/close", id: "close-receipt", tag: tag, summary: "Close an open entry by a person's word", status: http.StatusNoContent,
		text: "For accounts that somebody has seen to at the application itself.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ID   string `path:"id" doc:"The entry's id."`
		Body ReceiptNote
	},
	) (*struct{}, error) {
		return nil, a.Engine.CloseReceipt(ctx, by, in.ID, in.Body.Note)
	})
	route(a, operation{
		method: http.MethodGet, path: "/applications/{id}/health", id: "get-health", tag: "provisioning", summary: "Read whether provisioning lives",
		text: "One sentence, how much waits and since when, the budget that is left, the predicted end, and the last good answer.",
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Health], error) {
		x, err := a.Apps.Get(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		s, err := a.Engine.Status(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		return reply(Health{ApplicationID: x.ID, Label: x.Label, Status: s}), nil
	})
	route(a, operation{method: http.MethodGet, path: "/settings/alarms", id: "get-alarms", tag: tag, summary: "Read when somebody is called"},
		func(ctx context.Context, by access.Actor, _ *struct{}) (*answer[provision.Alarms], error) {
			x, err := a.Engine.Alarms(ctx, by)
			if err != nil {
				return nil, err
			}
			return reply(x), nil
		})
	route(a, operation{method: http.MethodPut, path: "/settings/alarms", id: "set-alarms", tag: tag, summary: "Say when somebody is called", needs: access.ManageSettings},
		func(ctx context.Context, by access.Actor, in *struct{ Body provision.Alarms }) (*answer[provision.Alarms], error) {
			if err := a.Engine.SetAlarms(ctx, by, in.Body); err != nil {
				return nil, err
			}
			return reply(in.Body), nil
		})
}
