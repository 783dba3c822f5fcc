package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey-idp/latchkey/internal/server"
)

// furnishPeople makes an installation of an owner and n people, and tells how long the import took.
func furnishPeople(ctx context.Context, n int) (*installation, *seeded, time.Duration, error) {
	var s *seeded
	var took time.Duration
	in, err := furnish(ctx, func(ctx context.Context, h *server.House) (err error) {
		if s, err = seedOwner(ctx, h); err != nil {
			return err
		}
		begin := time.Now()
		err = seedPeople(ctx, h, s, 0, n)
		took = time.Since(begin)
		return err
	})
	return in, s, took, err
}

func measureLists(ctx context.Context, o options, r *report) (err error) {
	n := o.users
	if n == 0 {
		n = 20000
	}
	in, s, took, err := furnishPeople(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.remove()) }()
	r.row(fmt.Sprintf("import of %d people", n), "", fmt.Sprintf("%.1f s", took.Seconds()), fmt.Sprintf("%.0f/s", perSecond(n, took)), "≥ 1667/s", perSecond(n, took) >= 100000.0/60)
	p, err := in.serve(ctx, o.bin, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	person, err := browser()
	if err != nil {
		return err
	}
	resp, err := signIn(ctx, person, in.url, "", "owner@"+domain)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	api := &remote{url: in.url, key: s.apiKey}
	// The cursor of a page in the middle, as somebody gets who pages on.
	cursor := ""
	for range 20 {
		var page struct {
			Next string `json:"next"`
		}
		if err := api.call(ctx, http.MethodGet, "/users?limit=100&cursor="+url.QueryEscape(cursor), "", &page); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		cursor = page.Next
	}
	group := string(s.groups[0])
	for _, x := range []struct{ name, path string }{
		{"people, first page", "/users?limit=50"},
		{"people, a page further on", "/users?limit=50&cursor=" + url.QueryEscape(cursor)},
		{"people, text that many have", "/users?limit=50&text=person-0000"},
		{"people, two words", "/users?limit=50&text=family12%20given3"},
		{"people, text that nobody has", "/users?limit=50&text=nobodyhasthisname"},
		{"people, by state", "/users?limit=50&state=suspended"},
		{"people, by group", "/users?limit=50&group=" + group},
		{"groups, first page", "/groups?limit=50"},
		{"groups, text", "/groups?limit=50&text=team%20001"},
		{"members of a group", "/groups/" + group + "/members?limit=50"},
		{"events, first page", "/events?limit=50"},
		{"events, by type", "/events?limit=50&type=user_create"},
	} {
		if err := timePages(r, "API "+x.name, 30, func() error { return api.call(ctx, http.MethodGet, x.path, "", nil) }); err != nil {
			return err
		}
	}
	for _, path := range []string{"/console", "/console/users", "/console/users?q=person-0000", "/console/groups", "/console/activity"} {
		if err := timePages(r, path, 30, func() error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+path, nil)
			if err != nil {
				return err
			}
			resp, err := person.Do(req)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK || resp.Request.URL.Path == "/signin" {
				return fmt.Errorf("%s: status %d at %s", path, resp.StatusCode, resp.Request.URL.Path)
			}
			return nil
		}); err != nil {
			r.missing("%v", err)
		}
	}
	now, most := p.memory()
	r.fact("resident after, most", mib(now)+", "+mib(most))
	if n < 1_000_000 {
		r.missing("measured at %d people, the target is at 1,000,000 people, 50,000 groups and 10,000,000 events", n)
	}
	return nil
}

func timePages(r *report, name string, n int, get func() error) error {
	var each []time.Duration
	for range n {
		begin := time.Now()
		if err := get(); err != nil {
			return err
		}
		each = append(each, time.Since(begin))
	}
	p95 := quantile(each, .95)
	r.row(name, "", "p50 "+ms(quantile(each, .5))+", p95 "+ms(p95), "", "p95 ≤ 200 ms", p95 <= 200*time.Millisecond)
	return nil
}
