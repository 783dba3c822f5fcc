package web

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Message is one sentence for the person about what just happened.
type Message struct {
	Level Level  `json:"l"`
	Text  string `json:"t"`
}

const (
	flashSeconds = 60
	flashMax     = 400 // bytes of text: a sentence, far below a cookie's limit
)

// SetFlash keeps a message for the next page that this browser asks for, e.g. before Redirect.
//
// It travels in a cookie that scripts can't read, lives a minute, and on https carries the
// __Host- prefix so that a sibling domain can't plant one. Its text is escaped like any other,
// its level is one of ours, so the worst that a forged one can do is show a sentence to the
// forger. Never put secrets in it.
func SetFlash(w http.ResponseWriter, r *http.Request, level Level, text string) {
	for len(text) > flashMax {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	raw, err := json.Marshal(Message{level, text})
	if err != nil {
		return // two strings always encode
	}
	setCookie(w, r, flashCookie(r), base64.RawURLEncoding.EncodeToString(raw), flashSeconds)
}

// TakeFlash returns the message kept by SetFlash, if any, and forgets it.
func TakeFlash(w http.ResponseWriter, r *http.Request) []Message {
	c, err := r.Cookie(flashCookie(r))
	if err != nil {
		return nil
	}
	setCookie(w, r, c.Name, "", -1)
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) > 4*flashMax {
		return nil
	}
	var m Message
	if json.Unmarshal(raw, &m) != nil || strings.TrimSpace(m.Text) == "" || len(m.Text) > flashMax {
		return nil
	}
	switch m.Level {
	case OK, Info, Warn, Danger:
	default:
		m.Level = Info
	}
	return []Message{m}
}

func flashCookie(r *http.Request) string {
	if IsHTTPS(r) {
		return "__Host-flash"
	}
	return "flash"
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, Secure: IsHTTPS(r), SameSite: http.SameSiteLaxMode,
	})
}
