package api

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
)

// Group is a named set of people.
type Group struct {
	ID directory.GroupID `json:"id"`
	directory.GroupAttributes
	Members   int       `json:"members" doc:"How many people are in it."`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

func wireGroup(g directory.Group) Group {
	return Group{ID: g.ID, GroupAttributes: g.GroupAttributes, Members: max(g.Members, 0), Version: g.Version, CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt}
}

// NewGroup is what a group is created from.
type NewGroup struct {
	directory.GroupAttributes
	Members []directory.UserID `json:"members,omitempty" doc:"Ids of the first members."`
}

// MembersChange names people to add to a group or take out of it.
type MembersChange struct {
	Add    []directory.UserID `json:"add,omitempty" maxItems:"1000" doc:"Ids of people to add."`
	Remove []directory.UserID `json:"remove,omitempty" maxItems:"1000" doc:"Ids of people to take out."`
}

// MembersResult tells what changed.
type MembersResult struct {
	Added   int `json:"added" doc:"How many were not members before."`
	Removed int `json:"removed" doc:"How many were members before."`
}

// ApplicationRef names an application.
type ApplicationRef struct {
	ID    app.ID `json:"id"`
	Label string `json:"label"`
}

func refApplication(x app.Application) ApplicationRef {
	return ApplicationRef{ID: x.ID, Label: x.Label}
}

// GroupPath names a group.
type GroupPath struct {
	ID directory.GroupID `path:"id" doc:"The group's id."`
}

func answerGroup(g directory.Group, err error) (*answer[Group], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Group]{ETag: etag(g.Version), Body: wireGroup(g)}, nil
}

func (a *API) groupRoutes() {
	route(a, operation{method: http.MethodGet, path: "/groups", id: "list-groups", tag: "groups", summary: "List groups", text: "Sorted by name."},
		func(ctx context.Context, by access.Actor, in *struct {
			Paging
			Text string `query:"text" doc:"Looked for in name and description, without case and accents."`
		},
		) (*list[Group], error) {
			p, err := a.Directory.ListGroups(ctx, by, directory.GroupQuery{Text: in.Text, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, wireGroup, err)
		})
	route(a, operation{method: http.MethodPost, path: "/groups", id: "create-group", tag: "groups", summary: "Create a group", status: http.StatusCreated},
		func(ctx context.Context, by access.Actor, in *struct{ Body NewGroup }) (*answer[Group], error) {
			g, err := a.Directory.CreateGroup(ctx, by, directory.NewGroup{GroupAttributes: in.Body.GroupAttributes, Members: in.Body.Members})
			out, err := answerGroup(g, err)
			if err == nil {
				out.Location = Prefix + "/groups/" + string(g.ID)
			}
			return out, err
		})
	route(a, operation{method: http.MethodGet, path: "/groups/{id}", id: "get-group", tag: "groups", summary: "Read a group"},
		func(ctx context.Context, by access.Actor, in *GroupPath) (*answer[Group], error) {
			return answerGroup(a.Directory.Group(ctx, by, in.ID))
		})
	route(a, operation{
		method: http.MethodPatch, path: "/groups/{id}", id: "update-group", tag: "groups", summary: "Change a group",
		text: "Attributes set on a group are inherited by its members.", body: patchBody[directory.GroupAttributes](a),
	}, func(ctx context.Context, by access.Actor, in *struct {
		GroupPath
		Precondition
		MergePatch
	},
	) (*answer[Group], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		g, err := a.Directory.UpdateGroup(ctx, by, in.ID, v, func(at *directory.GroupAttributes) error { return in.apply(at) })
		return answerGroup(g, stale(err, v))
	})
	route(a, operation{
		method: http.MethodDelete, path: "/groups/{id}", id: "delete-group", tag: "groups", summary: "Delete a group", status: http.StatusNoContent,
		text: "Its members stay, and lose what they had only by it.",
	}, func(ctx context.Context, by access.Actor, in *GroupPath) (*struct{}, error) {
		return nil, a.Directory.DeleteGroup(ctx, by, in.ID)
	})
	route(a, operation{method: http.MethodGet, path: "/groups/{id}/members", id: "list-members", tag: "groups", summary: "List a group's members", text: "Sorted by name."},
		func(ctx context.Context, by access.Actor, in *struct {
			GroupPath
			Paging
			Text  string          `query:"text" doc:"Looked for in names, user name, e-mail and employee id."`
			State directory.State `query:"state" enum:"staged,active,suspended"`
		},
		) (*list[User], error) {
			p, err := a.Directory.Members(ctx, by, in.ID, directory.UserQuery{Text: in.Text, State: in.State, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, wireUser, err)
		})
	route(a, operation{
		method: http.MethodPost, path: "/groups/{id}/members", id: "change-members", tag: "groups", summary: "Add and remove members",
		text: "Who is in the group already isn't added again; who isn't in it isn't removed.",
	}, func(ctx context.Context, by access.Actor, in *struct {
		GroupPath
		Body MembersChange
	},
	) (*answer[MembersResult], error) {
		var out MembersResult
		var err error
		// The group has to exist and the caller be allowed even when nothing is asked for.
		if out.Added, err = a.Directory.AddMembers(ctx, by, in.ID, in.Body.Add); err != nil {
			return nil, err
		}
		if len(in.Body.Remove) > 0 {
			if out.Removed, err = a.Directory.RemoveMembers(ctx, by, in.ID, in.Body.Remove); err != nil {
				return nil, err
			}
		}
		return reply(out), nil
	})
	type member struct {
		GroupPath
		User directory.UserID `path:"user" doc:"The person's id."`
	}
	route(a, operation{method: http.MethodPut, path: "/groups/{id}/members/{user}", id: "add-member", tag: "groups", summary: "Add a member", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *member) (*struct{}, error) {
			_, err := a.Directory.AddMembers(ctx, by, in.ID, []directory.UserID{in.User})
			return nil, err
		})
	route(a, operation{method: http.MethodDelete, path: "/groups/{id}/members/{user}", id: "remove-member", tag: "groups", summary: "Remove a member", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *member) (*struct{}, error) {
			_, err := a.Directory.RemoveMembers(ctx, by, in.ID, []directory.UserID{in.User})
			return nil, err
		})
	route(a, operation{
		method: http.MethodGet, path: "/groups/{id}/applications", id: "list-group-applications", tag: "groups", summary: "List the applications that a group is bound to",
	}, func(ctx context.Context, by access.Actor, in *GroupPath) (*list[ApplicationRef], error) {
		if _, err := a.Directory.Group(ctx, by, in.ID); err != nil {
			return nil, err
		}
		apps, err := a.Apps.ApplicationsOfGroup(ctx, by, in.ID)
		return all(apps, refApplication, err)
	})
}
