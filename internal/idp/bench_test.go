package idp_test

import (
	"net/http"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// BenchmarkSSO measures a sign-on by HTTP-Redirect with a session: request read and checked, claims, signature, event
// durable on disk, page rendered. There is no network.
func BenchmarkSSO(b *testing.B) {
	h := newHouse(b, storetest.SQLite(b))
	br := h.browser().signIn(h.person("ann", h.everyone))
	// Each request is answered once, so each is a new one; making it is a small part of what is measured.
	run := func(b *testing.B) {
		_, xml := h.request()
		if w := br.get(h.ssoPath() + "?" + samltest.RedirectQuery(xml, "https://example.atlassian.net")); w.Code != http.StatusOK {
			b.Fatalf("%d %s", w.Code, text(w.Body.String()))
		}
	}
	b.Run("one after the other", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b)
		}
	})
	b.Run("many at once", func(b *testing.B) {
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run(b)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sign-ons/s")
	})
}
