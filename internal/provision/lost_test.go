package provision_test

import (
	"testing"
	"time"

	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// A run that lost its lane while its create was on the way makes an account that the run after it couldn't see yet. The
// object is looked at once more, and not only when everything is compared.
func TestCreateOfALostRunIsNoticed(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		w.activate()
		w.settled()
		w.target.Fail(scimtest.Fault{Method: "POST", Path: "/Users", Times: 1, Delay: 1500 * time.Millisecond})
		ann := w.user("ann", w.group)
		sent := func() bool {
			for _, r := range w.target.Requests() {
				if r.Method == "POST" && r.Path == "/Users" {
					return true
				}
			}
			return false
		}
		for !sent() {
			time.Sleep(5 * time.Millisecond)
		}
		_, err := w.dir.Suspend(t.Context(), owner, ann)
		w.must(err)
		// As when the program stood still for longer than a lease lasts.
		w.must(db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE lanes SET fence = fence + 1, leased_until = 1 WHERE kind = 'provision.sync' AND key LIKE '%' || $1`, string(ann))
			return err
		}))
		time.Sleep(2 * time.Second)
		w.settled()
		w.expect("user ann inactive")
	})
}
