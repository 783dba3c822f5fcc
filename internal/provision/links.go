package provision

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
)

func groupID(id string) directory.GroupID { return directory.GroupID(id) }

// LinkQuery narrows a list of links; zero fields don't.
type LinkQuery struct {
	Kind   scim.ResourceType
	Status LinkStatus
	// Text is looked for in names, without case.
	Text   string
	Cursor string
	Limit  int // default 50
}

// Links lists what is remembered of an application's objects, by name. Needs ReadApplications.
func (e *Engine) Links(ctx context.Context, by access.Actor, id app.ID, q LinkQuery) (store.Page[Link], error) {
	page := store.Page[Link]{Total: -1}
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 2)
	if err != nil {
		return page, err
	}
	where := []string{"application_id = $1"}
	args := []any{string(id)}
	add := func(cond string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(cond, "?", "$"+strconv.Itoa(len(args))))
	}
	if q.Kind != "" {
		add("object_kind = ?", kindName(q.Kind))
	}
	if q.Status != "" {
		add("status = ?", string(q.Status))
	}
	if text := strings.TrimSpace(q.Text); text != "" {
		add(`lower(object_name) LIKE ? ESCAPE '\'`, store.LikePattern(strings.ToLower(text)))
	}
	if cursor != nil {
		args = append(args, cursor[0], cursor[1])
		where = append(where, "(object_name, object_id) > ($"+strconv.Itoa(len(args)-1)+", $"+strconv.Itoa(len(args))+")")
	}
	limit := store.PageLimit(q.Limit, 50)
	args = append(args, limit+1)
	err = e.DB.View(ctx, func(tx *store.Tx) (err error) {
		page.Items, err = store.All(tx, scanLink, `SELECT `+linkColumns+` FROM links WHERE `+strings.Join(where, " AND ")+
			` ORDER BY object_name, object_id LIMIT $`+strconv.Itoa(len(args)), args...)
		return err
	})
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.Next = store.EncodeCursor(last.Name, last.ObjectID)
	}
	return page, err
}

// LinksOf lists the links of one object at all applications. Needs ReadApplications.
func (e *Engine) LinksOf(ctx context.Context, by access.Actor, kind scim.ResourceType, objectID string) (links []Link, err error) {
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return nil, err
	}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		links, err = store.All(tx, scanLink, `SELECT `+linkColumns+` FROM links WHERE object_kind = $1 AND object_id = $2 ORDER BY application_id`,
			kindName(kind), objectID)
		return err
	})
	return links, err
}

var errNoImport = problem.New(problem.NotFound, "There is no such import. Begin a new one.")

func notFound(err, instead error) error {
	if errors.Is(err, store.ErrNotFound) {
		return instead
	}
	return err
}
