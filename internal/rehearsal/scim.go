package rehearsal

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	scimPrefix = "/scim/directory/"
	mediaSCIM  = "application/scim+json"
	mediaJSON  = "application/json"

	maxBody     = 64 << 20
	pageCeiling = 100 // whatever count asks for and ServiceProviderConfig promises

	urnUser       = "urn:ietf:params:scim:schemas:core:2.0:User"
	urnGroup      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	urnEnterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	urnExternal   = "urn:scim:schemas:extension:atlassian-external:1.0"
	urnError      = "urn:ietf:params:scim:api:messages:2.0:Error"
	urnList       = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
)

// answer is an HTTP answer before it is sent, so that a fault can bend or lose it.
type answer struct {
	status      int
	contentType string
	location    string
	retryAfter  string
	body        []byte
	fault       string
}

// scimError is a refusal in SCIM form (RFC 7644 §3.12); the status is a string in the body.
type scimError struct {
	status   int
	scimType string
	detail   string
}

func (e *scimError) Error() string { return e.detail }

func badRequest(scimType, format string, args ...any) error {
	return &scimError{http.StatusBadRequest, scimType, fmt.Sprintf(format, args...)}
}

func notFound(kind, id string) error {
	return &scimError{http.StatusNotFound, "", fmt.Sprintf("Resource [%s] %s not found.", kind, id)}
}

func conflict(format string, args ...any) error {
	return &scimError{http.StatusConflict, "uniqueness", fmt.Sprintf(format, args...)}
}

func gatewayError(status int, message string) *answer {
	return &answer{
		status: status, contentType: mediaJSON,
		body: fmt.Appendf(nil, `{"code":%d,"message":%q}`, status, message),
	}
}

func gatewayHTML(status int, message string) *answer {
	return &answer{
		status: status, contentType: "text/html; charset=utf-8",
		body: fmt.Appendf(nil, "<!doctype html><html><head><title>%d %s</title></head><body><h1>%d %s</h1></body></html>\n", status, message, status, message),
	}
}

func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // only our own plain types come here
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func scimAnswer(status int, body []byte) *answer {
	return &answer{status: status, contentType: mediaSCIM, body: body}
}

func errorAnswer(err error) *answer {
	var e *scimError
	if !errors.As(err, &e) {
		return gatewayError(http.StatusInternalServerError, "Internal Server Error")
	}
	return scimAnswer(e.status, marshal(struct {
		Schemas  []string `json:"schemas"`
		Status   string   `json:"status"`
		SCIMType string   `json:"scimType,omitempty"`
		Detail   string   `json:"detail"`
	}{[]string{urnError}, strconv.Itoa(e.status), e.scimType, e.detail}))
}

// serveSCIM answers one request below /scim/directory/, as the gateway and the service behind it would.
func (s *Site) serveSCIM(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	now := s.now()
	dirID, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, scimPrefix), "/")
	rest = "/" + rest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	entry := Request{
		Time: now.UTC(), Directory: dirID, Method: r.Method, Path: rest,
		ContentType: r.Header.Get("Content-Type"), UserAgent: r.Header.Get("User-Agent"),
	}
	if r.URL.RawQuery != "" {
		entry.Path += "?" + r.URL.RawQuery
	}
	token := bearer(r)
	entry.Body = mask(s.journal.clip(body), token)

	a, fault := s.faults.take(now, r.Method, entry.Path)
	if fault != nil {
		entry.Fault = string(fault.Kind)
		switch fault.Kind {
		case FaultStatus:
			a = gatewayError(fault.Status, http.StatusText(fault.Status))
			if fault.HTML {
				a = gatewayHTML(fault.Status, http.StatusText(fault.Status))
			}
			if fault.RetryAfter > 0 {
				a.retryAfter = strconv.Itoa(fault.RetryAfter)
			}
		case FaultSlow:
			if !s.wait(r, fault.Delay) {
				s.logRequest(entry, nil, start, token)
				cut(w)
				return
			}
		case FaultHang, FaultResetBefore:
			s.logRequest(entry, nil, start, token)
			s.wait(r, fault.Delay)
			cut(w)
			return
		case FaultResetAfter, FaultTruncate:
		}
	} else if a != nil {
		entry.Fault = a.fault
	}
	if a == nil {
		switch {
		case err != nil:
			a = gatewayError(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		default:
			a = s.answerSCIM(r, dirID, rest, token, body)
		}
	}
	s.logRequest(entry, a, start, token)
	if fault != nil && fault.Kind == FaultResetAfter {
		cut(w)
		return
	}
	h := w.Header()
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	if a.retryAfter != "" {
		h.Set("Retry-After", a.retryAfter)
	}
	if a.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if fault != nil && fault.Kind == FaultTruncate {
		_, _ = w.Write(a.body[:len(a.body)/2])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		cut(w)
		return
	}
	_, _ = w.Write(a.body)
}

func (s *Site) logRequest(entry Request, a *answer, start time.Time, token string) {
	if a != nil {
		entry.Status, entry.ResponseType, entry.RetryAfter = a.status, a.contentType, a.retryAfter
		entry.Response = mask(s.journal.clip(a.body), token)
	}
	entry.Duration = time.Since(start)
	s.journal.add(entry)
}

// wait lets time pass; it says false when the caller has gone or the site closes.
func (s *Site) wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	case <-s.closing:
		return false
	}
}

// cut ends the connection without an orderly end of the answer: a TCP reset where that is possible.
func cut(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

func bearer(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func mask(text, token string) string {
	if token == "" || !strings.Contains(text, token) {
		return text
	}
	return strings.ReplaceAll(text, token, "[masked]")
}

// answerSCIM authorizes and dispatches. The query is read here; bodies are decoded outside the lock.
func (s *Site) answerSCIM(r *http.Request, dirID, rest, token string, body []byte) *answer {
	if a := s.authorize(dirID, token); a != nil {
		return a
	}
	segments := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	if len(segments) > 2 || segments[0] == "" || (len(segments) == 2 && segments[1] == "") {
		return gatewayError(http.StatusNotFound, "HTTP 404 Not Found")
	}
	id := ""
	if len(segments) == 2 {
		id = segments[1]
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errorAnswer(badRequest("invalidValue", "The query can't be read."))
	}
	if len(body) > 0 && r.Method != http.MethodGet && r.Method != http.MethodDelete {
		media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if media = strings.TrimSpace(strings.ToLower(media)); media != "" && media != mediaSCIM && media != mediaJSON {
			return gatewayError(http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type")
		}
	}
	var a *answer
	switch segments[0] {
	case "Users":
		a, err = s.answerUsers(r.Method, dirID, id, q, body)
	case "Groups":
		a, err = s.answerGroups(r.Method, dirID, id, q, body)
	case "ServiceProviderConfig", "Schemas", "ResourceTypes":
		if r.Method != http.MethodGet {
			return gatewayError(http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
		}
		a, err = s.answerDiscovery(dirID, segments[0], id)
	default:
		return gatewayError(http.StatusNotFound, "HTTP 404 Not Found")
	}
	if err != nil {
		return errorAnswer(err)
	}
	if a == nil {
		return gatewayError(http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	}
	return a
}

func (s *Site) authorize(dirID, token string) *answer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	unauthorized := gatewayError(http.StatusUnauthorized, "Unauthorized")
	d := s.st.directory(dirID)
	if d == nil && s.st.switches.UnknownDirectory404 {
		return gatewayError(http.StatusNotFound, "HTTP 404 Not Found")
	}
	if d == nil || d.prov == nil || token == "" {
		return unauthorized
	}
	if subtle.ConstantTimeCompare([]byte(hashSecret(token)), []byte(d.prov.keyHash)) != 1 {
		return unauthorized
	}
	if !s.now().Before(d.prov.expires) {
		return unauthorized
	}
	return nil
}

// page reads startIndex and count as the service does: from 1, and never more than 100 at a time.
func page(q url.Values) (start, count int, err error) {
	start, count = 1, pageCeiling
	if v := q.Get("startIndex"); v != "" {
		if start, err = strconv.Atoi(v); err != nil {
			return 0, 0, badRequest("invalidValue", "startIndex is not a number.")
		}
	}
	if v := q.Get("count"); v != "" {
		if count, err = strconv.Atoi(v); err != nil {
			return 0, 0, badRequest("invalidValue", "count is not a number.")
		}
	}
	return max(start, 1), min(max(count, 0), pageCeiling), nil
}

// listAnswer writes a ListResponse. itemsPerPage is the effective page size, not the number of resources.
func listAnswer(total, start, count int, resources [][]byte) *answer {
	size := 128
	for _, r := range resources {
		size += len(r) + 1
	}
	b := make([]byte, 0, size)
	b = fmt.Appendf(b, `{"schemas":["%s"],"totalResults":%d,"itemsPerPage":%d,"startIndex":%d,"Resources":[`, urnList, total, count, start)
	for i, r := range resources {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r...)
	}
	b = append(b, "]}"...)
	return scimAnswer(http.StatusOK, b)
}

// window cuts the page out of n resources.
func window(n, start, count int) (from, to int) {
	from = min(start-1, n)
	return from, min(from+count, n)
}

// timestamp is RFC 3339 in UTC with up to six digits of fraction, trailing zeros trimmed.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }

type wireMeta struct {
	ResourceType string `json:"resourceType"`
	Location     string `json:"location"`
	LastModified string `json:"lastModified"`
	Created      string `json:"created"`
}

// object decodes a JSON object.
func object(kind string, body []byte) (map[string]any, error) {
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil || m == nil {
		return nil, badRequest("invalidSyntax", "Resource [%s] the request body is not a JSON object.", kind)
	}
	return m, nil
}

// field reads a member of an object without regard to case, as SCIM attribute names are (RFC 7643 §2.1).
func field(m map[string]any, name string) (any, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}
