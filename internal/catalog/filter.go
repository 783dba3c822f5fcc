package catalog

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/common/types"
)

// Filter decides by an expression over `user` whether a person belongs, e.g.
// `user.department == "Sales"`. It is safe for concurrent use.
type Filter struct{ prog *program }

// Filter compiles a filter. The same limits hold as for the expressions of a mapping; a faulty
// one, or one that can't give true or false, gives an *ExpressionError.
func (c *Compiler) Filter(expr string) (*Filter, error) {
	p, err := c.compile(expr)
	if err != nil {
		return nil, err
	}
	switch p.gives.Kind() {
	case types.BoolKind, types.DynKind, types.AnyKind:
		// What a custom attribute gives is known only for each person.
		return &Filter{p}, nil
	}
	return nil, &ExpressionError{Expression: expr, Line: 1, Column: 1, Message: fmt.Sprintf("gives %s; a filter must give true or false, for example user.department == \"Sales\"", p.gives)}
}

var errVerdict = errors.New("the filter must give true or false")

// Matches tells whether a person belongs. An error means that it can't be said for this person:
// an attribute that the expression takes for granted is missing, or it does too much work.
func (f *Filter) Matches(p *Person) (bool, error) {
	v, act, err := f.prog.eval(p)
	if err != nil {
		return false, err
	}
	truth, ok := v.(bool)
	if !ok || act != Set {
		return false, errVerdict
	}
	return truth, nil
}

// Reads returns the names of the attributes that the filter looks at, sorted. "custom" stands
// for any custom attribute.
func (f *Filter) Reads() []string { return append([]string(nil), f.prog.reads...) }
