package idp_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml/samltest"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

// BenchmarkSSO measures a sign-on by HTTP-Redirect with a session: request read and checked, claims, signature, event
// durable on disk, page rendered. There is no network.
func BenchmarkSSO(b *testing.B) {
	h := newHouse(b, storetest.SQLite(b))
	br := h.browser().signIn(h.person("ann", h.everyone))
	// Each request is answered once, so they are made beforehand: as many as will be sent.
	prepare := func(b *testing.B) (next func() string) {
		targets := make([]string, b.N)
		for i := range targets {
			_, xml := h.request()
			targets[i] = h.ssoPath() + "?" + samltest.RedirectQuery(xml, "https://example.atlassian.net")
		}
		var n atomic.Int64
		b.ReportAllocs()
		b.ResetTimer()
		return func() string { return targets[n.Add(1)-1] }
	}
	run := func(b *testing.B, target string) {
		if w := br.get(target); w.Code != http.StatusOK {
			b.Fatalf("%d %s", w.Code, text(w.Body.String()))
		}
	}
	b.Run("one after the other", func(b *testing.B) {
		next := prepare(b)
		for range b.N {
			run(b, next())
		}
	})
	b.Run("many at once", func(b *testing.B) {
		next := prepare(b)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run(b, next())
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sign-ons/s")
	})
}
