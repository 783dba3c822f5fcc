package catalog_test

import (
	"fmt"

	"github.com/latchkey-idp/latchkey/internal/catalog"
)

// An application of Atlassian Cloud whose administrator excluded the job title and composes
// the user name.
func Example() {
	cat, err := catalog.Builtin()
	if err != nil {
		fmt.Println(err)
		return
	}
	found := cat.Search("jira")[0]

	own, err := catalog.ParseOverride([]byte(`{"rows": [
		{"target": "title", "enabled": false},
		{"target": "userName", "source": {"expression": "user.email.split('@')[0]"}}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	mapping, err := cat.SCIMMapping(found.Key, own)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range mapping.Preview(&catalog.Person{
		ID: "u1", Username: "ada", Email: "ada.l@example.com", GivenName: "Ada", Title: "Analyst",
		State: catalog.StateActive, Groups: []string{"Engineering"},
	})[:7] {
		fmt.Printf("%s · %s", o.Row.Label, o.Action)
		if o.Action == catalog.Set {
			fmt.Printf(" %q", o.Value)
		}
		if o.Problem != "" {
			fmt.Printf("\n  %s", o.Problem)
		}
		fmt.Println()
	}
	// Output:
	// Work e-mail · set "ada.l@example.com"
	// User name · set "ada.l"
	// Given name · set "Ada"
	// Family name · clear
	//   Family name is required and this person has no family name: enter it, or give the mapping another source or a default.
	// Middle name · clear
	// Display name · set "Ada"
	// Job title · leave
}
