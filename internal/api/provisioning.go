package api

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
)

// ProvisioningLink is what is remembered of one object at one application.
type ProvisioningLink struct {
	Kind      string               `json:"kind" enum:"user,group"`
	ObjectID  string               `json:"objectId" doc:"Id of the person or group. It outlives them."`
	Name      string               `json:"name"`
	RemoteID  string               `json:"remoteId,omitempty" doc:"Id at the application."`
	Status    provision.LinkStatus `json:"status" enum:"pending,synced,inactive,blocked,failed,released"`
	Reason    string               `json:"reason,omitempty"`
	Snapshot  map[string]any       `json:"snapshot,omitempty" doc:"The resource as the application last acknowledged it; members apart."`
	CreatedAt time.Time            `json:"createdAt,omitzero"`
	UpdatedAt time.Time            `json:"updatedAt,omitzero"`
	SyncedAt  time.Time            `json:"syncedAt,omitzero" doc:"When it was last as it should be."`
}

func wireLink(l provision.Link) ProvisioningLink {
	kind := "user"
	if l.Kind == scim.Group {
		kind = "group"
	}
	return ProvisioningLink{
		Kind: kind, ObjectID: l.ObjectID, Name: l.Name, RemoteID: l.RemoteID, Status: l.Status, Reason: l.Reason, Snapshot: l.Snapshot,
		CreatedAt: l.CreatedAt, UpdatedAt: l.UpdatedAt, SyncedAt: l.SyncedAt,
	}
}

// Activation begins provisioning.
type Activation struct {
	Hash string `json:"hash,omitempty" doc:"Of a plan: the activation is refused when what would be sent has changed since. Missing: not checked."`
}

// PauseReason says why provisioning is paused.
type PauseReason struct {
	Reason string `json:"reason,omitempty" maxLength:"255"`
}

// Explanation tells why a person has, or hasn't, an account at an application.
type Explanation struct {
	Want plan.Want  `json:"want" enum:"present,gone,leave"`
	Why  string     `json:"why"`
	Via  []GroupRef `json:"via" doc:"The person's groups that are bound to it."`
	// Sentence says all in one sentence.
	Sentence   string                  `json:"sentence"`
	Grants     []provision.Grant       `json:"grants" doc:"How the person came to the groups that give access."`
	Missing    []string                `json:"missing" doc:"Required attributes that the person has no value for."`
	Pending    []provision.PendingStep `json:"pending" doc:"What is still to be sent, in order."`
	WaitingFor string                  `json:"waitingFor,omitempty" doc:"Why it wasn't sent yet."`
	NextTry    time.Time               `json:"nextTry,omitzero" doc:"Missing if that depends on somebody."`
	Sent       []provision.Sent        `json:"sent" doc:"What was sent about the person, the newest first, at most 25, each with the event that caused it."`
	Receipt    *provision.ReceiptItem  `json:"receipt,omitempty" doc:"Proof that somebody who left has no access; missing for others."`
	Link       *ProvisioningLink       `json:"link,omitempty" doc:"What is remembered of the account; missing if nothing is."`
	Waiting    *Waiting                `json:"waiting,omitempty" doc:"What is still to be sent; missing if nothing is."`
	Since      time.Time               `json:"since,omitzero"`
}

// Waiting tells how it stands with what is still to be sent.
type Waiting struct {
	Attempts int                `json:"attempts"`
	Since    time.Time          `json:"since,omitzero"`
	Due      time.Time          `json:"due,omitzero"`
	Running  bool               `json:"running"`
	Parked   bool               `json:"parked" doc:"Somebody has to look at it."`
	Reason   string             `json:"reason,omitempty"`
	Cause    provision.CauseRef `json:"cause,omitzero" doc:"The event that asked for it."`
}

// AccountImport says what to do with which accounts that were found at an application.
type AccountImport struct {
	Act       provision.ImportAct    `json:"act" enum:"create,link,update,undo" doc:"Create people; link accounts to people who are here, without sending anything; update people from their accounts; or undo what was done and not touched since."`
	RemoteIDs []string               `json:"remoteIds,omitempty" doc:"Ids at the application."`
	Status    provision.ImportStatus `json:"status,omitempty" enum:"new,matched,likely,conflict,orphan" doc:"All of this status, instead of ids."`
	Text      string                 `json:"text,omitempty" doc:"Of those of the status, only these: looked for in user name, e-mail and display name."`
	State     directory.State        `json:"state,omitempty" enum:"staged,active,suspended" doc:"Of people that are created: staged when missing."`
}

// ImportJobPath names a job of an import.
type ImportJobPath struct {
	ImportPath
	Job string `path:"job" doc:"The job's id."`
}

// ImportPath names an import of an application.
type ImportPath struct {
	ApplicationPath
	Import string `path:"import" doc:"The import's id."`
}

func objectKind(s string) scim.ResourceType {
	switch s {
	case "user":
		return scim.User
	case "group":
		return scim.Group
	}
	return ""
}

func (a *API) provisioningRoutes() {
	const tag, root = "provisioning", "/applications/{id}/provisioning"
	status := func(ctx context.Context, by access.Actor, id app.ID) (*answer[provision.Status], error) {
		s, err := a.Engine.Status(ctx, by, id)
		if err != nil {
			return nil, err
		}
		return reply(s), nil
	}
	route(a, operation{method: http.MethodGet, path: root, id: "get-provisioning", tag: tag, summary: "Read how provisioning stands"},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[provision.Status], error) {
			return status(ctx, by, in.ID)
		})
	route(a, operation{
		method: http.MethodPost, path: root + "/test", id: "test-provisioning", tag: tag, summary: "Test the connection",
		text: "By reading only: nothing is created there. A connection that doesn't work is an answer, not an error.",
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[provision.Probe], error) {
		p, err := a.Engine.Test(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		p.Checks = orEmpty(p.Checks)
		return reply(p), nil
	})
	a.planRoutes(tag, root)
	route(a, operation{method: http.MethodPost, path: root + "/activate", id: "activate-provisioning", tag: tag, summary: "Activate provisioning"},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Body *Activation
		},
		) (*answer[provision.Status], error) {
			hash := ""
			if in.Body != nil {
				hash = in.Body.Hash
			}
			if err := a.Engine.Activate(ctx, by, in.ID, hash); err != nil {
				return nil, err
			}
			return status(ctx, by, in.ID)
		})
	route(a, operation{
		method: http.MethodPost, path: root + "/pause", id: "pause-provisioning", tag: tag, summary: "Pause provisioning", needs: access.ManageApplications, text: "Changes are kept and sent after resuming.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body *PauseReason
	},
	) (*answer[provision.Status], error) {
		reason := ""
		if in.Body != nil {
			reason = in.Body.Reason
		}
		if err := a.Engine.Pause(ctx, by, in.ID, reason); err != nil {
			return nil, err
		}
		return status(ctx, by, in.ID)
	})
	for _, act := range []struct {
		name, summary, text string
		do                  func(context.Context, access.Actor, app.ID) error
	}{
		{"deactivate", "Deactivate provisioning", "Everything there stays as it is; what was still to be sent is cancelled.", a.Engine.Deactivate},
		{"resume", "Resume provisioning", "After a pause or a stop.", a.Engine.Resume},
	} {
		route(a, operation{method: http.MethodPost, path: root + "/" + act.name, id: act.name + "-provisioning", tag: tag, summary: act.summary, text: act.text, needs: access.ManageApplications},
			func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[provision.Status], error) {
				if err := act.do(ctx, by, in.ID); err != nil {
					return nil, err
				}
				return status(ctx, by, in.ID)
			})
	}
	a.linkRoutes(tag, root)
	a.accountRoutes(tag, root)
	a.driftRoutes(tag, root)
}

func (a *API) linkRoutes(tag, root string) {
	route(a, operation{method: http.MethodGet, path: root + "/links", id: "list-links", tag: tag, summary: "List what is remembered of people and groups there", text: "Sorted by name."},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			Paging
			Kind   string               `query:"kind" enum:"user,group"`
			Status provision.LinkStatus `query:"status" enum:"pending,synced,inactive,blocked,failed,released"`
			Text   string               `query:"text" doc:"Looked for in names."`
		},
		) (*list[ProvisioningLink], error) {
			if _, err := a.Apps.Get(ctx, by, in.ID); err != nil {
				return nil, err
			}
			p, err := a.Engine.Links(ctx, by, in.ID, provision.LinkQuery{Kind: objectKind(in.Kind), Status: in.Status, Text: in.Text, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, wireLink, err)
		})
	route(a, operation{
		method: http.MethodPost, path: root + "/links/{kind}/{object}/retry", id: "retry-link", tag: tag, summary: "Try a person or group again now", status: http.StatusNoContent,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Kind   string `path:"kind" enum:"user,group"`
		Object string `path:"object" doc:"Id of the person or group."`
	},
	) (*struct{}, error) {
		return nil, a.Engine.RetryObject(ctx, by, in.ID, objectKind(in.Kind), in.Object)
	})
	type group struct {
		ApplicationPath
		Group directory.GroupID `path:"group" doc:"The group's id."`
	}
	route(a, operation{
		method: http.MethodPost, path: root + "/groups/{group}/approve-deletion", id: "approve-deletion", tag: tag, summary: "Let a deleted group be deleted there too", status: http.StatusNoContent,
	}, func(ctx context.Context, by access.Actor, in *group) (*struct{}, error) {
		return nil, a.Engine.ApproveDeletion(ctx, by, in.ID, in.Group)
	})
	route(a, operation{
		method: http.MethodPost, path: root + "/groups/{group}/replace", id: "replace-group", tag: tag, summary: "Replace a group that can't be renamed there", status: http.StatusNoContent,
		text: "Makes a group of the new name, moves the members, deletes the old one.",
	}, func(ctx context.Context, by access.Actor, in *group) (*struct{}, error) {
		return nil, a.Engine.ReplaceGroup(ctx, by, in.ID, in.Group)
	})
	route(a, operation{method: http.MethodGet, path: root + "/users/{user}", id: "explain-user", tag: tag, summary: "Explain why a person has an account there, or hasn't"},
		func(ctx context.Context, by access.Actor, in *struct {
			ApplicationPath
			User directory.UserID `path:"user" doc:"The person's id."`
		},
		) (*answer[Explanation], error) {
			x, err := a.Engine.Explain(ctx, by, in.ID, in.User)
			if err != nil {
				return nil, err
			}
			return reply(wireExplanation(x)), nil
		})
}

func wireExplanation(x provision.Explanation) Explanation {
	out := Explanation{Want: x.Want, Why: x.Why, Via: each(x.Via, refGroup), Missing: orEmpty(x.Missing), Since: x.Since,
		Sentence: x.Sentence, Grants: orEmpty(x.Grants), Pending: orEmpty(x.Pending), WaitingFor: x.WaitingFor, NextTry: x.NextTry,
		Sent: orEmpty(x.Sent), Receipt: x.Receipt,
	}
	if x.Link.ObjectID != "" && x.Link.Status != "" {
		l := wireLink(x.Link)
		out.Link = &l
	}
	if w := x.Waiting; w != nil {
		out.Waiting = &Waiting{Attempts: w.Attempts, Since: w.Since, Due: w.Due, Running: w.Running, Parked: w.Parked, Reason: w.Reason, Cause: x.WaitingCause}
	}
	return out
}

func (a *API) accountRoutes(tag, root string) {
	// find returns an import of this application.
	find := func(ctx context.Context, by access.Actor, in ImportPath) (provision.Import, error) {
		i, err := a.Engine.Import(ctx, by, in.Import)
		if err == nil && i.ApplicationID != in.ID {
			err = problem.New(problem.NotFound, "There is no such import. Begin a new one.")
		}
		return i, err
	}
	route(a, operation{
		method: http.MethodPost, path: root + "/imports", id: "start-import", tag: tag, summary: "Begin to list the accounts there", status: http.StatusAccepted,
		text: "Read the import until its state is listed.",
	}, func(ctx context.Context, by access.Actor, in *ApplicationPath) (*answer[provision.Import], error) {
		i, err := a.Engine.StartImport(ctx, by, in.ID)
		if err != nil {
			return nil, err
		}
		return &answer[provision.Import]{Location: Prefix + "/applications/" + string(in.ID) + "/provisioning/imports/" + i.ID, Body: i}, nil
	})
	route(a, operation{method: http.MethodGet, path: root + "/imports", id: "list-imports", tag: tag, summary: "List the latest imports", text: "Newest first."},
		func(ctx context.Context, by access.Actor, in *ApplicationPath) (*list[provision.Import], error) {
			list, err := a.Engine.Imports(ctx, by, in.ID)
			return all(list, same[provision.Import], err)
		})
	route(a, operation{method: http.MethodGet, path: root + "/imports/{import}", id: "get-import", tag: tag, summary: "Read an import"},
		func(ctx context.Context, by access.Actor, in *ImportPath) (*answer[provision.Import], error) {
			i, err := find(ctx, by, *in)
			if err != nil {
				return nil, err
			}
			return reply(i), nil
		})
	route(a, operation{method: http.MethodGet, path: root + "/imports/{import}/accounts", id: "list-accounts", tag: tag, summary: "List the accounts that were found, and what was done with each", text: "Sorted by user name."},
		func(ctx context.Context, by access.Actor, in *struct {
			ImportPath
			Paging
			Status  provision.ImportStatus  `query:"status" enum:"new,matched,likely,conflict,orphan"`
			Outcome provision.ImportOutcome `query:"outcome" enum:"created,linked,updated,skipped,failed,undone,kept" doc:"What was done with it."`
			Text    string                  `query:"text" doc:"Looked for in user name, e-mail and display name."`
		},
		) (*list[provision.ImportRow], error) {
			if _, err := find(ctx, by, in.ImportPath); err != nil {
				return nil, err
			}
			p, err := a.Engine.ImportRows(ctx, by, in.Import, provision.RowQuery{Status: in.Status, Outcome: in.Outcome, Text: in.Text, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, same[provision.ImportRow], err)
		})
	route(a, operation{
		method: http.MethodPost, path: root + "/imports/{import}/jobs", id: "start-import-job", tag: tag, summary: "Do something with accounts: create people, link, update, or undo", needs: access.ManageDirectory,
		status: http.StatusAccepted,
		text:   "Read the job until its state isn't running. People who are created have no password yet and are bound to nothing. Nothing is done twice.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ImportPath
		Body AccountImport
	},
	) (*answer[provision.ImportJob], error) {
		if _, err := find(ctx, by, in.ImportPath); err != nil {
			return nil, err
		}
		j, err := a.Engine.StartImportJob(ctx, by, in.Import, provision.ImportChoice{
			Act: in.Body.Act, RemoteIDs: in.Body.RemoteIDs, Status: in.Body.Status, Text: in.Body.Text, State: in.Body.State,
		})
		if err != nil {
			return nil, err
		}
		return &answer[provision.ImportJob]{Location: Prefix + "/applications/" + string(in.ID) + "/provisioning/imports/" + in.Import + "/jobs/" + j.ID, Body: j}, nil
	})
	route(a, operation{method: http.MethodGet, path: root + "/imports/{import}/jobs", id: "list-import-jobs", tag: tag, summary: "List what was done with an import's accounts", text: "Newest first."},
		func(ctx context.Context, by access.Actor, in *ImportPath) (*list[provision.ImportJob], error) {
			if _, err := find(ctx, by, *in); err != nil {
				return nil, err
			}
			l, err := a.Engine.ImportJobs(ctx, by, in.Import)
			return all(l, same[provision.ImportJob], err)
		})
	route(a, operation{method: http.MethodGet, path: root + "/imports/{import}/jobs/{job}", id: "get-import-job", tag: tag, summary: "Read how far a job is"},
		func(ctx context.Context, by access.Actor, in *ImportJobPath) (*answer[provision.ImportJob], error) {
			if _, err := find(ctx, by, in.ImportPath); err != nil {
				return nil, err
			}
			j, err := a.Engine.ImportJob(ctx, by, in.Import, in.Job)
			if err != nil {
				return nil, err
			}
			return reply(j), nil
		})
}
