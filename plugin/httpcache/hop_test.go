package httpcache_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// TestHeadersForTheNextHop: a client that has a proxy take its own headers away does not get the
// response without them stored for those with them.
func TestHeadersForTheNextHop(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Origin, Accept-Language")
		fmt.Fprintf(w, "%s %s", r.Header.Get("Origin"), r.Header.Get("Accept-Language"))
	}))
	defer origin.Close()
	u, err := url.Parse(origin.URL)
	ok(t, err)
	s := newSite(t, nil, nil, nil, httputil.NewSingleHostReverseProxy(u).ServeHTTP)
	s.do("GET /", "Origin: https://a", "Accept-Language: de", "Connection: keep-alive, Origin")
	s.do("GET /", "Origin: https://a", "Accept-Language: de", "Connection: accept-language")
	s.want("a request as browsers send it", s.do("GET /", "Origin: https://a", "Accept-Language: de", "Connection: keep-alive"), 200, "https://a de", 3)
	s.want("the next", s.do("GET /", "Origin: https://a", "Accept-Language: de", "Connection: close"), 200, "https://a de", 3)
}
