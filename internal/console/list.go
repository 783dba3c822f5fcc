package console

import (
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// maxBack bounds how many pages one can go back in a list, since the way is in the address.
const maxBack = 12

// pager leads through a list whose pages hang together forward only: the cursors of the pages
// before travel in parameter "back".
func pager(r *request, next, summary string) web.Pager {
	q := r.URL.Query()
	cursor, back := q.Get("cursor"), q["back"]
	p := web.Pager{Summary: summary}
	if next != "" {
		q.Set("cursor", next)
		way := back
		if cursor != "" {
			way = append(slices.Clip(way), cursor)
		}
		q["back"] = way[max(0, len(way)-maxBack):]
		p.Next = r.URL.Path + "?" + q.Encode()
	}
	if cursor != "" {
		q.Del("cursor")
		q.Del("back")
		if n := len(back); n > 0 {
			q.Set("cursor", back[n-1])
			q["back"] = back[:n-1]
		}
		p.Previous = r.URL.Path + encoded(q)
	}
	return p
}

func encoded(q url.Values) string {
	if s := q.Encode(); s != "" {
		return "?" + s
	}
	return ""
}

// listSummary says how long a list is, as far as it was counted.
func listSummary[T any](r *request, p store.Page[T], one, many string) string {
	q := r.URL.Query()
	switch {
	case p.Total >= 0:
		return count(p.Total, one, many)
	case q.Get("cursor") == "" && p.Next == "":
		return count(len(p.Items), one, many)
	case q.Get("cursor") == "" && q.Get("q") == "":
		return "More than 10,000 " + many
	default:
		return ""
	}
}

// withQuery returns path with parameters, given as name, value, name, value; empty values are
// left out.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return path + encoded(q)
}

// without returns the request's own path and query without some parameters, back on the first
// page.
func without(r *request, names ...string) string {
	q := r.URL.Query()
	q.Del("cursor")
	q.Del("back")
	for _, n := range names {
		q.Del(n)
	}
	for n := range q {
		if strings.Join(q[n], "") == "" {
			q.Del(n)
		}
	}
	return r.URL.Path + encoded(q)
}
