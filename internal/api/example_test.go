package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/latchkey-idp/latchkey/internal/api"
)

// installation stands in for a Latchkey that knows one person.
func installation() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/api/v1/users" {
			fmt.Fprint(w, `{"items":[{"id":"1","name":"Ada Lovelace","email":"ada@example.com","state":"active"}]}`)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"type":"urn:latchkey:problem:not_found","title":"Not Found","status":404,"detail":"There is no such person. They may have been deleted."}`)
	}))
}

func ExampleClient_Users() {
	server := installation()
	defer server.Close()
	c := &api.Client{URL: server.URL, Key: "lk_your_key"}
	for u, err := range c.Users(context.Background(), api.UserQuery{State: "active"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(u.Name, u.Email)
	}
	// Output: Ada Lovelace ada@example.com
}

func ExampleProblem() {
	server := installation()
	defer server.Close()
	c := &api.Client{URL: server.URL, Key: "lk_your_key"}
	_, err := c.User(context.Background(), "2")
	if p, ok := errors.AsType[*api.Problem](err); ok {
		fmt.Println(p.Status, p.Kind(), p.Detail)
	}
	// Output: 404 not_found There is no such person. They may have been deleted.
}
