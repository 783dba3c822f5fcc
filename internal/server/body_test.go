package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// endless is a body without an end that tells how much of it was read.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.n > 256<<20 {
		return 0, io.ErrUnexpectedEOF
	}
	for i := range p {
		p[i] = 'a'
	}
	e.n += int64(len(p))
	return len(p), nil
}

// Of a body no more is read than the limit of its path, whatever reads it.
func TestNoMoreOfABodyIsRead(t *testing.T) {
	const window = 64 << 10 // that a reader may be ahead by
	s := newServer(t, func(c *Config) { c.Limits = LimitsConfig{Body: 100 << 10, Import: 1 << 20} })
	// What reads here reads all that it is given.
	h := s.limitBody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			t.Error("the body has an end")
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	for path, limit := range map[string]int64{
		"/signin": s.Config.Limits.Body, "/api/v1/users": s.Config.Limits.Body, "/api/v1/applications/x/saml/metadata-source": s.Config.Limits.Body,
		"/api/v1/users/import": s.Config.Limits.Import, "/api/v1/applications/x/saml/metadata": s.Config.Limits.Import,
	} {
		body := &endless{}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body))
		if body.n < limit || body.n > limit+window {
			t.Errorf("%s: %d bytes are read, %d may be", path, body.n, limit)
		}
	}
	// So do the forms.
	for _, path := range []string{"/signin", "/setup", "/link"} {
		body := &endless{}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		if body.n > s.Config.Limits.Body+window {
			t.Errorf("%s: %d bytes are read", path, body.n)
		}
	}
}
