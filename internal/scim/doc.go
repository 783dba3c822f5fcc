// Package scim speaks SCIM 2.0 (RFC 7643, RFC 7644): it hides JSON shapes,
// attribute paths, filters, PATCH rules and the HTTP of a SCIM service provider
// behind plain values.
//
// The package knows nothing of Latchkey. A [Resource] is one JSON object with
// exact numbers and case-insensitive attribute names. A [Path] names a place in
// it, a [Filter] selects resources, a [PatchOp] changes one, and a [Client]
// carries them to a target and tells precisely what was said in an [Exchange]
// and what went wrong in a [CallError].
//
// A mapping fills a [Desired]: the values that an object should hold and the
// attributes that it should not hold; whatever is in neither is left alone.
package scim
