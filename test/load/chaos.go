package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func measureChaos(ctx context.Context, o options, r *report) (err error) {
	n := o.users
	if n == 0 {
		n = 3000
	}
	t, err := newTarget(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	w, err := newWorld(ctx, t, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	const kills = 6
	resumed, err := w.crashes(ctx, o, kills)
	if err != nil {
		return err
	}
	r.note("%d people and %d groups; killed %d times on the way; at the end everybody was there exactly once, in exactly the right groups", n, len(w.groups), kills)
	worst := quantile(resumed, 1)
	r.row(fmt.Sprintf("kill -9 %d times, worst time to the next request", kills), "", ms(worst), "", "≤ 5 s", worst <= 5*time.Second)
	t.mu.Lock()
	conflicts := t.conflicts
	t.mu.Unlock()
	r.row("created twice", "0", fmt.Sprint(conflicts), "", "0", conflicts == 0)
	// A crash must not make anything be sent again, once all is in sync.
	t.reset()
	for _, act := range []string{"pause", "resume"} {
		if err := w.api.call(ctx, "POST", w.provisioning()+"/"+act, "{}", nil); err != nil {
			return err
		}
	}
	if err := sleep(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	if err := w.settled(ctx, time.Minute); err != nil {
		return err
	}
	_, writes := t.requests()
	r.row("writes of a sweep afterwards", "0", fmt.Sprint(writes), "", "0", writes == 0)
	r.missing("faults of the network and of the target, and several replicas on PostgreSQL, are covered by the tests of provision, work and scim, and not by this program")
	return nil
}
