package api

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
)

// Event is one thing that happened.
type Event struct {
	ID            string         `json:"id"`
	At            time.Time      `json:"at"`
	Type          audit.Type     `json:"type"`
	Outcome       audit.Outcome  `json:"outcome" enum:"success,failure,denied"`
	Actor         EventActor     `json:"actor"`
	Object        audit.Ref      `json:"object"`
	ApplicationID string         `json:"applicationId,omitempty"`
	Cause         string         `json:"cause,omitempty" doc:"Id of the event that this one follows from."`
	Correlation   string         `json:"correlation,omitempty" doc:"Ties together all that one request caused: its request id."`
	Message       string         `json:"message" doc:"One sentence for people."`
	Changes       []audit.Change `json:"changes" doc:"Old and new values, by attribute."`
	Detail        map[string]any `json:"detail,omitempty"`
}

// EventActor is who did it.
type EventActor struct {
	Kind    access.Kind `json:"kind" enum:"person,api_key,system"`
	ID      string      `json:"id,omitempty"`
	Name    string      `json:"name"`
	Address string      `json:"address,omitempty"`
}

func wireEvent(e audit.Event) Event {
	return Event{
		ID: e.ID, At: e.At, Type: e.Type, Outcome: e.Outcome,
		Actor:  EventActor{Kind: e.Actor.Kind, ID: e.Actor.ID, Name: e.Actor.Name, Address: e.Actor.Address},
		Object: e.Object, ApplicationID: e.ApplicationID, Cause: e.Cause, Correlation: e.Actor.Correlation,
		Message: e.Message, Changes: orEmpty(e.Changes), Detail: e.Detail,
	}
}

func (a *API) eventRoutes() {
	route(a, operation{method: http.MethodGet, path: "/events", id: "list-events", tag: "events", summary: "Search events", text: "Newest first."},
		func(ctx context.Context, by access.Actor, in *struct {
			Paging
			Text        string        `query:"text" doc:"Looked for in type, names, message and address."`
			Types       []audit.Type  `query:"type" doc:"Types, with commas between."`
			Actor       string        `query:"actor" doc:"Id of the actor."`
			ObjectKind  string        `query:"objectKind" doc:"user, group, application, session, api_key, settings or import."`
			Object      string        `query:"object" doc:"Id of the object."`
			Application string        `query:"application" doc:"Id of the application."`
			Outcome     audit.Outcome `query:"outcome" enum:"success,failure,denied"`
			Correlation string        `query:"correlation" doc:"Request id."`
			Cause       string        `query:"cause" doc:"Id of the event that they follow from."`
			From        time.Time     `query:"from" doc:"Not before (RFC 3339)."`
			To          time.Time     `query:"to" doc:"Before (RFC 3339)."`
		},
		) (*list[Event], error) {
			p, err := a.Log.Search(ctx, by, audit.Query{
				Types: in.Types, ActorID: in.Actor, Object: audit.Ref{Kind: in.ObjectKind, ID: in.Object}, ApplicationID: in.Application, Outcome: in.Outcome,
				Text: in.Text, Correlation: in.Correlation, Cause: in.Cause, From: in.From, To: in.To, Cursor: in.Cursor, Limit: in.Limit,
			})
			return page(p, wireEvent, err)
		})
	route(a, operation{method: http.MethodGet, path: "/events/{id}", id: "get-event", tag: "events", summary: "Read an event"},
		func(ctx context.Context, by access.Actor, in *struct {
			ID string `path:"id"`
		},
		) (*answer[Event], error) {
			e, err := a.Log.Get(ctx, by, in.ID)
			if err != nil {
				return nil, err
			}
			return reply(wireEvent(e)), nil
		})
}
