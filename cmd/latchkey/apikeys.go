package main

import (
	"context"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/server"
)

type apiKeysCmd struct {
	List   apiKeysListCmd   `cmd:"" help:"List API keys."`
	Create apiKeysCreateCmd `cmd:"" help:"Make an API key; it is shown once."`
	Revoke apiKeysRevokeCmd `cmd:"" help:"End API keys at once."`
}

// apiKeyView is an API key as JSON: in the API's form, with how it stands.
type apiKeyView struct {
	api.APIKey
	State string `json:"state"`
	// Secret is set when the key was just made.
	Secret string `json:"secret,omitempty"`
}

func viewAPIKey(k authn.APIKey, now time.Time) apiKeyView {
	state := "works"
	switch {
	case !k.RevokedAt.IsZero():
		state = "revoked"
	case !k.Works(now):
		state = "expired"
	}
	return apiKeyView{APIKey: api.APIKeyJSON(k), State: state}
}

type apiKeysListCmd struct {
	All bool `short:"a" help:"Also those that were revoked or have expired."`
	outputFlag
}

func (n apiKeysListCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		list, err := d.Authn.APIKeys(ctx, d.by)
		if err != nil {
			return err
		}
		views := []apiKeyView{}
		tb := newTable("NAME", "ROLE", "STATE", "CREATED", "ENDS", "LAST USED", "ID")
		for _, k := range list {
			v := viewAPIKey(k, d.Now())
			if v.State != "works" && !n.All {
				continue
			}
			views = append(views, v)
			state := cell{v.State, good}
			if v.State != "works" {
				state.tone = faint
			}
			tb.add(k.Name, k.Role, state, day(k.CreatedAt), firstOf(day(k.ExpiresAt), "never"), firstOf(moment(k.LastUsedAt), "never"), k.ID)
		}
		switch {
		case n.json():
			return d.printJSON(views)
		case len(views) == 0:
			return d.say("There is no API key that works.")
		}
		return tb.print(t)
	})
}

type apiKeysCreateCmd struct {
	Name    string      `arg:"" help:"What the key is for."`
	Role    access.Role `required:"" enum:"owner,administrator,help_desk,read_only" help:"owner, administrator, help_desk or read_only."`
	Expires string      `placeholder:"WHEN" help:"When it ends: a date, or 90d from now. Default: never."`
	outputFlag
}

func (n apiKeysCreateCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		expires, err := parseWhen("expires", n.Expires, d.Now(), false)
		if err != nil {
			return err
		}
		k, secret, err := d.Authn.CreateAPIKey(ctx, d.by, n.Name, n.Role, expires)
		if err != nil {
			return flagged(err, map[string]string{"name": "Name", "role": "--role", "expires": "--expires", "expiresAt": "--expires"})
		}
		if n.json() {
			v := viewAPIKey(k, d.Now())
			v.Secret = secret.Reveal()
			return d.printJSON(v)
		}
		return d.say("API key %s (shown this once):\n%s", visible(k.Name), secret.Reveal())
	})
}

type apiKeysRevokeCmd struct {
	Keys []string `arg:"" name:"key" help:"Names or ids."`
	outputFlag
}

func (n apiKeysRevokeCmd) Run(ctx context.Context, c *server.Config, t terminal) error {
	return at(ctx, c, t, func(d desk) error {
		list, err := d.Authn.APIKeys(ctx, d.by)
		if err != nil {
			return err
		}
		return each(t, n.Keys, func(ref string) error {
			k, err := findKey(list, ref, d.Now())
			if err != nil {
				return err
			}
			if err := d.Authn.RevokeAPIKey(ctx, d.by, k.ID); err != nil {
				return err
			}
			return d.done(n.outputFlag, removed{k.ID, true}, "API key %s doesn't work any more.", visible(k.Name))
		})
	})
}

// findKey finds a key by id, or by name among those that work.
func findKey(list []authn.APIKey, ref string, now time.Time) (authn.APIKey, error) {
	var named []authn.APIKey
	for _, k := range list {
		if k.ID == ref {
			return k, nil
		}
		if k.Name == ref && k.Works(now) {
			named = append(named, k)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return authn.APIKey{}, problem.New(problem.NotFound, "No API key that works has the name or id %q. `latchkey api-keys list --all` lists all.", ref)
	}
	return authn.APIKey{}, problem.New(problem.Conflict, "%s have the name %q: give the id of the one.", count(len(named), "key", "keys"), ref)
}
