package rehearsal

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// FaultKind names a way of going wrong.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus      FaultKind = "status"       // answer with Status, do nothing
	FaultHang        FaultKind = "hang"         // keep the request for Delay, then cut the connection
	FaultSlow        FaultKind = "slow"         // wait Delay, then answer as usual
	FaultResetBefore FaultKind = "reset-before" // cut the connection before anything is done
	FaultResetAfter  FaultKind = "reset-after"  // do it, then cut the connection: a lost answer
	FaultTruncate    FaultKind = "truncate"     // do it, then send half of the answer
)

// FaultKinds lists the kinds in the order in which people should see them.
func FaultKinds() []FaultKind {
	return []FaultKind{FaultStatus, FaultSlow, FaultHang, FaultResetBefore, FaultResetAfter, FaultTruncate}
}

// Fault goes wrong for some of the SCIM requests.
type Fault struct {
	ID         int64         `json:"id"`
	Kind       FaultKind     `json:"kind"`
	Times      int           `json:"times"`            // for so many requests; 0 is until cleared
	Method     string        `json:"method,omitempty"` // only this method
	Path       string        `json:"path,omitempty"`   // only paths that contain this
	Status     int           `json:"status,omitempty"` // FaultStatus: 500 when zero
	RetryAfter int           `json:"retryAfter,omitempty"`
	HTML       bool          `json:"html,omitempty"` // FaultStatus: the body is a gateway's HTML page
	Delay      time.Duration `json:"delay,omitempty"`
}

// RateLimit is a token bucket over all SCIM requests.
type RateLimit struct {
	PerSecond    float64 `json:"perSecond"`
	Burst        int     `json:"burst"`
	NoRetryAfter bool    `json:"noRetryAfter"` // leave the header out
	HTML         bool    `json:"html"`         // answer with a gateway's HTML page
	Unavailable  bool    `json:"unavailable"`  // answer 503 in place of 429
}

// FaultState is what is going wrong now.
type FaultState struct {
	Faults    []Fault    `json:"faults"`
	RateLimit *RateLimit `json:"rateLimit"`
	DownUntil time.Time  `json:"downUntil,omitzero"`
}

type faultBox struct {
	mu      sync.Mutex
	list    []Fault
	seq     int64
	limit   *RateLimit
	tokens  float64
	filled  time.Time
	downTil time.Time
}

// InjectFault adds a fault and gives it an id. Faults are tried in the order in which they were added; the
// first that fits a request is used.
func (s *Site) InjectFault(f Fault) (Fault, error) {
	switch f.Kind {
	case FaultStatus, FaultHang, FaultSlow, FaultResetBefore, FaultResetAfter, FaultTruncate:
	default:
		return Fault{}, refuse(http.StatusBadRequest, "There is no fault %q.", f.Kind)
	}
	if f.Kind == FaultStatus && f.Status == 0 {
		f.Status = http.StatusInternalServerError
	}
	if f.Kind == FaultStatus && (f.Status < 300 || f.Status > 599) {
		return Fault{}, refuse(http.StatusBadRequest, "A fault's status is between 300 and 599.")
	}
	if f.Times < 0 || f.Delay < 0 {
		return Fault{}, refuse(http.StatusBadRequest, "Times and delay can't be negative.")
	}
	if f.Kind == FaultHang && f.Delay == 0 {
		f.Delay = time.Minute
	}
	b := &s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	f.ID = b.seq
	b.list = append(b.list, f)
	return f, nil
}

// ClearFaults removes the fault with that id; 0 removes all faults, the rate limit and the outage.
func (s *Site) ClearFaults(id int64) {
	b := &s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	if id == 0 {
		b.list, b.limit, b.downTil = nil, nil, time.Time{}
		return
	}
	kept := b.list[:0]
	for _, f := range b.list {
		if f.ID != id {
			kept = append(kept, f)
		}
	}
	b.list = kept
}

// SetRateLimit limits the rate of SCIM requests; nil lifts the limit.
func (s *Site) SetRateLimit(l *RateLimit) error {
	if l != nil {
		c := *l
		if c.PerSecond <= 0 {
			return refuse(http.StatusBadRequest, "A rate limit allows more than 0 requests per second.")
		}
		if c.Burst < 1 {
			c.Burst = max(1, int(c.PerSecond))
		}
		l = &c
	}
	b := &s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = l
	if l != nil {
		b.tokens, b.filled = float64(l.Burst), s.now()
	}
	return nil
}

// SetDown makes the SCIM service answer 503 for so long; 0 ends it.
func (s *Site) SetDown(d time.Duration) {
	b := &s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.downTil = time.Time{}
	if d > 0 {
		b.downTil = s.now().Add(d)
	}
}

// Faults reads what is going wrong now.
func (s *Site) Faults() FaultState {
	b := &s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	st := FaultState{Faults: append([]Fault{}, b.list...)}
	if b.limit != nil {
		l := *b.limit
		st.RateLimit = &l
	}
	if b.downTil.After(s.now()) {
		st.DownUntil = b.downTil
	}
	return st
}

// take decides what goes wrong with a request: an answer of the gateway, a fault, or nothing.
func (b *faultBox) take(now time.Time, method, path string) (gateway *answer, f *Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.downTil.After(now) {
		a := gatewayError(http.StatusServiceUnavailable, "Service Unavailable")
		a.fault = "down"
		return a, nil
	}
	if b.limit != nil {
		b.tokens = min(float64(b.limit.Burst), b.tokens+now.Sub(b.filled).Seconds()*b.limit.PerSecond)
		b.filled = now
		if b.tokens < 1 {
			wait := int((1-b.tokens)/b.limit.PerSecond + 0.999)
			return b.limit.refuse(max(wait, 1)), nil
		}
		b.tokens--
	}
	for i := range b.list {
		c := b.list[i]
		if (c.Method != "" && !strings.EqualFold(c.Method, method)) || (c.Path != "" && !strings.Contains(path, c.Path)) {
			continue
		}
		if c.Times == 1 {
			b.list = append(b.list[:i], b.list[i+1:]...)
		} else if c.Times > 1 {
			b.list[i].Times--
		}
		return nil, &c
	}
	return nil, nil
}

func (l *RateLimit) refuse(wait int) *answer {
	status, text := http.StatusTooManyRequests, "Rate limit exceeded"
	if l.Unavailable {
		status, text = http.StatusServiceUnavailable, "Service Unavailable"
	}
	a := gatewayError(status, text)
	if l.HTML {
		a = gatewayHTML(status, text)
	}
	if !l.NoRetryAfter {
		a.retryAfter = itoa(wait)
	}
	a.fault = "rate limit"
	return a
}
