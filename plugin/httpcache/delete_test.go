package httpcache_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestDeleteAsClientsSend: URLs as people write them, and as clients send them.
func TestDeleteAsClientsSend(t *testing.T) {
	for written, sent := range map[string]string{
		"http://example.com":            "GET http://example.com/",
		"http://example.com/s?q=é":      "GET /s?q=%C3%A9",
		"http://example.com/s?q=%c3%a9": "GET /s?q=é",
		"http://example.com/é":          "GET /%C3%A9",
		"http://example.com/a b":        "GET /a%20b",
		"http://example.com/s?q=a b":    "GET /s?q=a%20b",
		"http://example.com/s?q=\"<>":   "GET /s?q=%22%3C%3E",
		"http://example.com/a?":         "GET /a?",
		"http://example.com./":          "GET http://example.com./",
		"https://example.com/x":         "GET http://example.com/x", // behind a proxy that ends TLS
		"http://example.com/":           "GET http://example.com",
		"http://[::1]:80/":              "GET http://[::1]/",
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
			s.want(sent, s.do(sent), 200, "1", 1)
			ok(t, httpcache.Delete(t.Context(), s.region, nil, written))
			s.want(written+", "+sent, s.do(sent), 200, "2", 2)
		})
	}
}

// TestLocations: a change deletes what its response names, as a client resolves it.
func TestLocations(t *testing.T) {
	for _, row := range []struct{ post, location, get string }{
		{"POST http://example.com/api/items/", "1", "GET /api/items/1"},
		{"POST http://example.com/api/items/", "/api/items/1", "GET /api/items/1"},
		{"POST http://example.com/api/items/", "http://example.com:80/api/items/1", "GET /api/items/1"},
		{"POST http://example.com:80/api/items/", "http://EXAMPLE.com/api/items/1", "GET /api/items/1"},
		{"POST http://example.com/api/items/", "https://example.com/api/items/1", "GET /api/items/1"}, // a proxy ends TLS
		{"POST http://example.com/api/items/", "//example.com/api/items/1", "GET /api/items/1"},
		{"POST http://example.com/api/items/", "1?x=é", "GET /api/items/1?x=%C3%A9"},
		{"POST http://example.com/api/items", "?page=1", "GET /api/items?page=1"},
		{"POST http://example.com/api/items/", "1#top", "GET /api/items/1"},
		{"DELETE http://example.com/api/items/1", "", "GET /api/items/%31"},
		{"delete http://example.com/api/items/1", "", "GET /api/items/1"},
	} {
		for _, prefix := range []string{"", "/api"} {
			bubble(t, func(t *testing.T) {
				s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					if r.Method != "GET" {
						w.Header().Set("Location", row.location)
						w.WriteHeader(http.StatusCreated)
					}
				})
				s.cached = http.StripPrefix(prefix, s.cached)
				s.do(row.get)
				s.do(row.post)
				s.do(row.get)
				s.wantCalls(fmt.Sprint(row, prefix), 3)
			})
		}
	}
}
