package rehearsal_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/rehearsal"
)

// The administrator's side of the set-up, then a first user by SCIM.
func Example() {
	site, err := rehearsal.New(rehearsal.Config{Organization: "Acme"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer site.Close()
	server := httptest.NewServer(site.Handler())
	defer server.Close()
	site.SetBaseURL(server.URL)

	site.AddDomain("acme.example")
	site.VerifyDomain("acme.example")
	directory, _ := site.CreateDirectory("Latchkey")
	site.LinkDomain("acme.example", directory.ID)
	provisioning, _ := site.SetUpProvisioning(directory.ID)

	request, _ := http.NewRequest("POST", provisioning.BaseURL+"/Users", strings.NewReader(
		`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada","emails":[{"value":"ada@acme.example","primary":true}]}`))
	request.Header.Set("Authorization", "Bearer "+provisioning.APIKey)
	request.Header.Set("Content-Type", "application/scim+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	response.Body.Close()

	account, _ := site.Account("ada@acme.example")
	fmt.Println(response.Status, account.Managed, account.Active, account.Source)
	// Output: 201 Created true true scim
}
