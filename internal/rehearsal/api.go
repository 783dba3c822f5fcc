package rehearsal

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// mountAPI registers the control API: the methods of Site as JSON over HTTP, for scripts in other processes.
// It knows no credential and answers only to loopback (see guard).
func (s *Site) mountAPI(mux *http.ServeMux) {
	const root = "/rehearsal/api"
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+root+path, s.guard(func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				writeJSON(w, statusOf(err), map[string]string{"error": publicText(err)})
				return
			}
			if v == nil {
				v = struct{}{}
			}
			writeJSON(w, http.StatusOK, v)
		}))
	}

	handle("GET /organization", func(*http.Request) (any, error) { return s.Organization(), nil })
	handle("PUT /organization", func(r *http.Request) (any, error) {
		org := s.Organization()
		in := struct {
			Name  *string
			Guard *bool
		}{&org.Name, &org.Guard}
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		if err := s.SetOrganization(org.Name, org.Guard); err != nil {
			return nil, err
		}
		return s.Organization(), nil
	})

	handle("GET /domains", func(*http.Request) (any, error) { return s.Domains(), nil })
	handle("POST /domains", func(r *http.Request) (any, error) {
		var in struct{ Name string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.AddDomain(in.Name)
	})
	handle("POST /domains/{name}/verify", func(r *http.Request) (any, error) {
		return nil, s.VerifyDomain(r.PathValue("name"))
	})
	handle("POST /domains/{name}/claim", func(r *http.Request) (any, error) {
		var in struct{ Automatic, Accounts bool }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		if err := s.ClaimDomain(r.PathValue("name"), in.Automatic); err != nil || !in.Accounts {
			return nil, err
		}
		return nil, s.ClaimAccounts(r.PathValue("name"))
	})
	handle("POST /domains/{name}/link", func(r *http.Request) (any, error) {
		var in struct{ Directory string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.LinkDomain(r.PathValue("name"), in.Directory)
	})

	handle("GET /directories", func(*http.Request) (any, error) { return s.Directories(), nil })
	handle("POST /directories", func(r *http.Request) (any, error) {
		var in struct{ Name string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.CreateDirectory(in.Name)
	})
	handle("GET /directories/{id}", func(r *http.Request) (any, error) { return s.Directory(r.PathValue("id")) })
	handle("PUT /directories/{id}/saml", func(r *http.Request) (any, error) {
		var in IdPSettings
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.SetSAML(r.PathValue("id"), in)
	})
	handle("POST /directories/{id}/provisioning", func(r *http.Request) (any, error) {
		return s.SetUpProvisioning(r.PathValue("id"))
	})
	handle("POST /directories/{id}/provisioning/key", func(r *http.Request) (any, error) {
		return s.RegenerateKey(r.PathValue("id"))
	})
	handle("PUT /directories/{id}/provisioning/expiry", func(r *http.Request) (any, error) {
		var in struct{ In span }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.SetKeyExpiry(r.PathValue("id"), s.now().Add(in.In.duration()))
	})
	handle("GET /directories/{id}/users", func(r *http.Request) (any, error) {
		if _, err := s.Directory(r.PathValue("id")); err != nil {
			return nil, err
		}
		return s.Users(r.PathValue("id")), nil
	})
	handle("GET /directories/{id}/users/{user}", func(r *http.Request) (any, error) {
		return s.User(r.PathValue("id"), r.PathValue("user"))
	})
	handle("GET /directories/{id}/groups", func(r *http.Request) (any, error) {
		if _, err := s.Directory(r.PathValue("id")); err != nil {
			return nil, err
		}
		return s.Groups(r.PathValue("id")), nil
	})
	handle("GET /directories/{id}/groups/{group}", func(r *http.Request) (any, error) {
		return s.Group(r.PathValue("id"), r.PathValue("group"))
	})
	handle("POST /directories/{id}/groups/{group}/sync", func(r *http.Request) (any, error) {
		return nil, s.SyncGroup(r.PathValue("id"), r.PathValue("group"))
	})

	handle("GET /policies", func(*http.Request) (any, error) { return s.Policies(), nil })
	handle("POST /policies", func(r *http.Request) (any, error) {
		var in struct{ Directory, Name string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.CreatePolicy(in.Directory, in.Name)
	})
	handle("PATCH /policies/{id}", func(r *http.Request) (any, error) {
		var in struct {
			EnforceSSO *bool `json:"enforceSso"`
			Default    bool
		}
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		if in.EnforceSSO != nil {
			if err := s.EnforceSSO(r.PathValue("id"), *in.EnforceSSO); err != nil {
				return nil, err
			}
		}
		if in.Default {
			return nil, s.SetDefaultPolicy(r.PathValue("id"))
		}
		return nil, nil
	})
	handle("POST /policies/{id}/members", func(r *http.Request) (any, error) {
		var in struct{ Accounts []string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.MoveToPolicy(r.PathValue("id"), in.Accounts...)
	})

	handle("GET /accounts", func(*http.Request) (any, error) { return s.Accounts(), nil })
	handle("POST /accounts", func(r *http.Request) (any, error) {
		var in NewAccount
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.AddAccount(in)
	})
	handle("GET /accounts/{ref}", func(r *http.Request) (any, error) { return s.Account(r.PathValue("ref")) })
	handle("PATCH /accounts/{ref}", func(r *http.Request) (any, error) {
		var in struct{ Active bool }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.SetAccountActive(r.PathValue("ref"), in.Active)
	})

	handle("GET /products", func(*http.Request) (any, error) { return s.Products(), nil })
	handle("POST /products/{name}/groups", func(r *http.Request) (any, error) {
		var in struct{ Group string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.GrantProduct(r.PathValue("name"), in.Group)
	})
	handle("DELETE /products/{name}/groups/{group}", func(r *http.Request) (any, error) {
		return nil, s.RevokeProduct(r.PathValue("name"), r.PathValue("group"))
	})
	handle("GET /site-groups", func(*http.Request) (any, error) { return s.SiteGroups(), nil })
	handle("POST /site-groups", func(r *http.Request) (any, error) {
		var in struct{ Name string }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.AddSiteGroup(in.Name)
	})
	handle("PATCH /site-groups/{name}", func(r *http.Request) (any, error) {
		var in struct{ Default bool }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.SetDefaultGroup(r.PathValue("name"), in.Default)
	})

	handle("PUT /site-groups/{name}/members/{ref}", func(r *http.Request) (any, error) {
		return nil, s.SetGroupMember(r.PathValue("name"), r.PathValue("ref"), true)
	})
	handle("DELETE /site-groups/{name}/members/{ref}", func(r *http.Request) (any, error) {
		return nil, s.SetGroupMember(r.PathValue("name"), r.PathValue("ref"), false)
	})

	handle("GET /requests", func(r *http.Request) (any, error) {
		f, err := requestFilter(r)
		if err != nil {
			return nil, err
		}
		out := s.Requests(f)
		if out == nil {
			out = []Request{}
		}
		return out, nil
	})
	handle("GET /requests/{number}", func(r *http.Request) (any, error) {
		n, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "A request has a number.")
		}
		return s.Request(n)
	})
	handle("DELETE /requests", func(*http.Request) (any, error) {
		s.ClearRequests()
		return nil, nil
	})
	handle("GET /stats", func(*http.Request) (any, error) { return s.Stats(), nil })
	handle("GET /troubleshooting", func(*http.Request) (any, error) { return s.Troubleshooting(), nil })
	handle("GET /sign-ins", func(*http.Request) (any, error) { return s.SignIns(), nil })
	handle("GET /sessions", func(*http.Request) (any, error) { return s.Sessions(), nil })

	handle("GET /faults", func(*http.Request) (any, error) { return s.Faults(), nil })
	handle("POST /faults", func(r *http.Request) (any, error) {
		var in Fault
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return s.InjectFault(in)
	})
	handle("DELETE /faults", func(*http.Request) (any, error) {
		s.ClearFaults(0)
		return nil, nil
	})
	handle("PUT /rate-limit", func(r *http.Request) (any, error) {
		var in RateLimit
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		return nil, s.SetRateLimit(&in)
	})
	handle("DELETE /rate-limit", func(*http.Request) (any, error) { return nil, s.SetRateLimit(nil) })
	handle("PUT /down", func(r *http.Request) (any, error) {
		var in struct{ For span }
		if err := readJSON(r, &in); err != nil {
			return nil, err
		}
		s.SetDown(in.For.duration())
		return nil, nil
	})
	handle("GET /switches", func(*http.Request) (any, error) { return s.Switches(), nil })
	handle("PUT /switches", func(r *http.Request) (any, error) {
		sw := s.Switches() // members that are left out stay
		if err := readJSON(r, &sw); err != nil {
			return nil, err
		}
		s.SetSwitches(sw)
		return s.Switches(), nil
	})
}

func requestFilter(r *http.Request) (RequestFilter, error) {
	q := r.URL.Query()
	f := RequestFilter{Directory: q.Get("directory"), Method: q.Get("method"), Path: q.Get("path"), Writes: q.Get("writes") == "true"}
	for name, p := range map[string]*int{"status": &f.Status, "limit": &f.Limit} {
		if v := q.Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return f, refuse(http.StatusBadRequest, "%s must be a number.", name)
			}
			*p = n
		}
	}
	if v := q.Get("after"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return f, refuse(http.StatusBadRequest, "after must be a number.")
		}
		f.After = n
	}
	return f, nil
}

func readJSON(r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err != nil {
		return refuse(http.StatusRequestEntityTooLarge, "The body is too large.")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return refuse(http.StatusBadRequest, "The body isn't the JSON that is expected here: %v", err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(marshal(v), '\n'))
}

// publicText is what a person may read of an error.
func publicText(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text
	}
	return "Something went wrong in the rehearsal. Its log says more."
}
