package api

import (
	"context"
	"net/http"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
)

// Plan is what would be sent to an application.
type Plan struct {
	Hash   string      `json:"hash" doc:"Give it to what carries the plan out: it is refused when what would be sent has changed since."`
	Counts plan.Counts `json:"counts"`
	Steps  []plan.Step `json:"steps" doc:"In the order of sending."`
}

func wirePlan(p provision.Preview) Plan {
	return Plan{Hash: p.Hash, Counts: p.Counts, Steps: orEmpty(p.Steps)}
}

// PlanSummary is the head of a plan.
type PlanSummary struct {
	Hash   string      `json:"hash" doc:"The planHash by which exactly this is carried out."`
	Counts plan.Counts `json:"counts"`
}

// ProvisioningChange is a change of what an application provisions, looked at as a whole and made in one transaction.
type ProvisioningChange struct {
	Settings map[string]any      `json:"settings,omitempty" doc:"A JSON merge patch (RFC 7396) of the provisioning settings: mapping, scopeFilter, manageGroups, onLeave and the others."`
	Bind     []directory.GroupID `json:"bind,omitempty" doc:"Ids of groups to bind."`
	Unbind   []directory.GroupID `json:"unbind,omitempty" doc:"Ids of groups to unbind."`
}

// SCIMChange is the change as the domain takes it.
func (c *ProvisioningChange) SCIMChange() app.SCIMChange {
	out := app.SCIMChange{Bind: c.Bind, Unbind: c.Unbind}
	if len(c.Settings) > 0 {
		patch := MergePatch{changes: c.Settings}
		out.Settings = func(s *app.SCIMSettings) error { return patch.apply(s) }
	}
	return out
}

// PlanRequest asks for the plan of a change.
type PlanRequest struct {
	Change *ProvisioningChange `json:"change,omitempty" doc:"Missing: what would be sent now."`
}

// ChangeRequest makes a change by its plan.
type ChangeRequest struct {
	Change   ProvisioningChange `json:"change"`
	PlanHash string             `json:"planHash,omitempty" doc:"Hash of the change's plan. It may be missing when the plan is empty, or when provisioning isn't active."`
}

// Approval is the parameter of writes that may send something to an active application.
type Approval struct {
	PlanHash string `query:"planHash" doc:"Hash of the change's plan, as POST …/provisioning/plan gives it. While provisioning is active a change that would send something is refused with 409 without it, and when the plan is another by now; the problem tells the plan of now."`
}

// ApplicationPlan is one application's plan among all.
type ApplicationPlan struct {
	Application app.ID     `json:"application"`
	Label       string     `json:"label"`
	Status      app.Status `json:"status" enum:"active,paused,stopped"`
	Plan        *Plan      `json:"plan,omitempty"`
	Problem     string     `json:"problem,omitempty" doc:"Why there is no plan."`
}

// unapproved tells the plan with the refusal of a change whose plan was not approved.
func unapproved(u *provision.Unapproved) *Problem {
	p := newProblem(problem.Conflict, u.Error()+" POST …/provisioning/plan shows its steps; give their hash as planHash.")
	p.Plan = &PlanSummary{Hash: u.Plan.Hash, Counts: u.Plan.Counts}
	return p
}

func (a *API) planRoutes(tag, root string) {
	route(a, operation{
		method: http.MethodGet, path: root + "/plan", id: "get-plan", tag: tag, summary: "Read what would be sent now",
		text: "Reads accounts there where nothing is known of them yet.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		User directory.UserID `query:"user" doc:"Only of this person: the account and its memberships."`
	},
	) (*answer[Plan], error) {
		var p provision.Preview
		var err error
		if in.User != "" {
			if _, err = a.Directory.User(ctx, by, in.User); err == nil {
				p, err = a.Engine.PreviewUser(ctx, by, in.ID, in.User)
			}
		} else {
			p, err = a.Engine.Preview(ctx, by, in.ID)
		}
		if err != nil {
			return nil, err
		}
		return reply(wirePlan(p)), nil
	})
	route(a, operation{
		method: http.MethodPost, path: root + "/plan", id: "plan-change", tag: tag, summary: "Plan a change", needs: access.ManageApplications,
		text: "Works out what the change would send, without making it: exactly what it is the reason for. What is to be sent anyway isn't in it.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body *PlanRequest
	},
	) (*answer[Plan], error) {
		var p provision.Preview
		var err error
		if in.Body == nil || in.Body.Change == nil {
			p, err = a.Engine.Preview(ctx, by, in.ID)
		} else {
			p, err = a.Engine.Propose(ctx, by, in.ID, in.Body.Change.SCIMChange())
		}
		if err != nil {
			return nil, err
		}
		return reply(wirePlan(p)), nil
	})
	route(a, operation{
		method: http.MethodPost, path: root + "/changes", id: "apply-change", tag: tag, summary: "Make a change by its plan",
		text: "Settings and bindings change together or not at all, and what the plan shows is carried out by itself.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		ApplicationPath
		Body ChangeRequest
	},
	) (*answer[Application], error) {
		x, _, err := a.Engine.Apply(ctx, by, in.ID, in.Body.Change.SCIMChange(), in.Body.PlanHash)
		return a.answerApplication(x, err)
	})
	route(a, operation{
		method: http.MethodGet, path: "/provisioning/plans", id: "list-plans", tag: tag, summary: "Read what would be sent to every application now",
		text: "Of those whose provisioning is on, paused or stopped, sorted by label. One that can't be read has a problem in place of a plan.",
	}, func(ctx context.Context, by access.Actor, _ *struct{}) (*list[ApplicationPlan], error) {
		plans, err := a.Engine.PreviewAll(ctx, by)
		return all(plans, func(o provision.Outlook) ApplicationPlan {
			out := ApplicationPlan{Application: o.Application.ID, Label: o.Application.Label, Status: o.Application.SCIM.Status}
			if o.Err != nil {
				out.Problem = problem.Public(o.Err)
				return out
			}
			p := wirePlan(o.Plan)
			out.Plan = &p
			return out
		}, err)
	})
}
