package api

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// Drift is how it stands with an application's comparisons.
type Drift struct {
	Settings provision.DriftSettings `json:"settings"`
	Report   *provision.DriftReport  `json:"report,omitempty" doc:"The newest one; missing if there is none."`
	Next     time.Time               `json:"next,omitzero" doc:"When the next comparison begins by itself."`
}

// DriftFinding is one person, group or account that differs.
type DriftFinding struct {
	Kind     string                 `json:"kind" enum:"user,group"`
	ObjectID string                 `json:"objectId,omitempty" doc:"Id of the person or group; missing for an account that isn't managed from here."`
	RemoteID string                 `json:"remoteId" doc:"Id at the application."`
	Name     string                 `json:"name"`
	Finding  provision.DriftFinding `json:"finding" enum:"changed,deleted,active,inactive,members,unmanaged"`
	State    provision.DriftState   `json:"state" enum:"open,repairing,repaired,stuck,kept,parked"`
	// Differences are the values.
	Differences []provision.DriftDifference `json:"differences"`
	Note        string                      `json:"note,omitempty"`
}

func wireFinding(r provision.DriftRow) DriftFinding {
	kind := "user"
	if r.Kind == scim.Group {
		kind = "group"
	}
	return DriftFinding{
		Kind: kind, ObjectID: r.ObjectID, RemoteID: r.RemoteID, Name: r.Name, Finding: r.Finding, State: r.State,
		Differences: orEmpty(r.Differences), Note: r.Note,
	}
}

// DriftChoice says which findings are meant.
type DriftChoice struct {
	All       bool     `json:"all,omitempty" doc:"All that are open."`
	Kind      string   `json:"kind,omitempty" enum:"user,group" doc:"Of remoteIds; missing is any."`
	RemoteIDs []string `json:"remoteIds,omitempty" maxItems:"1000" doc:"These, by their id at the application."`
}

func (c DriftChoice) choice() provision.DriftChoice {
	return provision.DriftChoice{All: c.All, Kind: objectKind(c.Kind), RemoteIDs: c.RemoteIDs}
}

// RepairRequest has findings put right.
type RepairRequest struct {
	DriftChoice
	Hash string `json:"hash" doc:"Of the plan of this repair: it is refused when what would be written has changed since."`
}

// KeptFindings tells how many differences are left as they are there.
type KeptFindings struct {
	Kept int `json:"kept"`
}

func (a *API) driftRoutes(tag, root string) {
	drift := func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[Drift], error) {
		d, err := a.Engine.Drift(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		return reply(Drift{Settings: d.Settings, Report: d.Report, Next: d.Next}), nil
	}
	root += "/drift"
	route(a, operation{method: http.MethodGet, path: root, id: "get-drift", tag: tag, summary: "Read how the comparisons stand", text: "The settings, and the newest report."}, drift)
	route(a, operation{
		method: http.MethodPut, path: root + "/settings", id: "set-drift", tag: tag, summary: "Change when it is compared and what becomes of differences", needs: access.ManageApplications,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body provision.DriftSettings
	},
	) (*answer[Drift], error) {
		if _, err := a.Engine.SaveDrift(ctx, by, in.ID, func(s *provision.DriftSettings) error { *s = in.Body; return nil }); err != nil {
			return nil, err
		}
		return drift(ctx, by, &in.ApplicationPath)
	})
	route(a, operation{
		method: http.MethodPost, path: root, id: "compare", tag: tag, summary: "Compare now", status: http.StatusAccepted,
		text: "Reads what is there and reports what differs. Read the report until its state is done; one that runs already is returned.",
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[provision.DriftReport], error) {
		r, err := a.Engine.Compare(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		return &answer[provision.DriftReport]{Location: Prefix + "/applications/" + string(in.ID) + "/provisioning/drift", Body: r}, nil
	})
	route(a, operation{method: http.MethodGet, path: root + "/reports", id: "list-drift-reports", tag: tag, summary: "List the latest comparisons", text: "Newest first."},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*list[provision.DriftReport], error) {
			if _, err := a.Apps.Get(ctx, by, in.ID); err != nil {
				return nil, err
			}
			l, err := a.Engine.DriftReports(ctx, by, in.ID)
			return all(l, same[provision.DriftReport], err)
		})
	route(a, operation{method: http.MethodGet, path: root + "/findings", id: "list-drift", tag: tag, summary: "List what differs", text: "Of the newest comparison, sorted by name."},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Paging
			Kind    string                 `query:"kind" enum:"user,group"`
			Finding provision.DriftFinding `query:"finding" enum:"changed,deleted,active,inactive,members,unmanaged"`
			State   provision.DriftState   `query:"state" enum:"open,repairing,kept,parked"`
			Text    string                 `query:"text" doc:"Looked for in names and ids, and of unmanaged accounts also in user names and addresses."`
		},
		) (*list[DriftFinding], error) {
			if _, err := a.Apps.Get(ctx, by, in.ID); err != nil {
				return nil, err
			}
			p, err := a.Engine.DriftRows(ctx, by, in.ID, provision.DriftQuery{
				Kind: objectKind(in.Kind), Finding: in.Finding, State: in.State, Text: in.Text, Cursor: in.Cursor, Limit: in.Limit,
			})
			return page(p, wireFinding, err)
		})
	route(a, operation{
		method: http.MethodPost, path: root + "/plan", id: "plan-repair", tag: tag, summary: "Read what a repair would write", text: "As of what was read then and of the directory now. Nothing is sent.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body DriftChoice
	},
	) (*answer[provision.Repair], error) {
		p, err := a.Engine.RepairPlan(ctx, by, in.ID, in.Body.choice())
		if err != nil {
			return nil, err
		}
		p.Steps = orEmpty(p.Steps)
		return reply(p), nil
	})
	route(a, operation{
		method: http.MethodPost, path: root + "/repair", id: "repair", tag: tag, summary: "Put right what differs", status: http.StatusAccepted, needs: access.RunProvisioning,
		text: "Each object is read again before anything is written to it. More than the mass-change guard lets pass takes somebody who may change applications.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body RepairRequest
	},
	) (*answer[provision.Repair], error) {
		if in.Body.Hash == "" {
			return nil, problem.InvalidField("hash", "Give the hash of the repair's plan.")
		}
		p, err := a.Engine.Repair(ctx, by, in.ID, in.Body.choice(), in.Body.Hash)
		if err != nil {
			return nil, err
		}
		p.Steps = orEmpty(p.Steps)
		return reply(p), nil
	})
	route(a, operation{
		method: http.MethodPost, path: root + "/keep", id: "keep-drift", tag: tag, summary: "Leave what differs as it is there", needs: access.ManageApplications,
		text: "Until the directory changes the value, or the application does once more. Access can't be left.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body DriftChoice
	},
	) (*answer[KeptFindings], error) {
		n, err := a.Engine.KeepTheirs(ctx, by, in.ID, in.Body.choice())
		if err != nil {
			return nil, err
		}
		return reply(KeptFindings{Kept: n}), nil
	})
	route(a, operation{
		method: http.MethodPost, path: "/applications/{id}/provisioning/links/{kind}/{object}/recreate", id: "recreate-link", tag: tag,
		summary: "Make again what was deleted there", status: http.StatusNoContent, text: "Where the policy is not to do so by itself.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Kind   string `path:"kind" enum:"user,group"`
		Object string `path:"object" doc:"Id of the person or group."`
	},
	) (*struct{}, error) {
		return nil, a.Engine.Recreate(ctx, by, in.ID, objectKind(in.Kind), in.Object)
	})
}
