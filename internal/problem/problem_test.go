package problem

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestKindTravelsThroughWrapping(t *testing.T) {
	err := fmt.Errorf("update user: %w", Wrap(Conflict, io.EOF, "That e-mail is taken."))
	if KindOf(err) != Conflict || !errors.Is(err, io.EOF) {
		t.Fatalf("kind %v, chain %v", KindOf(err), err)
	}
	if Public(err) != "That e-mail is taken." {
		t.Fatalf("public text %q", Public(err))
	}
}

func TestUnclassifiedErrorTellsNothing(t *testing.T) {
	err := errors.New("pq: password authentication failed for user root")
	if KindOf(err) != Internal {
		t.Fatalf("kind %v", KindOf(err))
	}
	if strings.Contains(Public(err), "root") {
		t.Fatalf("public text leaks: %q", Public(err))
	}
}

func TestFieldsCollectAll(t *testing.T) {
	var f Fields
	if f.Err() != nil {
		t.Fatal("empty set must be nil")
	}
	f.Add("email", "Enter an e-mail address.")
	f.Add("username", "Enter a user name of at most %d characters.", 64)
	err := f.Err()
	if KindOf(err) != Invalid || len(FieldsOf(err)) != 2 || !f.Has("email") || f.Has("title") {
		t.Fatalf("got %v", err)
	}
}
