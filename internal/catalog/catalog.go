package catalog

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

//go:embed connectors/*.yaml
var builtin embed.FS

// Catalog is a set of connectors. It does not change after Load and is safe for concurrent
// use.
type Catalog struct {
	list     []*Connector // generic ones last, else by name
	byKey    map[string]*Connector
	terms    map[string]terms
	compiler *Compiler
}

// Builtin returns the connectors that come with the program.
func Builtin() (*Catalog, error) {
	sub, err := fs.Sub(builtin, "connectors")
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return Load(sub)
}

// Load reads every *.yaml file at the top of fsys. All files are checked: unknown keys,
// missing fields, patterns against their examples, placeholders, sources of claims. Faults
// are returned together, each as a *FileError with file, line and column. Expressions of
// mappings are compiled by Verify, not here.
func Load(fsys fs.FS) (*Catalog, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	c := &Catalog{byKey: map[string]*Connector{}, terms: map[string]terms{}, compiler: NewCompiler()}
	var faults faultList
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("catalog: %w", err)
		}
		con, err := Parse(name, data)
		if err != nil {
			faults.add(err)
			continue
		}
		if c.byKey[con.Key] != nil {
			faults.add(&FileError{File: name, Line: 1, Column: 1, Message: fmt.Sprintf("key %q is used by another file", con.Key)})
			continue
		}
		c.byKey[con.Key] = con
		c.list = append(c.list, con)
		c.terms[con.Key] = termsOf(con)
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	slices.SortFunc(c.list, func(a, b *Connector) int {
		if a.Generic != b.Generic {
			if b.Generic {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(fold(a.Name), fold(b.Name)), strings.Compare(a.Key, b.Key))
	})
	return c, nil
}

// All returns every connector: products by name, then the generic ones.
func (c *Catalog) All() []*Connector { return slices.Clone(c.list) }

// Get returns the connector of that key, or a NotFound error.
func (c *Catalog) Get(key string) (*Connector, error) {
	if con, ok := c.byKey[key]; ok {
		return con, nil
	}
	return nil, problem.New(problem.NotFound, "There is no connector %q in the catalogue.", key)
}

// Compiler returns the catalogue's compiler, shared so that programs are cached once.
func (c *Catalog) Compiler() *Compiler { return c.compiler }

// SCIMMapping merges and compiles the mapping of an application of that connector.
func (c *Catalog) SCIMMapping(key string, o MappingOverride) (*SCIMMapping, error) {
	con, err := c.Get(key)
	if err != nil {
		return nil, err
	}
	if con.SCIM == nil {
		return nil, problem.New(problem.Invalid, "%s has no provisioning.", con.Name)
	}
	rows, err := MergeSCIM(con.SCIM.Mapping, o)
	if err != nil {
		return nil, err
	}
	return c.compiler.CompileSCIM(rows)
}

// SAMLMapping merges and compiles the subject and attributes of an application of that
// connector.
func (c *Catalog) SAMLMapping(key string, o MappingOverride) (*SAMLMapping, error) {
	con, err := c.Get(key)
	if err != nil {
		return nil, err
	}
	if con.SAML == nil {
		return nil, problem.New(problem.Invalid, "%s has no SAML sign-on.", con.Name)
	}
	id, rows, err := MergeSAML(con.SAML, o)
	if err != nil {
		return nil, err
	}
	return c.compiler.CompileSAML(id, rows)
}

// Verify compiles the default mapping of every connector. It starts CEL if any of them uses
// an expression, so it is for tests and checks, not for the start.
func (c *Catalog) Verify() error {
	var faults faultList
	for _, con := range c.list {
		if con.SAML != nil {
			if _, err := c.SAMLMapping(con.Key, MappingOverride{}); err != nil {
				faults.add(fmt.Errorf("%s: saml: %w", con.Key, err))
			}
		}
		if con.SCIM != nil {
			if _, err := c.SCIMMapping(con.Key, MappingOverride{}); err != nil {
				faults.add(fmt.Errorf("%s: scim: %w", con.Key, err))
			}
		}
	}
	return faults.err()
}

// terms are a connector's words, folded for search.
type terms struct {
	name, key, description string
	aliases                []string
}

func termsOf(c *Connector) terms {
	t := terms{name: fold(c.Name), key: fold(c.Key), description: fold(c.Description + " " + string(c.Category))}
	for _, a := range c.Aliases {
		t.aliases = append(t.aliases, fold(a))
	}
	return t
}

// Search returns the connectors that match every word of the query, best first. Case,
// diacritics and punctuation do not count. An exact name, key or alias comes first, then a
// beginning, then the beginning of a word, then any part; a name counts more than an alias,
// and an alias more than the description. An empty query gives All.
func (c *Catalog) Search(query string) []*Connector {
	q := fold(query)
	if q == "" {
		return c.All()
	}
	type hit struct {
		con  *Connector
		rank int
	}
	var hits []hit
	for _, con := range c.list {
		t := c.terms[con.Key]
		rank := t.rank(q)
		if rank == 0 {
			// Not as a phrase; then each word for itself, ranked by the weakest.
			rank = 1000
			for w := range strings.FieldsSeq(q) {
				rank = min(rank, t.rank(w))
			}
			if rank > 0 {
				rank = max(1, rank-50)
			}
		}
		if rank > 0 {
			hits = append(hits, hit{con, rank})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.rank, a.rank) })
	out := make([]*Connector, len(hits))
	for i, h := range hits {
		out[i] = h.con
	}
	return out
}

// rank returns how well q matches, 0 for not at all.
func (t *terms) rank(q string) int {
	best := max(within(t.name, q)*10, within(t.key, q)*10-1)
	for _, a := range t.aliases {
		best = max(best, within(a, q)*10-2)
	}
	if wordPrefix(t.description, q) {
		best = max(best, 1)
	}
	return best
}

// within grades how q sits in s: 40 equal, 30 beginning, 20 beginning of a word, 10 inside.
func within(s, q string) int {
	switch {
	case s == q:
		return 40
	case strings.HasPrefix(s, q):
		return 30
	case wordPrefix(s, q):
		return 20
	case len(q) > 1 && strings.Contains(s, q):
		return 10
	default:
		return 0
	}
}

func wordPrefix(s, q string) bool {
	return strings.HasPrefix(s, q) || strings.Contains(s, " "+q)
}

// letters that Unicode does not take apart into a plain letter and a mark.
var plainLetters = strings.NewReplacer("ß", "ss", "ø", "o", "Ø", "O", "ł", "l", "Ł", "L", "đ", "d", "Đ", "D",
	"æ", "ae", "Æ", "Ae", "œ", "oe", "Œ", "Oe", "ı", "i", "þ", "th", "Þ", "Th")

// fold lowers s, drops diacritics, and makes each run of other signs one space.
func fold(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(plainLetters.Replace(strings.ToLower(s))) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if gap && b.Len() > 0 {
				b.WriteByte(' ')
			}
			gap = false
			b.WriteRune(unicode.ToLower(r))
		default:
			gap = true
		}
	}
	return b.String()
}
