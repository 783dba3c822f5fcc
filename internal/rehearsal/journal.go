package rehearsal

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Request is one entry of the request log.
type Request struct {
	Number       int64         `json:"number"`
	Time         time.Time     `json:"time"`
	Directory    string        `json:"directory"`
	Method       string        `json:"method"`
	Path         string        `json:"path"` // below the directory, with its query
	ContentType  string        `json:"contentType"`
	UserAgent    string        `json:"userAgent"`
	Body         string        `json:"body"`
	Status       int           `json:"status"` // 0 when no answer was sent
	ResponseType string        `json:"responseType"`
	RetryAfter   string        `json:"retryAfter,omitempty"`
	Response     string        `json:"response"`
	Duration     time.Duration `json:"durationNs"`
	Fault        string        `json:"fault,omitempty"` // which fault shaped the answer
}

// Write says whether the request could have changed something.
func (r Request) Write() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// RequestFilter chooses entries of the request log. Zero fields choose all.
type RequestFilter struct {
	After     int64 // only entries with a greater Number
	Directory string
	Method    string
	Path      string // substring
	Status    int
	Writes    bool // only requests that could change something
	Limit     int  // the newest so many; 0 is all that are kept
}

// Stats counts all SCIM requests since the start or the last ClearRequests, also those that the log forgot.
type Stats struct {
	Requests int64            `json:"requests"`
	Writes   int64            `json:"writes"`
	ByMethod map[string]int64 `json:"byMethod"`
	ByStatus map[int]int64    `json:"byStatus"`
	First    time.Time        `json:"first,omitzero"`
	Last     time.Time        `json:"last,omitzero"`
}

type journal struct {
	mu        sync.Mutex
	ring      []Request
	next      int64 // number of the next entry, from 1
	first     int64 // smallest number that may still be read
	bodyLimit int
	stats     Stats
}

func newJournal(size, bodyLimit int) journal {
	return journal{
		ring: make([]Request, size), next: 1, first: 1, bodyLimit: bodyLimit,
		stats: Stats{ByMethod: map[string]int64{}, ByStatus: map[int]int64{}},
	}
}

func (j *journal) add(r Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.Number = j.next
	j.ring[j.next%int64(len(j.ring))] = r
	j.next++
	j.stats.Requests++
	if r.Write() {
		j.stats.Writes++
	}
	j.stats.ByMethod[r.Method]++
	j.stats.ByStatus[r.Status]++
	if j.stats.First.IsZero() {
		j.stats.First = r.Time
	}
	j.stats.Last = r.Time
}

// clip keeps the beginning of a body and says how much is missing.
func (j *journal) clip(body []byte) string {
	if len(body) <= j.bodyLimit {
		return string(body)
	}
	return string(body[:j.bodyLimit]) + "… (" + itoa(len(body)-j.bodyLimit) + " bytes more)"
}

func (j *journal) oldest() int64 {
	return max(j.first, j.next-int64(len(j.ring)), 1)
}

// Requests reads the request log, oldest first.
func (s *Site) Requests(f RequestFilter) []Request {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Request
	for n := j.next - 1; n >= j.oldest() && n > f.After; n-- {
		r := j.ring[n%int64(len(j.ring))]
		switch {
		case f.Directory != "" && r.Directory != f.Directory,
			f.Method != "" && !strings.EqualFold(r.Method, f.Method),
			f.Path != "" && !strings.Contains(r.Path, f.Path),
			f.Status != 0 && r.Status != f.Status,
			f.Writes && !r.Write():
			continue
		}
		out = append(out, r)
		if f.Limit > 0 && len(out) == f.Limit {
			break
		}
	}
	for i, k := 0, len(out)-1; i < k; i, k = i+1, k-1 {
		out[i], out[k] = out[k], out[i]
	}
	return out
}

// Request reads one entry of the request log.
func (s *Site) Request(number int64) (Request, error) {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if number < j.oldest() || number >= j.next {
		return Request{}, refuse(http.StatusNotFound, "Request %d is not in the log any more.", number)
	}
	return j.ring[number%int64(len(j.ring))], nil
}

// LastRequest is the number of the newest request; use it as RequestFilter.After to see only what follows.
func (s *Site) LastRequest() int64 {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.next - 1
}

// Stats counts the requests.
func (s *Site) Stats() Stats {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.stats
	out.ByMethod, out.ByStatus = map[string]int64{}, map[int]int64{}
	maps.Copy(out.ByMethod, j.stats.ByMethod)
	maps.Copy(out.ByStatus, j.stats.ByStatus)
	return out
}

// ClearRequests empties the request log and its counts; numbers go on.
func (s *Site) ClearRequests() {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.first = j.next
	clear(j.ring)
	j.stats = Stats{ByMethod: map[string]int64{}, ByStatus: map[int]int64{}}
}

// LogLine is a line of the troubleshooting log.
type LogLine struct {
	Time        time.Time `json:"time"`
	DirectoryID string    `json:"directoryId"`
	Text        string    `json:"text"`
}

// Troubleshooting reads the troubleshooting log, oldest first.
func (s *Site) Troubleshooting() []LogLine {
	s.lock()
	defer s.unlock()
	return append([]LogLine{}, s.st.trouble...)
}

// Attribute is a SAML attribute as it was received.
type Attribute struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// SignIn is one SAML response that reached the assertion consumer service, accepted or not.
type SignIn struct {
	Number       int64       `json:"number"`
	Time         time.Time   `json:"time"`
	DirectoryID  string      `json:"directoryId"`
	OK           bool        `json:"ok"`
	Error        string      `json:"error,omitempty"`       // as in the address of the error page
	Description  string      `json:"description,omitempty"` // likewise
	Reason       string      `json:"reason,omitempty"`      // what the real service would keep to itself
	IdPInitiated bool        `json:"idpInitiated"`
	InResponseTo string      `json:"inResponseTo,omitempty"`
	RelayState   string      `json:"relayState,omitempty"`
	NameID       string      `json:"nameId,omitempty"`
	NameIDFormat string      `json:"nameIdFormat,omitempty"`
	Attributes   []Attribute `json:"attributes,omitempty"`
	Signed       string      `json:"signed,omitempty"` // "assertion" or "response"
	AccountID    string      `json:"accountId,omitempty"`
	Created      bool        `json:"created"` // just-in-time
	Landed       string      `json:"landed,omitempty"`
	Response     string      `json:"response,omitempty"` // the XML
}

const keptSignIns = 500

func (st *state) addSignIn(in SignIn) {
	if len(st.signIns) >= keptSignIns {
		st.signIns = append(st.signIns[:0], st.signIns[keptSignIns/10:]...)
	}
	st.signInNo++
	in.Number = st.signInNo
	st.signIns = append(st.signIns, in)
}

// SignIns reads the log of SAML sign-ins, oldest first.
func (s *Site) SignIns() []SignIn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]SignIn{}, s.st.signIns...)
}

// Session is a browser that is signed in to the site.
type Session struct {
	ID         string      `json:"id"`
	AccountID  string      `json:"accountId"`
	Email      string      `json:"email"`
	StartedAt  time.Time   `json:"startedAt"`
	NameID     string      `json:"nameId"`
	Directory  string      `json:"directory"`
	Attributes []Attribute `json:"attributes"`
}

// Sessions lists the open sessions of active accounts.
func (s *Site) Sessions() []Session {
	s.lock()
	defer s.unlock()
	out := make([]Session, 0, len(s.st.sessions))
	for _, se := range s.st.sessions {
		if a := s.st.accountByID[se.accountID]; a != nil && a.active {
			out = append(out, se.view(a))
		}
	}
	return out
}

func (se *session) view(a *account) Session {
	return Session{
		ID: se.id, AccountID: a.id, Email: a.email, StartedAt: se.started, NameID: se.nameID,
		Directory: se.directory, Attributes: se.attributes,
	}
}
