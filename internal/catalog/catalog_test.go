package catalog

import "testing"

func builtinCatalog(tb testing.TB) *Catalog {
	tb.Helper()
	c, err := Builtin()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestBuiltinMappingsCompile(t *testing.T) {
	if err := builtinCatalog(t).Verify(); err != nil {
		t.Fatal(err)
	}
}
