package saml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ReadPasted reads what an administrator pasted: a URL or query of a redirect, the body of a form, base64, or XML; of any
// message, answers included. What it returns can be explained but never answered: all checks refuse it. The error is an
// *Error.
func ReadPasted(s string) (Incoming, error) {
	in := Incoming{binding: BindingHTTPPost, pasted: true}
	s = strings.TrimSpace(strings.TrimPrefix(s, "\ufeff"))
	switch {
	case len(s) > maxBody:
		return anyDoor.fail(&in, tooLarge(fmt.Errorf("more than %d bytes", maxBody)))
	case s == "":
		return anyDoor.fail(&in, errors.New("there is nothing"))
	case strings.HasPrefix(s, "<"):
		in.xml = []byte(s)
		return anyDoor.fail(&in, anyDoor.finish(&in, form{}))
	case strings.Contains(s, ParameterRequest+"=") || strings.Contains(s, ParameterResponse+"="):
		return readPastedForm(s)
	}
	// Base64 as a browser's tools show it: with line breaks, or percent-encoded.
	plain := s
	if strings.Contains(s, "%") {
		var err error
		if plain, err = unescape(strings.ReplaceAll(s, "+", "%2B")); err != nil {
			return anyDoor.fail(&in, err)
		}
	}
	b, err := decodeBase64(strings.Join(strings.Fields(plain), ""))
	if err != nil {
		return anyDoor.fail(&in, errors.New("this is neither a URL with a SAML message, nor base64, nor XML"))
	}
	if in.xml = b; !isXML(b) {
		in.binding, in.xml = BindingHTTPRedirect, nil
		if in.xml, err = inflate(b); err != nil {
			return anyDoor.fail(&in, err)
		}
	}
	if len(in.xml) > maxMessage {
		in.xml = nil
		return anyDoor.fail(&in, tooLarge(fmt.Errorf("a message of more than %d bytes", maxMessage)))
	}
	return anyDoor.fail(&in, anyDoor.finish(&in, form{}))
}

// readPastedForm reads a URL, a query or the body of a form. The encoding of the message tells by which binding it came.
func readPastedForm(s string) (Incoming, error) {
	if _, query, ok := strings.Cut(s, "?"); ok && !strings.Contains(s[:len(s)-len(query)], "=") {
		s = query
	}
	s, _, _ = strings.Cut(s, "#")
	in := Incoming{binding: BindingHTTPPost, pasted: true}
	f, err := readForm(s)
	if err != nil {
		return anyDoor.fail(&in, err)
	}
	message := f.values[ParameterRequest] + f.values[ParameterResponse]
	if b, err := decodeBase64(message); err == nil && isXML(b) {
		return anyDoor.fail(&in, anyDoor.readPost(&in, []byte(s)))
	}
	in.binding = BindingHTTPRedirect
	return anyDoor.fail(&in, anyDoor.readRedirect(&in, s))
}

func isXML(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("<"))
}
