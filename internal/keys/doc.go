// Package keys hides secrets: how they are sealed at rest under the master key, how they are kept out of logs, and how an
// application's signing key pair is made, stored, used and rolled over.
//
// A pair's life:
//
//	Store(Next) ── Switch ──► current ── Switch ──► previous ── Switch ──► gone
//	    ▲                        ▲                     │
//	    └───────────── Back ─────┴─────── Back ────────┘
//
// Making an RSA key takes long, so it is done outside of transactions (GenerateMaterial, ParseMaterial) and only the
// storing (Store) within.
package keys
