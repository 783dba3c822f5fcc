package catalog

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Limits of an expression. They are far above what a mapping needs and low enough that a
// hostile one costs about a millisecond.
const (
	// MaxExpression is the longest expression, in bytes.
	MaxExpression = 2048
	maxDepth      = 32
	maxNodes      = 2000
	maxCost       = 100_000
	maxRegexp     = 500
	// maxText is the longest text, and maxParts the longest list, that a function makes.
	maxText  = 64 << 10
	maxParts = 10_000
	// maxPrograms bounds the cache; a full cache is emptied.
	maxPrograms = 512
)

// ExpressionError says where and why an expression does not compile.
type ExpressionError struct {
	Expression string
	// Line and Column count from 1; Column counts characters.
	Line, Column int
	Message      string
}

// Error returns position and reason.
func (e *ExpressionError) Error() string {
	return fmt.Sprintf("expression, line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Compiler compiles mappings and keeps the programs of their expressions. CEL is started by
// the first expression, never before. It is safe for concurrent use.
type Compiler struct {
	env func() (*cel.Env, error)

	mu       sync.Mutex
	programs map[string]*program
}

// NewCompiler returns a compiler with an empty cache.
func NewCompiler() *Compiler {
	return &Compiler{env: sync.OnceValues(newEnv), programs: map[string]*program{}}
}

// program is a compiled expression.
type program struct {
	prog cel.Program
	// reads are the names of the attributes that the expression looks at, sorted.
	reads []string
	// gives is the type of its value.
	gives *cel.Type
}

func newEnv() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.OptionalTypes(),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserErrorRecoveryLimit(8),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexp),
		cel.Variable("user.custom", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("clear", cel.DynType),
		cel.Variable("leave", cel.DynType),
	}
	opts = append(opts, textFunctions()...)
	for _, a := range attributes {
		var t *cel.Type
		switch a.Kind {
		case KindString:
			t = cel.StringType
		case KindBool:
			t = cel.BoolType
		case KindStrings:
			t = cel.ListType(cel.StringType)
		default:
			t = cel.ListType(cel.MapType(cel.StringType, cel.DynType))
		}
		opts = append(opts, cel.Variable("user."+a.Name, t))
	}
	env, err := cel.NewCustomEnv(append([]cel.EnvOption{cel.StdLib()}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("catalog: start the expression language: %w", err)
	}
	return env, nil
}

// CheckExpression compiles an expression and returns the names of the attributes it reads. A
// faulty one gives an *ExpressionError.
func (c *Compiler) CheckExpression(expr string) (reads []string, err error) {
	p, err := c.compile(expr)
	if err != nil {
		return nil, err
	}
	return slices.Clone(p.reads), nil
}

func (c *Compiler) compile(expr string) (*program, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.programs[expr]; ok {
		return p, nil
	}
	if len(expr) > MaxExpression {
		return nil, &ExpressionError{Expression: expr, Line: 1, Column: 1, Message: fmt.Sprintf("longer than %d characters", MaxExpression)}
	}
	env, err := c.env()
	if err != nil {
		return nil, err
	}
	checked, iss := env.Compile(expr)
	if iss.Err() != nil {
		return nil, expressionError(expr, iss)
	}
	if t := checked.OutputType(); !holds(t) {
		return nil, &ExpressionError{Expression: expr, Line: 1, Column: 1, Message: fmt.Sprintf("gives %s; a mapping needs text, a number, true or false, or a list", t)}
	}
	prog, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(textCost{}), cel.CostLimit(maxCost))
	if err != nil {
		return nil, &ExpressionError{Expression: expr, Line: 1, Column: 1, Message: err.Error()}
	}
	p := &program{prog: prog, reads: readsOf(checked.NativeRep()), gives: checked.OutputType()}
	if len(c.programs) >= maxPrograms {
		clear(c.programs)
	}
	c.programs[expr] = p
	return p, nil
}

// expressionError takes the first issue and says it in the words of a mapping.
func expressionError(expr string, iss *cel.Issues) error {
	e := &ExpressionError{Expression: expr, Line: 1, Column: 1, Message: iss.Err().Error()}
	if list := iss.Errors(); len(list) > 0 {
		e.Message = list[0].Message
		if loc := list[0].Location; loc != nil && loc.Line() > 0 {
			e.Line, e.Column = loc.Line(), max(loc.Column()+1, 1)
		}
	}
	if strings.HasPrefix(e.Message, "Syntax error") {
		// The list of what could follow is long and means nothing to an administrator.
		e.Message, _, _ = strings.Cut(e.Message, " expecting ")
	}
	if rest, ok := strings.CutPrefix(e.Message, "undeclared reference to '"); ok {
		name, more, _ := strings.Cut(rest, "'")
		_, guess, _ := strings.Cut(more, "did you mean '")
		guess, _, _ = strings.Cut(guess, "'")
		said := e.Message
		switch {
		case name == "user" && unknownAttribute(expr, e) != "":
			e.Message = fmt.Sprintf("there is no attribute user.%s", unknownAttribute(expr, e))
			e.Column += len("user")
		case name == "user":
			e.Message = "user alone is no value; name one of its attributes, for example user.email"
		case strings.HasPrefix(name, "user."):
			e.Message = fmt.Sprintf("there is no attribute %s", name)
		case isAttribute(name):
			e.Message = fmt.Sprintf("%s is not known here; write user.%s", name, name)
		}
		if guess != "" && e.Message != said {
			e.Message += fmt.Sprintf(" (did you mean %s?)", guess)
		}
	}
	return e
}

// unknownAttribute returns the name behind "user." at the place of a fault.
func unknownAttribute(expr string, e *ExpressionError) string {
	lines := strings.Split(expr, "\n")
	if e.Line > len(lines) {
		return ""
	}
	line := []rune(lines[e.Line-1])
	rest, ok := strings.CutPrefix(string(line[min(e.Column-1, len(line)):]), "user.")
	if !ok {
		return ""
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(rest)
	}
	return rest[:end]
}

func isAttribute(name string) bool {
	return slices.ContainsFunc(attributes, func(a Attribute) bool { return a.Name == name })
}

// holds reports whether a value of that type can be a mapping's answer.
func holds(t *cel.Type) bool {
	switch t.Kind() {
	case types.StringKind, types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.DynKind,
		types.AnyKind, types.ListKind, types.NullTypeKind:
		return true
	case types.OpaqueKind:
		return t.TypeName() == "optional_type"
	default:
		return false
	}
}

// readsOf lists the attributes that an expression refers to. Custom ones count as "custom".
func readsOf(a *ast.AST) []string {
	var out []string
	for _, r := range a.ReferenceMap() {
		if name, ok := strings.CutPrefix(r.Name, "user."); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// verdict is a value that is no value: what `clear` and `leave` stand for in an expression.
type verdict Action

var verdictType = cel.OpaqueType("latchkey.verdict")

func (v verdict) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("clear and leave are no values of type %s", t)
}

func (v verdict) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("clear and leave can't be turned into %s", t.TypeName())
}

func (v verdict) Equal(o ref.Val) ref.Val {
	w, ok := o.(verdict)
	return types.Bool(ok && v == w)
}
func (v verdict) Type() ref.Type { return verdictType }
func (v verdict) Value() any     { return Action(v) }

// activation gives an expression the attributes of one person, each only when asked for.
type activation struct{ p *Person }

func (a activation) Parent() cel.Activation { return nil }

func (a activation) ResolveName(name string) (any, bool) {
	switch name {
	case "clear":
		return verdict(Clear), true
	case "leave":
		return verdict(Leave), true
	case "user.custom":
		if a.p.Custom == nil {
			return map[string]any{}, true
		}
		return a.p.Custom, true
	}
	field, ok := strings.CutPrefix(name, "user.")
	if !ok {
		return nil, false
	}
	for i := range attributes {
		if attributes[i].Name != field {
			continue
		}
		v := attributes[i].read(a.p)
		switch attributes[i].Kind {
		case KindString:
			if v == nil {
				return "", true
			}
		case KindStrings:
			if v == nil {
				return []string{}, true
			}
		case KindPhones:
			return phoneMaps(a.p.Phones), true
		case KindAddresses:
			return addressMaps(a.p.Addresses), true
		}
		return v, true
	}
	return nil, false
}

// eval runs the expression for a person. A value is as in plainValue, or a list of maps.
func (p *program) eval(person *Person) (any, Action, error) {
	out, _, err := p.prog.Eval(activation{person})
	if err != nil {
		return nil, Leave, evalError(err)
	}
	return fromCEL(out)
}

func evalError(err error) error {
	s := err.Error()
	switch {
	case strings.Contains(s, "cost limit exceeded"), strings.Contains(s, "memory limit exceeded"):
		return errors.New("the expression does too much work; make it simpler")
	case strings.Contains(s, "no such key"):
		return fmt.Errorf(`%s; for an attribute that not everybody has write user.custom[?"key"].orValue("")`, s)
	default:
		return err
	}
}

var errKind = errors.New("the expression must give text, a number, true or false, or a list of texts")

func fromCEL(v ref.Val) (any, Action, error) {
	if v, ok := v.(verdict); ok {
		return nil, Action(v), nil
	}
	if o, ok := v.(*types.Optional); ok {
		if !o.HasValue() {
			return nil, Set, nil
		}
		v = o.GetValue()
	}
	if l, ok := v.(traits.Lister); ok {
		return listFromCEL(l)
	}
	x, err := scalarFromCEL(v)
	if err != nil {
		return nil, Leave, err
	}
	return x, Set, nil
}

func scalarFromCEL(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.String:
		if v == "" {
			return nil, nil
		}
		if len(v) > maxText {
			return nil, errLong
		}
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return plainValue(uint64(v))
	case types.Double:
		return plainValue(float64(v))
	case types.Null:
		return nil, nil
	default:
		return nil, errKind
	}
}

func listFromCEL(l traits.Lister) (any, Action, error) {
	var texts []string
	var maps []map[string]any
	for it := l.Iterator(); it.HasNext() == types.True; {
		e := it.Next()
		if m, ok := e.(traits.Mapper); ok {
			out := map[string]any{}
			for k := m.Iterator(); k.HasNext() == types.True; {
				key := k.Next()
				name, ok := key.(types.String)
				if !ok {
					return nil, Leave, errKind
				}
				x, err := scalarFromCEL(m.Get(key))
				if err != nil {
					return nil, Leave, err
				}
				if x != nil {
					out[string(name)] = x
				}
			}
			if len(out) > 0 {
				maps = append(maps, out)
			}
			continue
		}
		x, err := scalarFromCEL(e)
		if err != nil {
			return nil, Leave, err
		}
		switch x := x.(type) {
		case nil:
		case string:
			texts = append(texts, x)
		default:
			texts = append(texts, fmt.Sprint(x))
		}
	}
	switch {
	case len(texts) > 0 && len(maps) > 0:
		return nil, Leave, errKind
	case len(maps) > 0:
		return maps, Set, nil
	case len(texts) > 0:
		return texts, Set, nil
	default:
		return nil, Set, nil
	}
}

// phoneMaps gives numbers as SCIM's sub-attributes (RFC 7643 §4.1.2).
func phoneMaps(list []Phone) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, p := range list {
		if p.Value == "" {
			continue
		}
		m := map[string]any{"value": p.Value}
		if p.Type != "" {
			m["type"] = p.Type
		}
		if p.Primary {
			m["primary"] = true
		}
		out = append(out, m)
	}
	return out
}

func addressMaps(list []Address) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, a := range list {
		m := map[string]any{}
		for k, v := range map[string]string{
			"type": a.Type, "streetAddress": a.Street, "locality": a.Locality,
			"region": a.Region, "postalCode": a.PostalCode, "country": a.Country,
		} {
			if v != "" {
				m[k] = v
			}
		}
		if len(m) == 0 {
			continue
		}
		if a.Primary {
			m["primary"] = true
		}
		out = append(out, m)
	}
	return out
}
