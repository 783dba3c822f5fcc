package directory

import "github.com/latchkey-idp/latchkey/internal/problem"

// ImportFormat is how an import file is written.
type ImportFormat string

// The formats.
const (
	CSV   ImportFormat = "csv"
	JSONL ImportFormat = "jsonl"
)

// ImportRow is one person of an import.
type ImportRow struct {
	// Line is where the row begins in its file, from 1.
	Line int
	Attributes
	// Given names the attributes that the row sets. nil means all that aren't empty. It decides
	// what an update touches.
	Given []string
	// Manager is the manager's e-mail or user name, as an alternative to ManagerID.
	Manager string
	// Groups are names of groups that the person becomes a member of.
	Groups []string
	// State is that of ImportOptions when empty.
	State State
	// Err is what the parser found wrong with the row; the row is reported and not imported.
	Err error
}

// ImportOptions says how an import behaves.
type ImportOptions struct {
	// DryRun reports what would happen and changes nothing.
	DryRun bool
	// UpdateExisting also changes people who are there already (found by e-mail); else such a
	// row changes nothing.
	UpdateExisting bool
	// State is that of new people: Staged when empty.
	State State
	// Groups are those that everybody in the import becomes a member of.
	Groups []GroupID
	// CreateGroups creates groups that rows name and that don't exist; else such a row fails.
	CreateGroups bool
	// Source names where the rows come from, for the event: a file's name.
	Source string
	// Progress, if set, is called with the number of rows done so far.
	Progress func(done int)
}

// RowOutcome is what an import did with a row.
type RowOutcome string

// The outcomes.
const (
	RowCreated   RowOutcome = "created"
	RowUpdated   RowOutcome = "updated"
	RowUnchanged RowOutcome = "unchanged"
	RowFailed    RowOutcome = "failed"
)

// RowReport tells what an import did with one row.
type RowReport struct {
	Line int `json:"line"`
	// Email is that of the row.
	Email string `json:"email"`
	// UserID is the person's, unless the row failed or would create one in a dry run.
	UserID  UserID     `json:"userId,omitempty"`
	Outcome RowOutcome `json:"outcome"`
	// Detail is a sentence for people: why it failed, or what changed.
	Detail string          `json:"detail,omitempty"`
	Fields []problem.Field `json:"fields,omitempty"`
}

// ImportReport tells what an import did, or would do.
type ImportReport struct {
	// ID is that of the import; its events name it.
	ID        string `json:"id"`
	DryRun    bool   `json:"dryRun"`
	Created   int    `json:"created"`
	Updated   int    `json:"updated"`
	Unchanged int    `json:"unchanged"`
	Failed    int    `json:"failed"`
	// GroupsCreated are the names of groups that were created for rows.
	GroupsCreated []string `json:"groupsCreated,omitempty"`
	// Rows are in the order of the import.
	Rows []RowReport `json:"rows"`
}
