package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/provision"
)

// Client calls the API of an installation. Its methods return a *Problem when the installation
// refuses; other errors mean that there was no answer. Every POST carries an Idempotency-Key.
type Client struct {
	// URL is the installation's public URL, without a path.
	URL string
	// Key is an API key.
	Key string
	// HTTP carries the requests; nil means http.DefaultClient.
	HTTP *http.Client
	// UserAgent names the program.
	UserAgent string
}

// Do sends a request. path is below Prefix and may have a query. in, unless nil, is sent as JSON
// (an io.Reader as it is); the answer is decoded into out, unless nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	return c.do(ctx, method, path, in, out, nil)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any, header http.Header) error {
	var body io.Reader
	contentType := "application/json"
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body, contentType = v, "application/octet-stream"
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("api: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+Prefix+path, body)
	if err != nil {
		return fmt.Errorf("api: %s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	if method == http.MethodPost {
		req.Header.Set("Idempotency-Key", rand.Text())
	}
	maps.Copy(req.Header, header)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // nothing is written to it
	if res.StatusCode >= 400 {
		return problemOf(res)
	}
	if out == nil || res.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("api: %s %s: the answer can't be read: %w", method, path, err)
	}
	return nil
}

// problemOf reads an error answer. One that isn't a problem comes from something between us and
// the installation.
func problemOf(res *http.Response) error {
	const most = 1 << 20
	raw, err := io.ReadAll(io.LimitReader(res.Body, most))
	p := &Problem{}
	if err != nil || json.Unmarshal(raw, p) != nil || p.Status != res.StatusCode {
		return &Problem{
			Type: "about:blank", Title: http.StatusText(res.StatusCode), Status: res.StatusCode,
			Detail: fmt.Sprintf("The answer was %s, and it didn't come from Latchkey. Is the address right?", res.Status),
		}
	}
	return p
}

// pages yields the items of all pages of a list.
func pages[T any](ctx context.Context, c *Client, path string, q url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			var page List[T]
			if err := c.Do(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, x := range page.Items {
				if !yield(x, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Set("cursor", page.Next)
		}
	}
}

// query builds parameters; empty ones are left out.
func query(values map[string]string) url.Values {
	q := url.Values{}
	for name, v := range values {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func send[T any](ctx context.Context, c *Client, method, path string, in any) (T, error) {
	var out T
	err := c.Do(ctx, method, path, in, &out)
	return out, err
}

// patch sends a merge patch; version 0 means any.
func patch[T any](ctx context.Context, c *Client, path string, version int64, changes any) (T, error) {
	var out T
	h := http.Header{"Content-Type": {"application/merge-patch+json"}}
	if version != 0 {
		h.Set("If-Match", etag(version))
	}
	err := c.do(ctx, http.MethodPatch, path, changes, &out, h)
	return out, err
}

// Me returns who acts with the key.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return send[Me](ctx, c, http.MethodGet, "/me", nil)
}

// UserQuery narrows a list of people; empty fields don't. Limit is the size of a page.
type UserQuery struct {
	Text, State, Role, Group, Login string
	Limit                           int
}

// Users yields people, sorted by name.
func (c *Client) Users(ctx context.Context, q UserQuery) iter.Seq2[User, error] {
	return pages[User](ctx, c, "/users", query(map[string]string{"text": q.Text, "state": q.State, "role": q.Role, "group": q.Group, "login": q.Login, "limit": number(q.Limit)}))
}

// User returns one person.
func (c *Client) User(ctx context.Context, id string) (User, error) {
	return send[User](ctx, c, http.MethodGet, "/users/"+url.PathEscape(id), nil)
}

// CreateUser adds a person.
func (c *Client) CreateUser(ctx context.Context, n NewUser) (User, error) {
	return send[User](ctx, c, http.MethodPost, "/users", n)
}

// UpdateUser changes attributes by a merge patch. version is that of the person as read, 0 for
// any.
func (c *Client) UpdateUser(ctx context.Context, id string, version int64, changes map[string]any) (User, error) {
	return patch[User](ctx, c, "/users/"+url.PathEscape(id), version, changes)
}

// DeleteUser removes a person for good.
func (c *Client) DeleteUser(ctx context.Context, id string) error {
	return c.Do(ctx, http.MethodDelete, "/users/"+url.PathEscape(id), nil, nil)
}

// ActivateUser gives a staged person access.
func (c *Client) ActivateUser(ctx context.Context, id string) (User, error) {
	return send[User](ctx, c, http.MethodPost, "/users/"+url.PathEscape(id)+"/activate", nil)
}

// SuspendUser takes a person's access away.
func (c *Client) SuspendUser(ctx context.Context, id string) (User, error) {
	return send[User](ctx, c, http.MethodPost, "/users/"+url.PathEscape(id)+"/suspend", nil)
}

// UnsuspendUser ends a suspension.
func (c *Client) UnsuspendUser(ctx context.Context, id string) (User, error) {
	return send[User](ctx, c, http.MethodPost, "/users/"+url.PathEscape(id)+"/unsuspend", nil)
}

// ImportOptions says how an import behaves.
type ImportOptions struct {
	Format, State, Source                string
	DryRun, UpdateExisting, CreateGroups bool
	// OnlyFailed leaves the other rows out of the report.
	OnlyFailed bool
}

// ImportUsers creates and updates people by a file of CSV or JSON Lines.
func (c *Client) ImportUsers(ctx context.Context, file io.Reader, o ImportOptions) (directory.ImportReport, error) {
	rows := ""
	if o.OnlyFailed {
		rows = "failed"
	}
	q := query(map[string]string{"format": o.Format, "state": o.State, "source": o.Source, "dryRun": yes(o.DryRun), "updateExisting": yes(o.UpdateExisting), "createGroups": yes(o.CreateGroups), "rows": rows})
	return send[directory.ImportReport](ctx, c, http.MethodPost, "/users/import?"+q.Encode(), file)
}

// Groups yields groups, sorted by name.
func (c *Client) Groups(ctx context.Context, text string) iter.Seq2[Group, error] {
	return pages[Group](ctx, c, "/groups", query(map[string]string{"text": text}))
}

// Group returns one group.
func (c *Client) Group(ctx context.Context, id string) (Group, error) {
	return send[Group](ctx, c, http.MethodGet, "/groups/"+url.PathEscape(id), nil)
}

// CreateGroup adds a group.
func (c *Client) CreateGroup(ctx context.Context, n NewGroup) (Group, error) {
	return send[Group](ctx, c, http.MethodPost, "/groups", n)
}

// UpdateGroup changes a group by a merge patch.
func (c *Client) UpdateGroup(ctx context.Context, id string, version int64, changes map[string]any) (Group, error) {
	return patch[Group](ctx, c, "/groups/"+url.PathEscape(id), version, changes)
}

// DeleteGroup removes a group.
func (c *Client) DeleteGroup(ctx context.Context, id string) error {
	return c.Do(ctx, http.MethodDelete, "/groups/"+url.PathEscape(id), nil, nil)
}

// Members yields the people in a group, sorted by name.
func (c *Client) Members(ctx context.Context, id string) iter.Seq2[User, error] {
	return pages[User](ctx, c, "/groups/"+url.PathEscape(id)+"/members", url.Values{})
}

// ChangeMembers adds people to a group and takes others out.
func (c *Client) ChangeMembers(ctx context.Context, id string, m MembersChange) (MembersResult, error) {
	return send[MembersResult](ctx, c, http.MethodPost, "/groups/"+url.PathEscape(id)+"/members", m)
}

// Applications yields applications, sorted by label.
func (c *Client) Applications(ctx context.Context, text string) iter.Seq2[Application, error] {
	return pages[Application](ctx, c, "/applications", query(map[string]string{"text": text}))
}

// Application returns one application.
func (c *Client) Application(ctx context.Context, id string) (Application, error) {
	return send[Application](ctx, c, http.MethodGet, "/applications/"+url.PathEscape(id), nil)
}

// CreateApplication adds an application.
func (c *Client) CreateApplication(ctx context.Context, n NewApplication) (Application, error) {
	return send[Application](ctx, c, http.MethodPost, "/applications", n)
}

// UpdateSAML changes the sign-on settings by a merge patch.
func (c *Client) UpdateSAML(ctx context.Context, id string, version int64, changes map[string]any) (Application, error) {
	return patch[Application](ctx, c, "/applications/"+url.PathEscape(id)+"/saml", version, changes)
}

// UpdateSCIM changes the provisioning settings by a merge patch.
func (c *Client) UpdateSCIM(ctx context.Context, id string, version int64, changes map[string]any) (Application, error) {
	return patch[Application](ctx, c, "/applications/"+url.PathEscape(id)+"/scim", version, changes)
}

// SetToken sets or replaces the token of provisioning; expires may be zero.
func (c *Client) SetToken(ctx context.Context, id, token string, expires time.Time) (Application, error) {
	return send[Application](ctx, c, http.MethodPut, "/applications/"+url.PathEscape(id)+"/scim/token", TokenChange{Token: token, ExpiresAt: expires})
}

// ActivateSignOn activates sign-on to an application.
func (c *Client) ActivateSignOn(ctx context.Context, id string) (Application, error) {
	return send[Application](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/saml/activate", nil)
}

// Bind lets a group use an application.
func (c *Client) Bind(ctx context.Context, id, group string) error {
	return c.Do(ctx, http.MethodPut, "/applications/"+url.PathEscape(id)+"/groups/"+url.PathEscape(group), nil, nil)
}

// Unbind takes an application from a group.
func (c *Client) Unbind(ctx context.Context, id, group string) error {
	return c.Do(ctx, http.MethodDelete, "/applications/"+url.PathEscape(id)+"/groups/"+url.PathEscape(group), nil, nil)
}

// Provisioning tells how it stands with an application's provisioning.
func (c *Client) Provisioning(ctx context.Context, id string) (provision.Status, error) {
	return send[provision.Status](ctx, c, http.MethodGet, "/applications/"+url.PathEscape(id)+"/provisioning", nil)
}

// TestProvisioning tries the connection by reading only.
func (c *Client) TestProvisioning(ctx context.Context, id string) (provision.Probe, error) {
	return send[provision.Probe](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/test", nil)
}

// Plan returns what would be sent now.
func (c *Client) Plan(ctx context.Context, id string) (Plan, error) {
	return send[Plan](ctx, c, http.MethodGet, "/applications/"+url.PathEscape(id)+"/provisioning/plan", nil)
}

// PlanChange returns what a change would send, without making it.
func (c *Client) PlanChange(ctx context.Context, id string, change ProvisioningChange) (Plan, error) {
	return send[Plan](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/plan", PlanRequest{Change: &change})
}

// ApplyChange makes a change by the hash of its plan, which may be "" where nothing would be sent. A refusal is a
// *Problem with the plan of now.
func (c *Client) ApplyChange(ctx context.Context, id string, change ProvisioningChange, planHash string) (Application, error) {
	return send[Application](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/changes", ChangeRequest{Change: change, PlanHash: planHash})
}

// ActivateProvisioning begins provisioning; a plan's hash refuses a plan that has changed since.
func (c *Client) ActivateProvisioning(ctx context.Context, id, hash string) (provision.Status, error) {
	return send[provision.Status](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/activate", Activation{Hash: hash})
}

// DeactivateProvisioning ends provisioning and leaves everything there as it is.
func (c *Client) DeactivateProvisioning(ctx context.Context, id string) (provision.Status, error) {
	return send[provision.Status](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/deactivate", nil)
}

// PauseProvisioning keeps changes until ResumeProvisioning.
func (c *Client) PauseProvisioning(ctx context.Context, id, reason string) (provision.Status, error) {
	return send[provision.Status](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/pause", PauseReason{Reason: reason})
}

// ResumeProvisioning goes on after a pause or a stop.
func (c *Client) ResumeProvisioning(ctx context.Context, id string) (provision.Status, error) {
	return send[provision.Status](ctx, c, http.MethodPost, "/applications/"+url.PathEscape(id)+"/provisioning/resume", nil)
}

// EventQuery narrows a search of events; empty fields don't.
type EventQuery struct {
	Text, Type, Actor, ObjectKind, Object, Application, Outcome, Correlation string
	From, To                                                                 time.Time
	Limit                                                                    int
}

// Events yields events, newest first.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	return pages[Event](ctx, c, "/events", query(map[string]string{"text": q.Text, "type": q.Type, "actor": q.Actor, "objectKind": q.ObjectKind, "object": q.Object, "application": q.Application, "outcome": q.Outcome, "correlation": q.Correlation, "from": moment(q.From), "to": moment(q.To), "limit": number(q.Limit)}))
}
