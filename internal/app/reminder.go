package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/catalog"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// reminderDays are how long before an end there is a reminder, the most urgent first; 0 is the end itself.
var reminderDays = []int{0, 1, 7, 14, 30, 60}

// step returns the most urgent reminder that an end calls for at a time; false if it is far away. Fourteen days is for
// tokens: whoever makes them at the other side is often somebody else, who has to be asked.
func step(kind string, end, now time.Time) (int, bool) {
	for _, days := range reminderDays {
		if days == 14 && kind != endsToken {
			continue
		}
		if !now.Before(end.Add(-time.Duration(days) * 24 * time.Hour)) {
			return days, true
		}
	}
	return 0, false
}

// ending is something of an application that ends.
type ending struct {
	// kind and object name it for ever.
	kind, object string
	ends         time.Time
	app          Application
	event        audit.Type
	// what is "The signing certificate", todo a sentence for the administrator.
	what, todo string
}

// The kinds.
const (
	endsCertificate   = "certificate"
	endsSPCertificate = "sp_certificate"
	endsToken         = "token"
)

// title is "Atlassian: the signing certificate ends in 7 days".
func (e ending) title(now time.Time) string {
	return e.app.Label + ": " + strings.ToLower(e.what[:1]) + e.what[1:] + " " + endsIn(e.ends, now)
}

// sentences tell it whole.
func (e ending) sentences(now time.Time) string {
	return fmt.Sprintf("%s of %s %s. %s", e.what, e.app.Label, endsInOn(e.ends, now), e.todo)
}

// daysLeft rounds to the nearest day: the reminder of 60 days says 60, whenever in the hour it is given.
func daysLeft(end, now time.Time) int {
	const day = 24 * time.Hour
	return int(max(end.Sub(now)+day/2, 0) / day)
}

func endsIn(end, now time.Time) string {
	switch days := daysLeft(end, now); {
	case !now.Before(end):
		return "has ended"
	case end.Sub(now) < 24*time.Hour:
		return "ends in less than a day"
	case days == 1:
		return "ends in 1 day"
	default:
		return fmt.Sprintf("ends in %d days", days)
	}
}

func endsInOn(end, now time.Time) string {
	on := end.UTC().Format("2 January 2006")
	if !now.Before(end) {
		return "ended on " + on
	}
	return endsIn(end, now) + ", on " + on
}

// RunReminders gives the reminders that are due: 60, 30, 7 and 1 days before a signing certificate or a service provider's
// certificate ends, 60, 30, 14, 7 and 1 days before a provisioning token does, and once it has. Each is an event, and mail to the active owners and
// administrators, once over all replicas. Of several that are due for the same end only the most urgent is given.
func (a *Applications) RunReminders(ctx context.Context) error {
	now := a.now().UTC()
	var all []ending
	if err := a.db.View(ctx, func(tx *store.Tx) (err error) {
		all, err = a.endings(tx, now)
		return err
	}); err != nil {
		return fmt.Errorf("app: what ends soon: %w", err)
	}
	const together = 100
	by := access.SystemActor(store.NewID())
	for part := range slices.Chunk(all, together) {
		if err := a.db.Update(ctx, func(tx *store.Tx) error { return a.remind(tx, now, by, part) }); err != nil {
			return fmt.Errorf("app: remind: %w", err)
		}
	}
	return nil
}

// endings returns what a reminder is due for, given or not, the most urgent first.
func (a *Applications) endings(tx *store.Tx, now time.Time) ([]ending, error) {
	apps, err := listApplications(tx, "")
	if err != nil {
		return nil, err
	}
	var out []ending
	add := func(e ending) {
		if _, due := step(e.kind, e.ends, now); due {
			out = append(out, e)
		}
	}
	for _, app := range apps {
		con, err := a.catalog.Get(app.Connector)
		if err != nil {
			con = &catalog.Connector{Name: app.Label} // no longer in the catalogue; what ends does so all the same
		}
		if app.SAML.Offered {
			pairs, err := a.pairs.List(tx, string(app.ID))
			if err != nil {
				return nil, err
			}
			if e, ok := endingPair(app, con, pairs, now); ok {
				add(e)
			}
			watched, err := watchedAt(tx, app.ID)
			if err != nil {
				return nil, err
			}
			for _, e := range endingTheirs(app, watched) {
				add(e)
			}
		}
		if app.SCIM.TokenSet && !app.SCIM.TokenExpiresAt.IsZero() {
			add(ending{
				kind: endsToken, object: string(app.ID), ends: app.SCIM.TokenExpiresAt, app: app, event: audit.TokenExpires,
				what: "The provisioning token",
				todo: fmt.Sprintf("Make a new token at %s, and replace it on the provisioning page: nothing is sent there without a valid one.", con.Name),
			})
		}
	}
	slices.SortStableFunc(out, func(x, y ending) int { return x.ends.Compare(y.ends) })
	return out, nil
}

// endingPair is the pair that signs.
func endingPair(app Application, con *catalog.Connector, pairs []keys.Pair, now time.Time) (ending, bool) {
	var current, next *keys.Pair
	for i := range pairs {
		switch pairs[i].Status {
		case keys.Current:
			current = &pairs[i]
		case keys.Next:
			next = &pairs[i]
		case keys.Previous:
		}
	}
	if current == nil {
		return ending{}, false
	}
	oneSlot := con.SAML != nil && con.SAML.Certificates.Slots == 1
	var todo string
	switch prepared := next != nil && now.Before(next.NotAfter); {
	case prepared && oneSlot:
		todo = fmt.Sprintf("The next one is prepared. %s holds only one: put it in there and switch here at the same moment.", con.Name)
	case prepared:
		todo = fmt.Sprintf("The next one is prepared. Give it to %s, then switch to it.", con.Name)
	case oneSlot:
		todo = fmt.Sprintf("Prepare the next one on the sign-on page. %s holds only one, so choose a moment to put it in there and switch here.", con.Name)
	default:
		todo = fmt.Sprintf("Prepare the next one on the sign-on page, give it to %s beside this one, then switch to it.", con.Name)
	}
	return ending{
		kind: endsCertificate, object: current.ID, ends: current.NotAfter, app: app, event: audit.CertificateExpires,
		what: "The signing certificate", todo: todo,
	}, true
}

// endingTheirs are the service provider's certificates.
func endingTheirs(app Application, watched string) []ending {
	var out []ending
	add := func(text, what string) {
		cert, err := keys.ParseCertificate(text)
		if err != nil {
			return
		}
		sum := sha256.Sum256(cert.Raw)
		todo := "Its key is used all the same, but many products stop using it themselves: ask for the new certificate, or take the new metadata."
		if watched != "" {
			todo = "Its metadata is watched: a new certificate is proposed as soon as it is published at " + watched + "."
		}
		out = append(out, ending{
			kind: endsSPCertificate, object: string(app.ID) + "/" + hex.EncodeToString(sum[:]), ends: cert.NotAfter, app: app,
			event: audit.CertificateExpires, what: what, todo: todo,
		})
	}
	for _, text := range app.SAML.SPCertificates {
		add(text, "A certificate of the service provider")
	}
	if text := app.SAML.EncryptionCertificate; text != "" && !slices.Contains(app.SAML.SPCertificates, text) {
		add(text, "The encryption certificate of the service provider")
	}
	return out
}

// remind records what nobody was reminded of yet, and queues mail about it.
func (a *Applications) remind(tx *store.Tx, now time.Time, by access.Actor, all []ending) error {
	var fresh []ending
	cause := ""
	for _, e := range all {
		days, due := step(e.kind, e.ends, now)
		if !due {
			continue
		}
		first, err := claimReminder(tx, e, days, now)
		if err != nil {
			return err
		}
		if !first {
			continue
		}
		ev := event(by, e.app, e.event, e.sentences(now))
		if days == 0 {
			ev.Outcome = audit.Failure
		}
		ev.Detail = map[string]any{
			"kind": e.kind, "endsAt": e.ends.UTC().Format(time.RFC3339), "daysLeft": daysLeft(e.ends, now), "reminder": days, "todo": e.todo,
		}
		id, err := audit.Record(tx, now, ev)
		if err != nil {
			return err
		}
		cause = cmp.Or(cause, id)
		fresh = append(fresh, e)
	}
	if len(fresh) == 0 || !a.mailer.Configured() {
		return nil
	}
	to, err := responsible(tx)
	if err != nil {
		return err
	}
	m := a.reminderMail(fresh, now)
	m.Cause = cause
	for _, m.To = range to {
		if _, err := a.mailer.Queue(tx, now, m); err != nil && !problem.Is(err, problem.Invalid) { // an address that takes no mail
			return err
		}
	}
	return nil
}

// reminderMail tells all in one mail: applications that were set up together end together.
func (a *Applications) reminderMail(all []ending, now time.Time) mail.Mail {
	m := mail.Mail{Kind: "reminder", Subject: all[0].title(now)}
	if len(all) > 1 {
		m.Subject = fmt.Sprintf("%s, and %d more", m.Subject, len(all)-1)
	}
	if r := []rune(m.Subject); len(r) > 150 {
		m.Subject = string(r[:149]) + "…"
	}
	var b strings.Builder
	for _, e := range all {
		b.WriteString(e.sentences(now) + "\n" + a.publicURL + "/console/applications/" + string(e.app.ID) + "\n\n")
	}
	b.WriteString("You get this mail as an owner or administrator of Latchkey.")
	m.Text = b.String()
	return m
}

// claimReminder reports whether nobody gave this reminder, or a more urgent one of the same end, before.
func claimReminder(tx *store.Tx, e ending, days int, now time.Time) (bool, error) {
	given, err := store.One(tx, store.Scalar[int], `SELECT count(*) FROM reminders WHERE kind = $1 AND object_id = $2 AND ends_at = $3 AND days <= $4`,
		e.kind, e.object, store.Micros(e.ends), days)
	if err != nil || given > 0 {
		return false, err
	}
	n, err := tx.Exec(`INSERT INTO reminders (kind, object_id, ends_at, days, given_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		e.kind, e.object, store.Micros(e.ends), days, store.Micros(now))
	return n == 1, err
}

// responsible returns the addresses of the active owners and administrators.
func responsible(tx *store.Tx) ([]string, error) {
	return store.All(tx, store.Scalar[string], `SELECT email FROM users WHERE role IN ($1, $2) AND state = 'active' AND email <> '' ORDER BY email`,
		string(access.Owner), string(access.Administrator))
}

// watchedAt returns where an application's metadata is watched; "" if it isn't.
func watchedAt(tx *store.Tx, id ID) (string, error) {
	urls, err := store.All(tx, store.Scalar[string], `SELECT url FROM metadata_sources WHERE application_id = $1`, string(id))
	if err != nil || len(urls) == 0 {
		return "", err
	}
	return urls[0], nil
}
