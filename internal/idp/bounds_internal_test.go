package idp

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/app"
	"github.com/latchkey-idp/latchkey/internal/authn"
	"github.com/latchkey-idp/latchkey/internal/saml"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// A name that is empty is nobody's, also where the person has no name of that kind yet. (No request with one comes so far.)
func TestNameIDOfNobody(t *testing.T) {
	ann := saml.NameID{Value: "ann@example.org", Format: saml.NameIDEmailAddress}
	for _, format := range []string{"", saml.NameIDUnspecified, saml.NameIDEmailAddress, saml.NameIDPersistent, saml.NameIDTransient} {
		for _, known := range []names{{}, {pairwise: "AAAA"}, {sent: []string{""}}} {
			for _, mapped := range []saml.NameID{ann, {}} {
				if known.isAsked(saml.NameID{Format: format}, mapped) {
					t.Errorf("%q: an empty name is that of %+v, %+v", format, mapped, known)
				}
			}
		}
	}
	if !(&names{}).isAsked(saml.NameID{Value: "Ann@example.org"}, ann) {
		t.Error("her own name isn't hers")
	}
}

// A chain has bounds, whatever somebody did in a session.
func TestLogoutStepsAreBounded(t *testing.T) {
	name := func(s string) saml.NameID { return saml.NameID{Value: s, Format: saml.NameIDTransient} }
	var all []participation
	for i := range 15 { // newest first
		all = append(all, participation{index: fmt.Sprint("w", i), application: "wiki", label: "Wiki", name: name("w")})
	}
	all = append(all,
		participation{index: "s1", application: "shop", label: "Shop", name: name("new")},
		participation{index: "s2", application: "shop", label: "Shop", name: name("old")},
		participation{index: "s3", application: "shop", label: "Shop", name: name("new")},
	)
	steps := stepsOf(all, "")
	if len(steps) != 2 || len(steps[0].Indexes) != maxIndexes || steps[0].Indexes[0] != "w0" || steps[0].Indexes[maxIndexes-1] != "w9" {
		t.Errorf("the newest %d sign-ons are told: %+v", maxIndexes, steps)
	}
	if d := cmp.Diff(step{ApplicationID: "shop", Label: "Shop", Name: name("new"), Indexes: []string{"s1", "s3"}}, steps[1]); d != "" {
		t.Error(d)
	}
	if steps := stepsOf(all, "wiki"); len(steps) != 1 || steps[0].ApplicationID != "shop" {
		t.Errorf("who asked isn't asked: %+v", steps)
	}
	all = nil
	for i := range maxSteps + 5 {
		id := app.ID(fmt.Sprintf("a%02d", i))
		all = append(all, participation{index: "_" + string(id), application: id, label: string(id), name: name("n")})
	}
	steps = stepsOf(all, "")
	for i, s := range steps {
		if asked := i < maxSteps; asked != (s.Result == waiting) || asked != (len(s.Indexes) == 1) || asked != (s.Name.Value != "") || s.Label == "" {
			t.Errorf("application %d: %+v", i, s)
		}
	}
	if len(steps) != maxSteps+5 {
		t.Errorf("%d applications are named", len(steps))
	}
}

// A chain that would be too large to be kept leaves out the last, and names them.
func TestLogoutChainIsKept(t *testing.T) {
	db := storetest.SQLite(t)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	p := &IDP{limits: Limits{FlowLife: time.Hour}}
	c := &chain{}
	for i := range maxSteps {
		c.Steps = append(c.Steps, step{
			ApplicationID: app.ID(fmt.Sprint(i)), Label: strings.Repeat("L", 150), Name: saml.NameID{Value: strings.Repeat("n", 2000)}, Indexes: []string{"_1"},
		})
	}
	if raw, err := json.Marshal(c); err != nil || len(raw) < 64<<10 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	var kept *chain
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		path, err := p.startChain(tx, now, c)
		if err != nil {
			return err
		}
		token, err := url.QueryUnescape(strings.TrimPrefix(path, LogoutPath+"?flow="))
		if err != nil {
			return err
		}
		f, err := authn.FlowByID(tx, now, authn.FlowID(token))
		if err != nil {
			return err
		}
		var v viewToken
		if err := json.Unmarshal(f.Data, &v); err != nil {
			return err
		}
		kept, err = readChain(tx, now, v.Chain)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(kept)
	if err != nil || len(raw) > maxChain || len(raw) < maxChain/2 || len(kept.Steps) != maxSteps {
		t.Errorf("%d bytes of %d applications, %v", len(raw), len(kept.Steps), err)
	}
	if first, last := kept.Steps[0], kept.Steps[maxSteps-1]; first.Result != waiting || first.Name.Value == "" || last.Result != unable || last.Name.Value != "" || last.Label == "" {
		t.Errorf("first %+v, last %+v", first, last)
	}
	// A flow of another kind is no chain.
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		token, err := authn.StartFlow(tx, now, stepKind, stepToken{}, time.Hour)
		if err != nil {
			return err
		}
		if _, err := readChain(tx, now, authn.FlowID(token)); err == nil {
			t.Error("a step counts as a chain")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
