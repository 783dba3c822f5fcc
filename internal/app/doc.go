// Package app keeps applications: instances of connectors with their sign-on (SAML) and provisioning (SCIM)
// integrations, and the groups bound to them. It hides how an application is stored, what makes an integration complete,
// and how entitlement follows from bindings: nobody has access to an application but the active members of its bound
// groups.
//
// An integration's status:
//
//	Off ──(something entered)──▶ Incomplete ──(nothing missing)──▶ Off ──activate──▶ Active ◀──resume/pause──▶ Paused
//	                                                                ▲                  │ ╲
//	                                                                └────deactivate────┘  ▶ Stopped (the target refuses us)
//
// Incomplete is worked out from what is entered and never stored, so it can't be wrong.
//
// Functions that take a *store.Tx run inside a transaction of the caller and check no permission: they serve packages
// above (idp, provision), which act for the system or for a person whose entitlement they check. Methods that take a
// context and an actor are what administrators do: they allow, validate, write in one transaction, and record events.
package app
