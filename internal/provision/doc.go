// Package provision keeps the accounts inside applications true. It hides how a change in the
// directory becomes requests at a target: which applications it concerns, what should be there,
// what is there, in which order requests go, and what to do when one fails.
//
// What should be at a target is always computed from the directory, the bindings and the
// mapping of now; what is there is remembered in links, one for each application and object,
// and read again when in doubt. The difference is decided by package plan. Events only make it
// fast: a sweep looks at everything from time to time, so a lost event can't make it wrong.
//
//	change ─▶ outbox ─▶ dispatch ─▶ lane (application, object) ─▶ worker:
//	                                  desired × link ─plan─▶ step ─▶ request ─▶ answer
//	                                     ▲                                        │
//	                                     └── link, event: one transaction ◀───────┘
//
// A link:
//
//	unknown ──look-up──▶ absent ──create──▶ remembered (linked) ──▶ …
//	                 └─▶ remembered ──adopt──┘      │ answer lost
//	                                                ▼
//	                                             doubtful ──read or look-up──▶ …
//
// Somebody who loses access has a receipt, which only reading their account back closes; see
// receipt.go.
package provision
