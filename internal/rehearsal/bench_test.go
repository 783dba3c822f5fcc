package rehearsal

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// BenchmarkCreateUser is the rate at which a plain client can push users, which bounds what benchmarks of a
// provisioning engine can measure against the stand-in.
func BenchmarkCreateUser(b *testing.B) {
	site, err := New(Config{Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	defer site.Close()
	srv := httptest.NewServer(site.Handler())
	defer srv.Close()
	site.SetBaseURL(srv.URL)
	must(b, second(site.AddDomain("acme.test")))
	must(b, site.VerifyDomain("acme.test"))
	dir, err := site.CreateDirectory("Latchkey")
	must(b, err)
	prov, err := site.SetUpProvisioning(dir.ID)
	must(b, err)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	var n atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			body := fmt.Sprintf(`{"schemas":[%q],"userName":"u%d","externalId":"e%d","active":true,"name":{"givenName":"G","familyName":"F"},"displayName":"G F","title":"T","emails":[{"value":"u%d@acme.test","type":"work","primary":true}]}`, urnUser, i, i, i)
			req, err := http.NewRequestWithContext(b.Context(), "POST", prov.BaseURL+"/Users", bytes.NewReader([]byte(body)))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+prov.APIKey)
			req.Header.Set("Content-Type", "application/scim+json")
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if err := resp.Body.Close(); err != nil || resp.StatusCode != 201 {
				b.Error(resp.StatusCode, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
}
