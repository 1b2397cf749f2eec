package httpcache_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ h http.Header }

func (w nowhere) Header() http.Header         { return w.h }
func (w nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w nowhere) WriteHeader(int)             {}

// BenchmarkHit is a page of 10 kB in memory.
func BenchmarkHit(b *testing.B) {
	m, err := memory.New(nil)
	ok(b, err)
	region := dogpile.NewRegion("pages")
	ok(b, region.Configure(m, nil))
	page := make([]byte, 10_000)
	cached := httpcache.Middleware(region, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write(page)
	}))
	r := httptest.NewRequest("GET", "/products/42?page=2", nil)
	cached.ServeHTTP(httptest.NewRecorder(), r)
	b.ReportAllocs()
	for b.Loop() {
		w := nowhere{make(http.Header)}
		cached.ServeHTTP(w, r)
	}
}
