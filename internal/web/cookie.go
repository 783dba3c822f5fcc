package web

import (
	"net/http"
	"time"
)

// SessionCookie keeps the token of a session in the browser, and beside it the token by which
// the browser is known. Scripts can't read either, and other sites' forms don't send them.
type SessionCookie struct {
	// Secure says that people reach this installation by https. The names then carry the
	// __Host- prefix, so that a sibling domain can't plant a cookie (RFC 6265bis §4.1.3.2).
	Secure bool
}

const deviceLife = 365 * 24 * time.Hour

func (c SessionCookie) name(plain string) string {
	if c.Secure {
		return "__Host-" + plain
	}
	return plain
}

// Name returns the name of the cookie that holds the session token.
func (c SessionCookie) Name() string { return c.name("latchkey_session") }

// Read returns the session token that the request carries, or "".
func (c SessionCookie) Read(r *http.Request) string { return c.read(r, c.Name()) }

// Set gives the browser a session token. It forgets it when it is closed; the server ends the
// session earlier if it is idle or old.
func (c SessionCookie) Set(w http.ResponseWriter, token string) { c.set(w, c.Name(), token, 0) }

// Clear takes the session token from the browser.
func (c SessionCookie) Clear(w http.ResponseWriter) { c.set(w, c.Name(), "", -1) }

// ReadDevice returns the token by which the browser is known, or "". It outlives sessions.
func (c SessionCookie) ReadDevice(r *http.Request) string {
	return c.read(r, c.name("latchkey_device"))
}

// SetDevice gives the browser the token by which it is known, for a year.
func (c SessionCookie) SetDevice(w http.ResponseWriter, token string) {
	c.set(w, c.name("latchkey_device"), token, int(deviceLife.Seconds()))
}

func (c SessionCookie) read(r *http.Request, name string) string {
	k, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return k.Value
}

func (c SessionCookie) set(w http.ResponseWriter, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode,
	})
}
