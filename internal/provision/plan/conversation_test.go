package plan_test

import (
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-idp/latchkey/internal/provision/plan"
	"github.com/latchkey-idp/latchkey/internal/scim"
	"github.com/latchkey-idp/latchkey/internal/scim/scimtest"
)

var update = flag.Bool("update", false, "write the golden files")

// story carries plans out over the wire and writes down what was sent.
type story struct {
	t      *testing.T
	target *scimtest.Target
	client *scim.Client
	a      plan.Abilities
	person plan.PersonState
	team   plan.TeamState
	text   strings.Builder
}

func (s *story) look(step plan.Step) []scim.Resource {
	s.t.Helper()
	if step.Kind == plan.Read {
		r, _, err := s.client.Get(s.t.Context(), step.On.Type, step.On.Remote)
		if scim.ClassOf(err) == scim.NotFound {
			return nil
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return []scim.Resource{r}
	}
	for _, m := range step.Match {
		hits, _, err := s.client.Find(s.t.Context(), step.On.Type, m.Filter())
		if err != nil {
			s.t.Fatal(err)
		}
		if len(hits) > 0 {
			return hits
		}
	}
	return nil
}

func (s *story) write(step plan.Step, remote string) (r scim.Resource) {
	s.t.Helper()
	if step.On.Remote != "" {
		remote = step.On.Remote
	}
	var err error
	switch step.Method {
	case http.MethodPost:
		r, _, err = s.client.Create(s.t.Context(), step.On.Type, step.Body)
	case http.MethodPut:
		r, _, err = s.client.Replace(s.t.Context(), step.On.Type, remote, step.Body)
	case http.MethodPatch:
		r, _, err = s.client.Patch(s.t.Context(), step.On.Type, remote, step.Patch())
	case http.MethodDelete:
		_, err = s.client.Delete(s.t.Context(), step.On.Type, remote)
	}
	if err != nil {
		s.t.Fatalf("%s: %v", sketch(step), err)
	}
	return r
}

// chapter plans person and team until nothing is left.
func (s *story) chapter(title string, p plan.Person, g plan.Team) {
	s.t.Helper()
	s.target.Forget()
	for round := 0; ; round++ {
		steps := plan.ForPerson(p, s.person, s.a)
		if len(steps) == 0 {
			break
		}
		if round > 4 {
			s.t.Fatalf("%s: still %v", title, sketches(steps))
		}
		for _, step := range steps {
			if !step.Writes() && step.Method != "" {
				s.person = s.person.Seen(s.look(step)...)
				continue
			}
			answer := s.write(step, s.person.Remote)
			s.person = s.person.After(step, answer)
			if step.On.Type == scim.Group {
				s.team = s.team.After(step, answer)
			}
		}
	}
	g.Members = slices.Clone(g.Members)
	for i := range g.Members {
		g.Members[i].Remote = s.person.Remote
	}
	for round := 0; ; round++ {
		steps := plan.ForTeam(g, s.team, s.a)
		if !slices.ContainsFunc(steps, plan.Step.Ready) {
			break
		}
		if round > 4 {
			s.t.Fatalf("%s: still %v", title, sketches(steps))
		}
		for _, step := range steps {
			switch {
			case !step.Ready():
			case !step.Writes() && step.Method != "":
				s.team = s.team.Seen(s.look(step)...)
			default:
				s.team = s.team.After(step, s.write(step, s.team.Remote))
			}
		}
	}
	if s.team.Linked && slices.Contains(s.team.Members, s.person.Remote) {
		s.person.Groups = []plan.Ref{{Type: scim.Group, ID: g.ID, Remote: s.team.Remote, Label: g.Name}}
	}
	s.text.WriteString("# " + title + "\n")
	for _, r := range s.target.Requests() {
		s.text.WriteString(r.String() + "\n")
	}
	s.text.WriteString("\n")
}

// A person's life at a target that behaves as Atlassian Cloud does. Every
// request is in the golden file; the target refuses what Atlassian refuses.
func TestLifeAtAtlassian(t *testing.T) {
	target := scimtest.New(scimtest.Atlassian())
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := scim.NewClient(scim.ClientConfig{
		BaseURL: target.Start(t), Token: scim.NewToken(scimtest.Token), UserAgent: "Latchkey/test",
		HTTP: &http.Client{Transport: transport, Timeout: 5 * time.Second}, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, target: target, client: client, a: atlassian()}
	team := plan.Team{ID: "g1", Name: "Research", Want: plan.Present, Members: []plan.Ref{{ID: "u1", Label: "Ada King"}}}
	empty := team
	empty.Members = nil

	s.chapter("a staged person and an empty group", plan.Person{ID: "u1", Want: plan.Leave}, empty)
	s.chapter("joins", ada(), team)
	s.chapter("nothing changes", ada(), team)
	title := func(d *scim.Desired) { d.Set("title", "Countess") }
	s.chapter("a title changes", ada(title), team)
	mail := func(d *scim.Desired) {
		title(d)
		d.Set(`emails[type eq "work"].value`, "al@example.com")
		d.Set("userName", "al@example.com")
	}
	s.chapter("the e-mail address changes", ada(mail), team)
	renamed := team
	renamed.Name = "Science"
	s.chapter("the group is renamed, which the target can't", ada(mail), renamed)
	s.chapter("leaves", gone(), empty)
	s.chapter("is away still", gone(), empty)
	s.chapter("comes back with another title", ada(mail, func(d *scim.Desired) { d.Set("title", "Duchess") }), team)
	deleted := empty
	deleted.Want = plan.Gone
	s.chapter("the group is deleted", ada(mail, func(d *scim.Desired) { d.Set("title", "Duchess") }), deleted)
	s.person = plan.PersonState{}
	s.chapter("all memory is lost: the account is adopted", ada(mail, func(d *scim.Desired) { d.Set("title", "Duchess") }), deleted)

	if n := len(target.Resources(scim.User)); n != 1 {
		t.Errorf("%d users at the target, want 1", n)
	}
	const file = "testdata/atlassian-life.txt"
	if *update {
		if err := os.WriteFile(file, []byte(s.text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), s.text.String()); d != "" {
		t.Error(d)
	}
}
