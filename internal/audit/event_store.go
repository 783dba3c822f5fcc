package audit

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

const columns = `id, at, type, outcome, actor_kind, actor_id, actor_name, address, correlation,
	object_kind, object_id, object_name, application_id, cause, message, changes, detail`

// width is how many parameters an event takes.
const width = 18

// together is how many events one statement takes. Several spare PostgreSQL's round trips; SQLite looks each parameter
// up by name among those before it, so they are few all the same.
const together = 8

// inserts are the statements for one event, two, and so on.
var inserts = func() (out [together]string) {
	text := `INSERT INTO events (` + columns + `, search_key) VALUES `
	for i := range out {
		if i > 0 {
			text += ", "
		}
		text += "(" + store.Placeholders(1+i*width, width) + ")"
		out[i] = text
	}
	return out
}()

// insert writes events.
func insert(tx *store.Tx, events ...Event) error {
	for part := range slices.Chunk(events, together) {
		args := make([]any, 0, width*len(part))
		for i := range part {
			e := &part[i]
			changes, err := json.Marshal(e.Changes)
			if err != nil {
				return err
			}
			detail, err := json.Marshal(e.Detail)
			if err != nil {
				return err
			}
			search := store.Fold(strings.Join([]string{string(e.Type), e.Actor.Name, e.Object.Name, e.Message, e.Actor.Address}, " "))
			args = append(args, e.ID, store.Micros(e.At), string(e.Type), string(e.Outcome), string(e.Actor.Kind), e.Actor.ID, e.Actor.Name,
				e.Actor.Address, e.Actor.Correlation, e.Object.Kind, e.Object.ID, e.Object.Name, e.ApplicationID, e.Cause,
				e.Message, string(changes), string(detail), search)
		}
		if _, err := tx.Exec(inserts[len(part)-1], args...); err != nil {
			return err
		}
	}
	return nil
}

func scan(r store.Row) (Event, error) {
	var e Event
	var at int64
	var changes, detail string
	err := r.Scan(&e.ID, &at, &e.Type, &e.Outcome, &e.Actor.Kind, &e.Actor.ID, &e.Actor.Name, &e.Actor.Address,
		&e.Actor.Correlation, &e.Object.Kind, &e.Object.ID, &e.Object.Name, &e.ApplicationID, &e.Cause, &e.Message, &changes, &detail)
	if err != nil {
		return e, err
	}
	e.At = store.FromMicros(at)
	if err := json.Unmarshal([]byte(changes), &e.Changes); err != nil {
		return e, err
	}
	return e, json.Unmarshal([]byte(detail), &e.Detail)
}

// Log reads events.
type Log struct{ db *store.DB }

// NewLog returns a reader of the events in db.
func NewLog(db *store.DB) *Log { return &Log{db: db} }

// Query narrows a search; zero fields don't.
type Query struct {
	Types         []Type
	ActorID       string
	Object        Ref // Kind and ID; Name isn't compared
	ApplicationID string
	Outcome       Outcome
	// Text is looked for in type, names, message and address, without case and accents.
	Text        string
	Correlation string
	Cause       string
	From, To    time.Time
	Cursor      string
	Limit       int // default 50
}

// Search returns the matching events, newest first. Needs ReadEvents.
func (l *Log) Search(ctx context.Context, by access.Actor, q Query) (store.Page[Event], error) {
	var page store.Page[Event]
	if err := access.Allow(by, access.ReadEvents); err != nil {
		return page, err
	}
	cursor, err := store.DecodeCursor(q.Cursor, 1)
	if err != nil {
		return page, err
	}
	var where []string
	var args []any
	add := func(cond string, v any) {
		args = append(args, v)
		where = append(where, strings.ReplaceAll(cond, "?", "$"+strconv.Itoa(len(args))))
	}
	if len(q.Types) > 0 {
		from := len(args) + 1
		for _, t := range q.Types {
			args = append(args, string(t))
		}
		where = append(where, "type IN ("+store.Placeholders(from, len(q.Types))+")")
	}
	if q.ActorID != "" {
		add("actor_id = ?", q.ActorID)
	}
	if q.Object.Kind != "" {
		add("object_kind = ?", q.Object.Kind)
	}
	if q.Object.Kind != "" && q.Object.Kind != KindApplication && q.Object.ID != "" {
		where = append(where, "object_kind <> '"+KindApplication+"'") // as the index has it
	}
	if q.Object.ID != "" {
		add("object_id = ?", q.Object.ID)
	}
	if q.Object.Kind == KindApplication && q.ApplicationID == "" {
		// What is about an application belongs to it: that index serves both, and applications have no other.
		q.ApplicationID = q.Object.ID
	}
	if q.ApplicationID != "" {
		add("application_id = ?", q.ApplicationID)
	}
	if q.Outcome != "" {
		add("outcome = ?", string(q.Outcome))
	}
	if q.Correlation != "" {
		add("correlation = ?", q.Correlation)
	}
	if q.Cause != "" {
		add("cause = ?", q.Cause)
	}
	if !q.From.IsZero() {
		add("at >= ?", store.Micros(q.From))
	}
	if !q.To.IsZero() {
		add("at < ?", store.Micros(q.To))
	}
	if text := store.Fold(q.Text); text != "" {
		add(`search_key LIKE ? ESCAPE '\'`, store.LikePattern(text))
	}
	if cursor != nil {
		add("id < ?", cursor[0])
	}
	query := `SELECT ` + columns + ` FROM events`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, " AND ")
	}
	limit := store.PageLimit(q.Limit, 50)
	args = append(args, limit+1)
	query += ` ORDER BY id DESC LIMIT $` + strconv.Itoa(len(args))
	page.Total = -1
	err = l.db.View(ctx, func(tx *store.Tx) error {
		page.Items, err = store.All(tx, scan, query, args...)
		return err
	})
	if err != nil {
		return page, err
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = store.EncodeCursor(page.Items[limit-1].ID)
	}
	return page, nil
}

// Get returns one event. Needs ReadEvents.
func (l *Log) Get(ctx context.Context, by access.Actor, id string) (Event, error) {
	var e Event
	if err := access.Allow(by, access.ReadEvents); err != nil {
		return e, err
	}
	err := l.db.View(ctx, func(tx *store.Tx) (err error) {
		e, err = store.One(tx, scan, `SELECT `+columns+` FROM events WHERE id = $1`, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return e, problem.New(problem.NotFound, "There is no such event. It may have been removed by the retention setting.")
	}
	return e, err
}
