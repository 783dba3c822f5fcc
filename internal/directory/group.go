package directory

import "time"

// GroupID identifies a group for ever.
type GroupID string

// Group is a named set of people.
type Group struct {
	ID GroupID
	GroupAttributes
	// Members is how many people are in it.
	Members   int
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// GroupAttributes are what an administrator edits of a group.
type GroupAttributes struct {
	// Name is unique without regard to case.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Attributes are inherited by the members (see Effective). A key is the name of a text
	// attribute of people ("department") or "custom.<key>".
	Attributes map[string]any `json:"attributes,omitempty"`
}

// NewGroup is what a group is created from.
type NewGroup struct {
	GroupAttributes
	Members []UserID
}

// GroupQuery narrows a list of groups; zero fields don't.
type GroupQuery struct {
	// Text is looked for in name and description, without case and accents.
	Text   string
	UserID UserID
	Cursor string
	// Limit is the size of a page, 50 when zero, at most 1000.
	Limit int
}
