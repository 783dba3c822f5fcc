package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// User is a person.
type User struct {
	ID directory.UserID `json:"id"`
	// Name is what people call them: the display name, else given and family name, else the
	// user name.
	Name string `json:"name" readOnly:"true"`
	directory.Attributes
	State          directory.State          `json:"state" enum:"staged,active,suspended"`
	PasswordStatus directory.PasswordStatus `json:"passwordStatus" enum:"pending,active,expired"`
	Role           access.Role              `json:"role" enum:"owner,administrator,help_desk,read_only,"`
	Version        int64                    `json:"version"`
	CreatedAt      time.Time                `json:"createdAt"`
	UpdatedAt      time.Time                `json:"updatedAt"`
	SuspendedAt    time.Time                `json:"suspendedAt,omitzero"`
}

func wireUser(u directory.User) User {
	return User{
		ID: u.ID, Name: u.Name(), Attributes: u.Attributes, State: u.State, PasswordStatus: u.PasswordStatus, Role: u.Role,
		Version: u.Version, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, SuspendedAt: u.SuspendedAt,
	}
}

// NewUser is what a person is created from.
type NewUser struct {
	directory.Attributes
	State  directory.State     `json:"state,omitempty" enum:"staged,active,suspended" doc:"Staged when missing."`
	Role   access.Role         `json:"role,omitempty" enum:"owner,administrator,help_desk,read_only," doc:"Only owners can give a role."`
	Groups []directory.GroupID `json:"groups,omitempty" doc:"Ids of groups that the person becomes a member of."`
}

// RoleChange gives or takes a role.
type RoleChange struct {
	Role access.Role `json:"role" required:"true" enum:"owner,administrator,help_desk,read_only," doc:"Empty for none."`
}

// PasswordChange sets somebody's password.
type PasswordChange struct {
	Password  string `json:"password" required:"true" writeOnly:"true"`
	Temporary bool   `json:"temporary,omitempty" doc:"The person has to choose another at the next sign-in."`
}

// UserApplication is an application that a person reaches.
type UserApplication struct {
	ID    app.ID     `json:"id"`
	Label string     `json:"label"`
	Via   []GroupRef `json:"via" doc:"The person's groups that are bound to it."`
}

// GroupRef names a group.
type GroupRef struct {
	ID   directory.GroupID `json:"id"`
	Name string            `json:"name"`
}

func refGroup(g directory.Group) GroupRef { return GroupRef{ID: g.ID, Name: g.Name} }

// UserPath names a person.
type UserPath struct {
	ID directory.UserID `path:"id" doc:"The person's id."`
}

func answerUser(u directory.User, err error) (*answer[User], error) {
	if err != nil {
		return nil, err
	}
	return &answer[User]{ETag: etag(u.Version), Body: wireUser(u)}, nil
}

func (a *API) userRoutes() {
	route(a, operation{method: http.MethodGet, path: "/users", id: "list-users", tag: "users", summary: "List people", text: "Sorted by name."},
		func(ctx context.Context, by access.Actor, in *struct {
			Paging
			Text  string            `query:"text" doc:"Looked for in names, user name, e-mail and employee id, without case and accents."`
			State directory.State   `query:"state" enum:"staged,active,suspended"`
			Role  access.Role       `query:"role" enum:"owner,administrator,help_desk,read_only"`
			Group directory.GroupID `query:"group" doc:"Only members of the group with this id."`
			Login string            `query:"login" doc:"Only the person with this e-mail address or user name."`
		},
		) (*list[User], error) {
			if in.Login != "" {
				u, err := a.Directory.UserByLogin(ctx, by, in.Login)
				if problem.Is(err, problem.NotFound) {
					return all(nil, wireUser, nil)
				}
				return all([]directory.User{u}, wireUser, err)
			}
			p, err := a.Directory.ListUsers(ctx, by, directory.UserQuery{Text: in.Text, State: in.State, Role: in.Role, GroupID: in.Group, Cursor: in.Cursor, Limit: in.Limit})
			return page(p, wireUser, err)
		})
	route(a, operation{method: http.MethodPost, path: "/users", id: "create-user", tag: "users", summary: "Create a person", status: http.StatusCreated},
		func(ctx context.Context, by access.Actor, in *struct{ Body NewUser }) (*answer[User], error) {
			u, err := a.Directory.CreateUser(ctx, by, directory.NewUser{Attributes: in.Body.Attributes, State: in.Body.State, Role: in.Body.Role, Groups: in.Body.Groups})
			out, err := answerUser(u, err)
			if err == nil {
				out.Location = Prefix + "/users/" + string(u.ID)
			}
			return out, err
		})
	route(a, operation{method: http.MethodGet, path: "/users/{id}", id: "get-user", tag: "users", summary: "Read a person"},
		func(ctx context.Context, by access.Actor, in *UserPath) (*answer[User], error) {
			return answerUser(a.Directory.User(ctx, by, in.ID))
		})
	route(a, operation{
		method: http.MethodPatch, path: "/users/{id}", id: "update-user", tag: "users", summary: "Change a person",
		text: "A change that changes nothing leaves the version as it is.", body: patchBody[directory.Attributes](a),
	}, func(ctx context.Context, by access.Actor, in *struct {
		UserPath
		Precondition
		MergePatch
	},
	) (*answer[User], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		u, err := a.Directory.UpdateUser(ctx, by, in.ID, v, func(at *directory.Attributes) error { return in.apply(at) })
		return answerUser(u, stale(err, v))
	})
	route(a, operation{
		method: http.MethodDelete, path: "/users/{id}", id: "delete-user", tag: "users", summary: "Delete a person", status: http.StatusNoContent,
		text: "For good. Their accounts at applications are deactivated, or deleted where that was chosen.",
	}, func(ctx context.Context, by access.Actor, in *UserPath) (*struct{}, error) {
		return nil, a.Directory.DeleteUser(ctx, by, in.ID)
	})
	for _, act := range []struct {
		name, summary, text string
		do                  func(context.Context, access.Actor, directory.UserID) (directory.User, error)
	}{
		{"activate", "Activate a staged person", "", a.Directory.Activate},
		{"suspend", "Suspend a person", "Their sessions end at once; their accounts at applications are deactivated.", a.Directory.Suspend},
		{"unsuspend", "End a suspension", "The person gets what they are entitled to now.", a.Directory.Unsuspend},
	} {
		route(a, operation{method: http.MethodPost, path: "/users/{id}/" + act.name, id: act.name + "-user", tag: "users", summary: act.summary, text: act.text},
			func(ctx context.Context, by access.Actor, in *UserPath) (*answer[User], error) {
				return answerUser(act.do(ctx, by, in.ID))
			})
	}
	route(a, operation{method: http.MethodPut, path: "/users/{id}/role", id: "set-role", tag: "users", summary: "Give or take a role"},
		func(ctx context.Context, by access.Actor, in *struct {
			UserPath
			Body RoleChange
		},
		) (*answer[User], error) {
			return answerUser(a.Directory.SetRole(ctx, by, in.ID, in.Body.Role))
		})
	route(a, operation{method: http.MethodPut, path: "/users/{id}/password", id: "set-password", tag: "users", summary: "Set a password", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *struct {
			UserPath
			Body PasswordChange
		},
		) (*struct{}, error) {
			return nil, a.Authn.SetPassword(ctx, by, in.ID, keys.Secret(in.Body.Password), in.Body.Temporary)
		})
	route(a, operation{method: http.MethodDelete, path: "/users/{id}/sessions", id: "end-sessions", tag: "users", summary: "End all of a person's sessions", status: http.StatusNoContent},
		func(ctx context.Context, by access.Actor, in *UserPath) (*struct{}, error) {
			return nil, a.Authn.RevokeAll(ctx, by, in.ID)
		})
	route(a, operation{method: http.MethodGet, path: "/users/{id}/groups", id: "list-user-groups", tag: "users", summary: "List a person's groups"},
		func(ctx context.Context, by access.Actor, in *UserPath) (*list[Group], error) {
			groups, err := a.Directory.GroupsOf(ctx, by, in.ID)
			return all(groups, wireGroup, err)
		})
	route(a, operation{
		method: http.MethodGet, path: "/users/{id}/applications", id: "list-user-applications", tag: "users", summary: "List the applications that a person's groups are bound to",
	}, func(ctx context.Context, by access.Actor, in *UserPath) (*list[UserApplication], error) {
		if _, err := a.Directory.User(ctx, by, in.ID); err != nil {
			return nil, err
		}
		apps, err := a.Apps.ApplicationsOfUser(ctx, by, in.ID)
		return all(apps, func(x app.UserApplication) UserApplication {
			return UserApplication{ID: x.ID, Label: x.Label, Via: each(x.Via, refGroup)}
		}, err)
	})
	a.importRoute()
}

// importInput is an import's file, read by the operation itself as it comes.
type importInput struct {
	Format         directory.ImportFormat `query:"format" enum:"csv,jsonl" doc:"Told by the content when missing."`
	DryRun         bool                   `query:"dryRun" doc:"Report what would happen and change nothing."`
	UpdateExisting bool                   `query:"updateExisting" doc:"Also change people who are there already, found by e-mail."`
	CreateGroups   bool                   `query:"createGroups" doc:"Create groups that rows name and that don't exist."`
	State          directory.State        `query:"state" enum:"staged,active,suspended" doc:"State of new people. Staged when missing."`
	Groups         []directory.GroupID    `query:"groups" doc:"Ids of groups that everybody becomes a member of, with commas between."`
	Rows           string                 `query:"rows" enum:"all,failed" doc:"Which rows the report lists. All when missing."`
	Source         string                 `query:"source" maxLength:"255" doc:"Name of the file, for the event."`

	body io.Reader
}

// Resolve serves huma.
func (in *importInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	// A large file takes longer than other bodies.
	_ = ctx.SetReadDeadline(time.Time{})
	return nil
}

func (a *API) importRoute() {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	route(a, operation{
		method: http.MethodPost, path: "/users/import", id: "import-users", tag: "users", summary: "Import people from a file",
		text: "CSV with a header row, or JSON Lines. Bad rows are reported and the others go on. Importing a file again changes nothing that is there already.",
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": text, "application/jsonl": text}},
	}, func(ctx context.Context, by access.Actor, in *importInput) (*answer[directory.ImportReport], error) {
		// Before a large file is read.
		if err := access.Allow(by, access.ManageDirectory); err != nil {
			return nil, err
		}
		rows, err := directory.ParseImport(in.body, in.Format)
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, refused(http.StatusRequestEntityTooLarge, nil)
		}
		if err != nil {
			return nil, err
		}
		report, err := a.Directory.Import(ctx, by, rows, directory.ImportOptions{
			DryRun: in.DryRun, UpdateExisting: in.UpdateExisting, CreateGroups: in.CreateGroups, State: in.State, Groups: in.Groups, Source: in.Source,
		})
		if err != nil {
			return nil, err
		}
		if in.Rows == "failed" {
			failed := []directory.RowReport{}
			for _, r := range report.Rows {
				if r.Outcome == directory.RowFailed {
					failed = append(failed, r)
				}
			}
			report.Rows = failed
		}
		return reply(report), nil
	})
}
