// Package catalog knows the products that Latchkey connects to. It hides where that knowledge
// comes from (strict YAML files, one per product, embedded in the program) and how a person's
// attributes become what a product expects (the mapping language).
//
// A Connector says what a product is and does: its SAML facts, its SCIM facts, the default
// attribute mapping, and the set-up guide shown beside the form. Adding a product is adding a
// file under connectors/; docs/connectors.md lists the fields.
//
// A mapping is a list of rows, each with a target (a SCIM path or a SAML attribute name) and
// one source (an attribute, a constant, or a CEL expression). An application stores a
// MappingOverride on top of its connector's rows. A Compiler turns the merged rows into a
// SCIMMapping or SAMLMapping; for a Person each row answers value, clear or leave alone.
//
//	connector's rows ─┐
//	                  ├─ Merge ─ Compile ─ Apply(person) ─→ Desired | Claims
//	application's own ┘                 └─ Preview(person) ─→ one Outcome per row
//
// Compiled mappings are pure: the same person gives the same answer, and nothing is read from
// a clock, a database or the network.
package catalog
