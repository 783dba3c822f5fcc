// Package directory keeps people and groups. It hides how they are stored, checked and found,
// who may touch whom, and that every change is told to the events and to the outbox in the
// transaction that makes it.
//
//	staged ──Activate──▶ active ──Suspend──▶ suspended
//	                       ▲                     │
//	                       └─────Unsuspend───────┘        any of them ──DeleteUser──▶ gone
package directory

import (
	"time"

	"github.com/latchkey-idp/latchkey/internal/store"
)

// Directory reads and writes people and groups. It is safe for concurrent use.
type Directory struct {
	db  *store.DB
	now func() time.Time
}

// New returns the directory that db holds. now is the clock that changes are dated by.
func New(db *store.DB, now func() time.Time) *Directory {
	return &Directory{db: db, now: now}
}

// moment is now as it is stored, so that what is returned equals what is read later.
func (d *Directory) moment() time.Time { return d.now().UTC().Truncate(time.Microsecond) }
