package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/latchkey-idp/latchkey/internal/api"
	"github.com/latchkey-idp/latchkey/internal/console"
	"github.com/latchkey-idp/latchkey/internal/idp"
	"github.com/latchkey-idp/latchkey/internal/portal"
	"github.com/latchkey-idp/latchkey/internal/web"
)

// Server serves an opened installation.
type Server struct {
	*House
	handler http.Handler
	metrics http.Handler
	proxies []netip.Prefix
	served  *prometheus.HistogramVec
	sso     *idp.IDP
}

// New joins the edges to an opened installation.
func New(h *House) (*Server, error) {
	s := &Server{House: h}
	var err error
	if s.proxies, err = prefixes(h.Config.TrustedProxies); err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	s.served = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "latchkey_http_request_duration_seconds", Help: "Time to answer, by route and class of status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"route", "status"})
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), s.served, newWorkCollector(h), newProvisioningCollector(h))
	s.metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})

	mux := http.NewServeMux()
	mux.Handle("GET /static/", web.Static())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /healthz", s.ready)
	if h.Config.Metrics.Listen == "" {
		mux.Handle("GET /metrics", s.loopbackOnly(s.metrics))
	}
	cookie := web.SessionCookie{Secure: h.Config.HTTPS()}
	s.sso = idp.New(idp.Config{
		DB: h.DB, Apps: h.Apps, Authn: h.Authn, Catalog: h.Catalog, Pairs: h.Pairs, PublicURL: h.Config.PublicURL, Now: h.Now, Log: h.Log,
		ClientAddress: s.ClientAddress, Page: s.page,
	})
	s.sso.Routes(mux)
	h.Pool.Every("forget used sign-on requests", 10*time.Minute, s.sso.Prune)
	portal.New(portal.Config{
		DB: h.DB, Authn: h.Authn, Apps: h.Apps, Directory: h.Directory, PublicURL: h.Config.PublicURL, Now: h.Now, Log: h.Log,
		ClientAddress: s.ClientAddress, SignOut: s.sso.SignOut,
	}).Routes(mux)
	console.New(console.Config{
		DB: h.DB, Authn: h.Authn, Directory: h.Directory, Apps: h.Apps, Engine: h.Engine, Events: h.Events, Catalog: h.Catalog,
		PublicURL: h.Config.PublicURL, Version: h.Version, Now: h.Now, Log: h.Log, ClientAddress: s.ClientAddress, Cookie: cookie,
		MaxImport: h.Config.Limits.Import, Inspector: s.sso, Mail: h.Mail, MailWhere: h.Config.Mail.Where(),
		Policy: console.Policy{
			Idle: h.Config.Session.Idle, Absolute: h.Config.Session.Absolute,
			Account: h.Config.Limits.Account, Network: h.Config.Limits.Network,
		},
	}).Routes(mux)
	mux.Handle("/api/", api.New(api.Config{
		DB: h.DB, Directory: h.Directory, Apps: h.Apps, Authn: h.Authn, Engine: h.Engine, Log: h.Events, Catalog: h.Catalog, Version: h.Version,
		Now: h.Now, Logger: h.Log, ClientAddress: s.ClientAddress, SignOn: s.sso, Mail: h.Mail,
	}))
	mux.Handle("/", web.Edge{Log: h.Log, Page: s.page}.NotFound())
	s.handler = s.middleware(mux)
	return s, nil
}

// page is the frame of pages that belong to nobody in particular.
func (s *Server) page(w http.ResponseWriter, r *http.Request) web.Page {
	p := web.NewPage(w, r, "")
	if org, err := s.Directory.Organization(r.Context()); err == nil {
		p.Organization.Name = org.Name
	}
	return p
}

// Handler answers all requests.
func (s *Server) Handler() http.Handler { return s.handler }

// middleware wraps the routes; the first line is the outermost.
func (s *Server) middleware(mux *http.ServeMux) http.Handler {
	var h http.Handler = mux
	h = s.sameOrigin(h)
	h = s.limitBody(h)
	h = web.SecurityHeaders(s.Config.HTTPS())(h)
	h = s.observe(mux, h)
	h = web.RequestIDs(h)
	return h
}

// sameOrigin refuses state-changing requests that another site's page makes with a person's
// cookie. Service providers post to the SAML endpoints from their own pages; what is posted
// there is checked by itself.
func (s *Server) sameOrigin(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	if err := p.AddTrustedOrigin(s.Config.PublicURL); err != nil {
		s.Log.Error("the public URL is no origin", "error", err)
	}
	p.AddInsecureBypassPattern("POST /saml2/{slug}")
	p.AddInsecureBypassPattern("POST /saml2/{slug}/slo")
	return p.Handler(next)
}

// takesFiles reports whether a path takes a bulk import or the metadata of a federation, which have a limit of their own.
func takesFiles(path string) bool {
	return strings.HasSuffix(path, "/import") || strings.HasPrefix(path, "/api/") && strings.Contains(path, "/saml/metadata") &&
		!strings.Contains(path, "/metadata-source")
}

// limitBody bounds what a client can make us read.
func (s *Server) limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := s.Config.Limits.Body
		if takesFiles(r.URL.Path) {
			limit = s.Config.Limits.Import
		}
		if limit > 0 && r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		next.ServeHTTP(w, r)
	})
}

// statusWriter notes the status for metrics and the access log.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe measures and logs each request. The label is the route's pattern and never the path,
// so that a client can't make labels up.
func (s *Server) observe(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			_, route := mux.Handler(r)
			if route == "" {
				route = "none"
			}
			d := time.Since(begin)
			s.served.WithLabelValues(route, statusClass(sw.status)).Observe(d.Seconds())
			s.Log.LogAttrs(r.Context(), slog.LevelDebug, "request",
				slog.String("request_id", web.RequestID(r.Context())), slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Int("status", sw.status), slog.Duration("duration", d), slog.String("address", s.ClientAddress(r)))
		}()
		next.ServeHTTP(sw, r)
	})
}

func statusClass(status int) string {
	switch {
	case status == 0:
		return "none"
	case status < 200 || status > 599:
		return "other"
	}
	return [...]string{"2xx", "3xx", "4xx", "5xx"}[status/100-2]
}

// ClientAddress returns the address that a request comes from. A proxy's word counts only when
// the proxy is trusted; of several addresses the last that isn't a trusted proxy's is the
// client's, since what stands before it was written by the client.
func (s *Server) ClientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := peer.Addr().Unmap()
	if !s.trusted(addr) {
		return addr.String()
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, entry := range slices.Backward(chain) {
		hop, err := netip.ParseAddr(strings.TrimSpace(entry))
		if err != nil {
			break
		}
		addr = hop.Unmap()
		if !s.trusted(addr) {
			break
		}
	}
	return addr.String()
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// loopbackOnly answers clients on this machine. What a proxy passes on is from elsewhere, whether the configuration
// knows the proxy or not: one on this machine that isn't named there would make everybody local.
func (s *Server) loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passedOn := slices.ContainsFunc([]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}, func(name string) bool {
			return len(r.Header.Values(name)) > 0
		})
		if a, err := netip.ParseAddr(s.ClientAddress(r)); err != nil || !a.IsLoopback() || passedOn {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := s.DB.Ping(ctx); err != nil {
		if r.Context().Err() == nil { // else who asked has gone, which says nothing about the database
			s.Log.Error("not ready", "error", err)
		}
		http.Error(w, "the database doesn't answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Run serves on listener, and works in the background, until ctx ends; then it finishes what
// is under way. told is called once when requests are answered.
func (s *Server) Run(ctx context.Context, listener net.Listener, told func()) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	servers := []*http.Server{srv}
	g, ctx := errgroup.WithContext(ctx)
	serve := func(srv *http.Server, l net.Listener, tls bool) {
		g.Go(func() error {
			var err error
			if tls {
				err = srv.ServeTLS(l, s.Config.TLSCert, s.Config.TLSKey)
			} else {
				err = srv.Serve(l)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		})
	}
	serve(srv, listener, s.Config.TLSCert != "")
	if addr := s.Config.Metrics.Listen; addr != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			return errors.Join(fmt.Errorf("metrics: %w", err), srv.Close())
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics)
		m := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, m)
		serve(m, l, false)
	}
	g.Go(func() error { return s.Pool.Run(ctx) })
	g.Go(func() error { return s.Engine.Run(ctx) })
	g.Go(func() error { return s.Authn.Run(ctx) })
	// The inspector records until the last request is answered.
	answering, answered := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return s.sso.Run(answering) })
	g.Go(func() error {
		defer answered()
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		var err error
		for _, srv := range servers {
			err = errors.Join(err, srv.Shutdown(end))
		}
		return err
	})
	if told != nil {
		told()
	}
	err := g.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, s.Engine.Release(end))
}
