package web

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSessionCookie(t *testing.T) {
	for _, c := range []struct {
		name   string
		secure bool
		do     func(SessionCookie, http.ResponseWriter)
		want   string
	}{
		{
			"set on http", false, func(c SessionCookie, w http.ResponseWriter) { c.Set(w, "tok") },
			"latchkey_session=tok; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			"set on https", true, func(c SessionCookie, w http.ResponseWriter) { c.Set(w, "tok") },
			"__Host-latchkey_session=tok; Path=/; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"clear", true, func(c SessionCookie, w http.ResponseWriter) { c.Clear(w) },
			"__Host-latchkey_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"device", true, func(c SessionCookie, w http.ResponseWriter) { c.SetDevice(w, "dev") },
			"__Host-latchkey_device=dev; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.do(SessionCookie{Secure: c.secure}, w)
			if diff := cmp.Diff(c.want, w.Header().Get("Set-Cookie")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSessionCookieReadsOnlyItsOwnName(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(&http.Cookie{Name: "latchkey_session", Value: "planted"})
	r.AddCookie(&http.Cookie{Name: "latchkey_device", Value: "planted"})
	secure := SessionCookie{Secure: true}
	if got := secure.Read(r) + secure.ReadDevice(r); got != "" {
		t.Errorf("on https a cookie without the prefix was read: %q", got)
	}
	if got := (SessionCookie{}).Read(r); got != "planted" {
		t.Errorf("on http: %q", got)
	}
}
