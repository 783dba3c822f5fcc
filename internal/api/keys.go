package api

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/authn"
)

// APIKey is a key of this API, without its secret.
type APIKey struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Role       access.Role `json:"role" enum:"owner,administrator,help_desk,read_only"`
	CreatedBy  string      `json:"createdBy,omitempty" doc:"Id of the actor who made it."`
	CreatedAt  time.Time   `json:"createdAt"`
	ExpiresAt  time.Time   `json:"expiresAt,omitzero"`
	LastUsedAt time.Time   `json:"lastUsedAt,omitzero" doc:"To the minute."`
	RevokedAt  time.Time   `json:"revokedAt,omitzero"`
}

func wireKey(k authn.APIKey) APIKey {
	return APIKey{
		ID: k.ID, Name: k.Name, Role: k.Role, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt,
		ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt, RevokedAt: k.RevokedAt,
	}
}

// NewAPIKey is what a key is created from.
type NewAPIKey struct {
	Name      string      `json:"name" doc:"Says what uses the key."`
	Role      access.Role `json:"role" enum:"owner,administrator,help_desk,read_only" doc:"No stronger than your own."`
	ExpiresAt time.Time   `json:"expiresAt,omitzero" doc:"Never when missing."`
}

// CreatedAPIKey is a new key with its secret, which is shown only here.
type CreatedAPIKey struct {
	APIKey
	Secret string `json:"secret" doc:"Shown only once."`
}

// Me is who acts with the key that was sent.
type Me struct {
	Kind        access.Kind         `json:"kind"`
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Role        access.Role         `json:"role"`
	Permissions []access.Permission `json:"permissions"`
}

func (a *API) keyRoutes() {
	route(a, operation{method: http.MethodGet, path: "/me", id: "get-me", tag: "api-keys", summary: "Read who you are and what you may do"},
		func(_ context.Context, by access.Actor, _ *struct{}) (*answer[Me], error) {
			me := Me{Kind: by.Kind, ID: by.ID, Name: by.Name, Role: by.Role, Permissions: []access.Permission{}}
			for _, p := range []access.Permission{
				access.ReadDirectory, access.ManageDirectory, access.SuspendUser, access.ResetSignIn, access.ReadApplications, access.ManageApplications,
				access.RunProvisioning, access.ReadEvents, access.ManageSettings, access.ManageRoles, access.ManageAPIKeys,
			} {
				if by.Role.Can(p) {
					me.Permissions = append(me.Permissions, p)
				}
			}
			return reply(me), nil
		})
	route(a, operation{method: http.MethodGet, path: "/api-keys", id: "list-api-keys", tag: "api-keys", summary: "List API keys", text: "Newest first, revoked ones included."},
		func(ctx context.Context, by access.Actor, _ *struct{}) (*list[APIKey], error) {
			list, err := a.Authn.APIKeys(ctx, by)
			return all(list, wireKey, err)
		})
	route(a, operation{
		method: http.MethodPost, path: "/api-keys", id: "create-api-key", tag: "api-keys", summary: "Create an API key", status: http.StatusCreated,
		text: "The answer holds the secret, which can't be read again.",
	}, func(ctx context.Context, by access.Actor, in *struct{ Body NewAPIKey }) (*answer[CreatedAPIKey], error) {
		k, secret, err := a.Authn.CreateAPIKey(ctx, by, in.Body.Name, in.Body.Role, in.Body.ExpiresAt)
		if err != nil {
			return nil, err
		}
		return reply(CreatedAPIKey{APIKey: wireKey(k), Secret: secret.Reveal()}), nil
	})
	route(a, operation{
		method: http.MethodDelete, path: "/api-keys/{id}", id: "revoke-api-key", tag: "api-keys", summary: "Revoke an API key", status: http.StatusNoContent,
	}, func(ctx context.Context, by access.Actor, in *struct {
		ID string `path:"id"`
	},
	) (*struct{}, error) {
		return nil, a.Authn.RevokeAPIKey(ctx, by, in.ID)
	})
}
