package provision

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/work"
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

// Explanation tells all about one person at one application.
type Explanation struct {
	// Want is what should be: present, gone or leave; Why says because of what.
	Want plan.Want         `json:"want"`
	Why  string            `json:"why"`
	Via  []directory.Group `json:"via"`
	// Link is what is remembered; its zero value if nothing is.
	Link Link `json:"link"`
	// Missing are required attributes without a value.
	Missing []string `json:"missing"`
	// Waiting is the lane's state; nil when nothing is to be sent.
	Waiting *work.State `json:"waiting"`
	// Since is when the person's account was last as it should be.
	Since time.Time `json:"since,omitzero"`
}

// Explain tells why a person has, or hasn't, an account at an application, and what is to be
// sent. Needs ReadApplications.
func (e *Engine) Explain(ctx context.Context, by access.Actor, id app.ID, user directory.UserID) (Explanation, error) {
	var x Explanation
	if err := access.Allow(by, access.ReadApplications); err != nil {
		return x, err
	}
	t, err := e.target(ctx, id)
	if err != nil {
		return x, err
	}
	if t.mapping == nil {
		return x, problem.New(problem.Invalid, "%s can't be provisioned by SCIM.", t.app.Label)
	}
	err = e.DB.View(ctx, func(tx *store.Tx) error {
		p, err := loadPerson(tx, t, user)
		if err != nil {
			return err
		}
		x = Explanation{Want: p.want.Want, Why: p.why, Via: p.via, Link: p.link, Missing: p.want.Attributes.Missing, Since: p.link.SyncedAt}
		states, err := work.States(tx, e.Now(), work.Filter{Kind: laneSync, Key: object{id, scim.User, string(user)}.key()})
		if len(states) > 0 {
			x.Waiting = &states[0]
		}
		return err
	})
	return x, err
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
