package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

const maxPatch = 1 << 20

// MergePatch is the body of a PATCH: a JSON merge patch (RFC 7396).
type MergePatch struct {
	changes map[string]any
	read    bool
}

// Resolve reads the body; it serves huma.
func (p *MergePatch) Resolve(ctx huma.Context) []error {
	if p.read { // the framework asks once per level of embedding
		return nil
	}
	p.read = true
	if ct, _, _ := strings.Cut(ctx.Header("Content-Type"), ";"); ct != "" {
		switch strings.TrimSpace(strings.ToLower(ct)) {
		case "application/merge-patch+json", "application/json":
		default:
			return []error{refused(http.StatusUnsupportedMediaType, nil)}
		}
	}
	raw, err := io.ReadAll(io.LimitReader(ctx.BodyReader(), maxPatch+1))
	if _, large := errors.AsType[*http.MaxBytesError](err); large || len(raw) > maxPatch {
		return []error{refused(http.StatusRequestEntityTooLarge, nil)}
	}
	if err == nil {
		err = json.Unmarshal(raw, &p.changes)
	}
	if err != nil || p.changes == nil {
		return []error{refused(http.StatusBadRequest, nil)}
	}
	return nil
}

// apply changes dst, a pointer to a struct, by the patch.
func (p *MergePatch) apply(dst any) error {
	raw, err := json.Marshal(dst)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	if raw, err = json.Marshal(merge(doc, p.changes)); err != nil {
		return err
	}
	fresh := reflect.New(reflect.TypeOf(dst).Elem())
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(fresh.Interface()); err != nil {
		return patchError(err)
	}
	reflect.ValueOf(dst).Elem().Set(fresh.Elem())
	return nil
}

// merge is MergePatch of RFC 7396 §2.
func merge(target, patch map[string]any) map[string]any {
	if target == nil {
		target = map[string]any{}
	}
	for name, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(target, name)
		case map[string]any:
			inner, _ := target[name].(map[string]any)
			target[name] = merge(inner, v)
		default:
			target[name] = v
		}
	}
	return target
}

func patchError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return problem.InvalidField(jsonPath(e.Field), "This has to be %s.", kindWords(e.Type))
	}
	if _, name, ok := strings.Cut(err.Error(), `json: unknown field "`); ok {
		return problem.InvalidField(strings.TrimSuffix(name, `"`), "There is no such field.")
	}
	return problem.Wrap(problem.Invalid, err, "The change can't be understood.")
}

// jsonPath drops the names of embedded structs from a path: they aren't in the JSON.
func jsonPath(field string) string {
	parts := slices.DeleteFunc(strings.Split(field, "."), func(s string) bool { return s != "" && unicode.IsUpper(rune(s[0])) })
	return strings.Join(parts, ".")
}

func kindWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a number"
}

// patchBody describes the body of a PATCH of T.
func patchBody[T any](a *API) *huma.RequestBody {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return &huma.RequestBody{
		Required:    true,
		Description: "A JSON merge patch (RFC 7396): what is missing stays as it is, null clears.",
		Content: map[string]*huma.MediaType{
			"application/merge-patch+json": {Schema: schema},
			"application/json":             {Schema: schema},
		},
	}
}
