// Command gosaml2 is a service provider around a Go library: gosaml2 or crewjam. Its settings are read from a file with
// each request.
//
//	gosaml2 <library> <file>
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
)

// settings are the file.
type settings struct {
	Binding            string `json:"binding"`
	Sign               bool   `json:"sign"`
	Force              bool   `json:"force"`
	Passive            bool   `json:"passive"`
	Format             string `json:"format"`
	WantResponseSigned bool   `json:"wantResponseSigned"`
	Listen             string `json:"listen"`
	Base               string `json:"base"`
	EntityID           string `json:"spEntityID"`
	Key                string `json:"key"`
	Certificate        string `json:"certificate"`
	IDP                struct {
		Metadata     string   `json:"metadata"`
		EntityID     string   `json:"entityID"`
		SSORedirect  string   `json:"ssoRedirect"`
		SSOPost      string   `json:"ssoPost"`
		SLORedirect  string   `json:"sloRedirect"`
		SLOPost      string   `json:"sloPost"`
		Certificates []string `json:"certificates"`
	} `json:"idp"`

	key         *rsa.PrivateKey
	certificate *x509.Certificate
}

func read(file string) (*settings, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &settings{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	s.key = key
	s.certificate, err = x509.ParseCertificate(pair.Certificate[0])
	return s, err
}

// person is who signed in.
type person struct {
	NameID     string              `json:"nameID"`
	Format     string              `json:"format"`
	Attributes map[string][]string `json:"attributes"`
	index      string
}

// library is what differs between the two. A way onward is a page or an address.
type library interface {
	metadata(*settings) ([]byte, error)
	login(*settings) (onward, error)
	response(*settings, *http.Request) (*person, error)
	logout(*settings, *person) (onward, error)
	// logoutMessage takes a LogoutRequest (and returns whose session ends, and the answer) or a LogoutResponse.
	logoutMessage(*settings, *http.Request) (nameID string, answer onward, err error)
}

type onward struct {
	url  string
	page []byte
}

func (o onward) send(w http.ResponseWriter, r *http.Request) {
	switch {
	case o.url != "":
		http.Redirect(w, r, o.url, http.StatusFound)
	case o.page != nil:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(o.page)
	default:
		fmt.Fprintln(w, "signed out")
	}
}

type server struct {
	file string
	lib  library

	mu       sync.Mutex
	sessions map[string]*person
}

func main() {
	libraries := map[string]library{"gosaml2": goSAML2{}, "crewjam": crewjam{}}
	if len(os.Args) != 3 || libraries[os.Args[1]] == nil {
		log.Fatal("usage: gosaml2 gosaml2|crewjam <file>")
	}
	s := &server{file: os.Args[2], lib: libraries[os.Args[1]], sessions: map[string]*person{}}
	set, err := read(s.file)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(set.Listen, s))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	set, err := read(s.file)
	if err == nil {
		err = s.serve(w, r, set)
	}
	if err != nil {
		log.Printf("%s: %s", r.URL.Path, err)
		http.Error(w, err.Error(), http.StatusForbidden)
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, set *settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Ports of one host share their cookies.
	cookie := "go-" + set.Listen[strings.LastIndexByte(set.Listen, ':')+1:]
	id := ""
	if c, err := r.Cookie(cookie); err == nil {
		id = c.Value
	}
	p := s.sessions[id]
	switch r.URL.Path {
	case "/metadata":
		b, err := s.lib.metadata(set)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/samlmetadata+xml")
		_, err = w.Write(b)
		return err
	case "/login":
		to, err := s.lib.login(set)
		if err != nil {
			return err
		}
		to.send(w, r)
	case "/acs":
		p, err := s.lib.response(set, r)
		if err != nil {
			return err
		}
		id := rand.Text()
		s.sessions[id] = p
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: id, Path: "/", HttpOnly: true})
		http.Redirect(w, r, "/session", http.StatusFound)
	case "/session":
		w.Header().Set("Content-Type", "application/json")
		if p == nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return json.NewEncoder(w).Encode(p)
	case "/logout":
		if p == nil {
			return errors.New("nobody is signed in")
		}
		delete(s.sessions, id)
		to, err := s.lib.logout(set, p)
		if err != nil {
			return err
		}
		to.send(w, r)
	case "/slo":
		name, answer, err := s.lib.logoutMessage(set, r)
		if err != nil {
			return err
		}
		for id, p := range s.sessions {
			if name != "" && p.NameID == name {
				delete(s.sessions, id)
			}
		}
		answer.send(w, r)
	default:
		http.NotFound(w, r)
	}
	return nil
}
