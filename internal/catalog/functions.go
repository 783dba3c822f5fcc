package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"golang.org/x/text/unicode/norm"
)

// The text functions of the mapping language. CEL's own extension is not used: it computes a
// result before it counts what that cost, so that two nested replace calls can fill the
// memory. These refuse a result that is too long before making it. Names and meaning are
// those of CEL's extension where it has them; positions count characters, not bytes.

var errLong = fmt.Errorf("the text grows longer than %d characters", maxText)

// textFunction is one member function of a text.
type textFunction struct {
	name string
	// args are the types after the text itself, gives the result's.
	args  []*cel.Type
	gives *cel.Type
	call  func(s string, args []ref.Val) (any, error)
}

func textFunctions() []cel.EnvOption {
	str, num, list := cel.StringType, cel.IntType, cel.ListType(cel.StringType)
	fns := []textFunction{
		{"lowerAscii", nil, str, func(s string, _ []ref.Val) (any, error) { return mapASCII(s, 'A', 'Z'), nil }},
		{"upperAscii", nil, str, func(s string, _ []ref.Val) (any, error) { return mapASCII(s, 'a', 'z'), nil }},
		{"lower", nil, str, func(s string, _ []ref.Val) (any, error) { return strings.ToLower(s), nil }},
		{"upper", nil, str, func(s string, _ []ref.Val) (any, error) { return strings.ToUpper(s), nil }},
		{"trim", nil, str, func(s string, _ []ref.Val) (any, error) { return strings.TrimSpace(s), nil }},
		{"plain", nil, str, func(s string, _ []ref.Val) (any, error) { return plain(s), nil }},
		{"replace", []*cel.Type{str, str}, str, func(s string, a []ref.Val) (any, error) {
			return replace(s, word(a[0]), word(a[1]), -1)
		}},
		{"replace", []*cel.Type{str, str, num}, str, func(s string, a []ref.Val) (any, error) {
			return replace(s, word(a[0]), word(a[1]), number(a[2]))
		}},
		{"split", []*cel.Type{str}, list, func(s string, a []ref.Val) (any, error) { return split(s, word(a[0]), -1) }},
		{"split", []*cel.Type{str, num}, list, func(s string, a []ref.Val) (any, error) {
			return split(s, word(a[0]), number(a[1]))
		}},
		{"indexOf", []*cel.Type{str}, num, func(s string, a []ref.Val) (any, error) {
			return runeIndex(s, strings.Index(s, word(a[0]))), nil
		}},
		{"lastIndexOf", []*cel.Type{str}, num, func(s string, a []ref.Val) (any, error) {
			return runeIndex(s, strings.LastIndex(s, word(a[0]))), nil
		}},
		{"charAt", []*cel.Type{num}, str, func(s string, a []ref.Val) (any, error) {
			return substring(s, number(a[0]), number(a[0])+1)
		}},
		{"substring", []*cel.Type{num}, str, func(s string, a []ref.Val) (any, error) {
			return substring(s, number(a[0]), max(number(a[0]), utf8.RuneCountInString(s)))
		}},
		{"substring", []*cel.Type{num, num}, str, func(s string, a []ref.Val) (any, error) {
			return substring(s, number(a[0]), number(a[1]))
		}},
	}
	opts := make([]cel.EnvOption, 0, len(fns)+2)
	for _, f := range fns {
		opts = append(opts, cel.Function(f.name, cel.MemberOverload(
			fmt.Sprintf("text_%s_%d", f.name, len(f.args)), append([]*cel.Type{str}, f.args...), f.gives,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				out, err := f.call(word(args[0]), args[1:])
				return answer(out, err)
			}))))
	}
	for i, extra := range [][]*cel.Type{nil, {str}} {
		opts = append(opts, cel.Function("join", cel.MemberOverload(
			fmt.Sprintf("texts_join_%d", i), append([]*cel.Type{list}, extra...), str,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				sep := ""
				if len(args) > 1 {
					sep = word(args[1])
				}
				out, err := join(args[0], sep)
				return answer(out, err)
			}))))
	}
	return opts
}

// textCost counts what the text functions cost: one unit for ten bytes read or written, as CEL
// counts for its own.
type textCost struct{}

// CallCost returns nil for functions that are not ours.
func (textCost) CallCost(_, overload string, args []ref.Val, result ref.Val) *uint64 {
	if !strings.HasPrefix(overload, "text_") && !strings.HasPrefix(overload, "texts_") {
		return nil
	}
	cost := uint64(1)
	for _, v := range append(slices.Clip(args), result) {
		switch v := v.(type) {
		case types.String:
			cost += uint64(len(v)) / 10
		case traits.Sizer:
			if n, ok := v.Size().(types.Int); ok {
				cost += uint64(n)
			}
		}
	}
	return &cost
}

func answer(v any, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// word and number read arguments whose types the checker has settled. An argument of type
// dyn is settled at run time by CEL's choice of overload.
func word(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

func number(v ref.Val) int {
	n, _ := v.(types.Int)
	return int(max(min(n, 1<<30), -1<<30))
}

// mapASCII flips the case of the letters from…to.
func mapASCII(s string, from, to byte) string {
	b := []byte(s)
	for i, c := range b {
		if from <= c && c <= to {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// plain drops diacritics and keeps case: "Zoë Łuk" gives "Zoe Luk".
func plain(s string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(plainLetters.Replace(s)) {
		if !unicode.Is(unicode.Mn, r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func replace(s, old, with string, n int) (string, error) {
	hits := strings.Count(s, old)
	if n >= 0 {
		hits = min(hits, n)
	}
	if len(s)+hits*(len(with)-len(old)) > maxText {
		return "", errLong
	}
	return strings.Replace(s, old, with, n), nil
}

func split(s, sep string, n int) ([]string, error) {
	if n < 0 && strings.Count(s, sep) >= maxParts {
		return nil, fmt.Errorf("the text splits into more than %d parts", maxParts)
	}
	if n > maxParts {
		n = maxParts
	}
	out := strings.SplitN(s, sep, n)
	if out == nil {
		out = []string{}
	}
	return out, nil
}

func join(v ref.Val, sep string) (string, error) {
	l, ok := v.(traits.Lister)
	if !ok {
		return "", errors.New("join needs a list of texts")
	}
	var b strings.Builder
	for it := l.Iterator(); it.HasNext() == types.True; {
		s, ok := it.Next().(types.String)
		if !ok {
			return "", errors.New("join needs a list of texts")
		}
		if b.Len()+len(sep)+len(s) > maxText {
			return "", errLong
		}
		if b.Len() > 0 {
			b.WriteString(sep)
		}
		b.WriteString(string(s))
	}
	return b.String(), nil
}

// runeIndex turns a byte offset into a count of characters; -1 stays.
func runeIndex(s string, i int) int {
	if i < 0 {
		return -1
	}
	return utf8.RuneCountInString(s[:i])
}

// substring cuts characters from…to. Unlike CEL's extension it takes what there is instead of
// failing when the text is shorter: a mapping runs for people of every shape.
func substring(s string, from, to int) (string, error) {
	if from < 0 || to < from {
		return "", fmt.Errorf("substring from %d to %d makes no sense", from, to)
	}
	start, n := len(s), 0
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			return s[start:i], nil
		}
		n++
	}
	return s[start:], nil
}
