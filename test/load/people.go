package main

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/server"
)

const (
	domain   = "load.example"
	password = "measure-twice-cut-once"
)

// seeded is what a furnished installation holds that a measure needs to know.
type seeded struct {
	by     access.Actor
	owner  directory.UserID
	apiKey string
	groups []directory.GroupID
	// id is the application that was made.
	id app.ID
}

// seedOwner creates the owner and an API key.
func seedOwner(ctx context.Context, h *server.House) (*seeded, error) {
	u, err := h.Authn.CreateOwner(ctx, authn.Owner{
		Email: "owner@" + domain, Username: "owner", GivenName: "Olive", FamilyName: "Owner", Password: password, Organization: "Load",
	})
	if err != nil {
		return nil, err
	}
	s := &seeded{by: access.Actor{Kind: access.Person, ID: string(u.ID), Name: u.Email, Role: access.Owner, Correlation: "load"}, owner: u.ID}
	_, secret, err := h.Authn.CreateAPIKey(ctx, s.by, "load", access.Owner, time.Now().Add(24*time.Hour))
	s.apiKey = secret.Reveal()
	return s, err
}

func login(i int) string { return fmt.Sprintf("person-%06d", i) }

func teamName(i int) string { return fmt.Sprintf("Team %05d", i) }

// seedPeople imports the active people from one number to before another, each hundred of them in a group of their own.
func seedPeople(ctx context.Context, h *server.House, s *seeded, from, to int) error {
	titles := []string{"Engineer", "Designer", "Accountant", "Nurse", "Teacher", "Driver", "Editor"}
	n := to - from
	rows := make([]directory.ImportRow, n)
	for row := range rows {
		i := from + row
		at := directory.Attributes{Username: login(i), Email: login(i) + "@" + domain}
		at.GivenName, at.FamilyName = fmt.Sprintf("Given%d", i%997), fmt.Sprintf("Family%d", i%4999)
		at.Title, at.Department, at.EmployeeID = titles[i%len(titles)], fmt.Sprintf("Department %d", i%40), fmt.Sprintf("E%06d", i)
		at.TimeZone, at.PreferredLanguage = "Europe/Amsterdam", "en"
		rows[row] = directory.ImportRow{Line: row + 1, Attributes: at, Groups: []string{teamName(i / 100)}}
	}
	report, err := h.Directory.Import(ctx, s.by, rows, directory.ImportOptions{State: directory.Active, CreateGroups: true, Source: "load"})
	if err != nil {
		return err
	}
	if report.Created != n {
		return fmt.Errorf("%d of %d people were imported", report.Created, n)
	}
	for cursor := ""; ; {
		page, err := h.Directory.ListGroups(ctx, s.by, directory.GroupQuery{Cursor: cursor, Limit: 1000})
		if err != nil {
			return err
		}
		for _, g := range page.Items {
			s.groups = append(s.groups, g.ID)
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// seedProvisioning makes an application that is provisioned at base, with all groups bound.
// Nothing is sent before it is activated.
func seedProvisioning(ctx context.Context, h *server.House, s *seeded, base string, rate float64) error {
	a, err := h.Apps.Create(ctx, s.by, app.NewApplication{Connector: "custom-scim", Attributes: app.Attributes{Label: "Target"}})
	if err != nil {
		return err
	}
	s.id = a.ID
	if _, err := h.Apps.SaveSCIM(ctx, s.by, a.ID, func(c *app.SCIMSettings) error {
		c.BaseURL, c.ManageGroups, c.RatePerSecond, c.Burst, c.Concurrency = base, true, rate, int(rate), 8
		return nil
	}); err != nil {
		return err
	}
	if _, err := h.Apps.SetSCIMToken(ctx, s.by, a.ID, keys.Secret(targetToken), time.Time{}); err != nil {
		return err
	}
	for _, g := range s.groups {
		if err := h.Apps.Bind(ctx, s.by, a.ID, g); err != nil {
			return err
		}
	}
	return nil
}
