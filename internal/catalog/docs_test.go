package catalog

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/connectors.md names every key that a connector file can hold.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/connectors.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	n := 0
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			f := f
			tag, inline := strings.CutSuffix(f.Tag.Get("yaml"), ",inline")
			if f.IsExported() && tag == "" && !inline {
				t.Errorf("%s.%s has no yaml key", typ.Name(), f.Name)
			}
			if tag != "" {
				n++
				if !strings.Contains(doc, "`"+tag+"`") && !strings.Contains(doc, "."+tag+"`") && !strings.Contains(doc, "`"+tag+".") {
					t.Errorf("%q of %s is not documented", tag, typ.Name())
				}
			}
			if f.IsExported() {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[Connector]())
	if n < 80 {
		t.Fatalf("only %d keys were found", n)
	}
	for name := range placeholders {
		if !strings.Contains(doc, "`{{."+name+"}}`") {
			t.Errorf("placeholder %s is not documented", name)
		}
	}
	for _, a := range Attributes() {
		if !strings.Contains(doc, "`"+a.Name+"`") {
			t.Errorf("attribute %s is not documented", a.Name)
		}
	}
}
