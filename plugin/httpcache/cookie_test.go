package httpcache_test

import (
	"fmt"
	"net/http"
	"testing"
)

// TestCookieThatIsNotFresh: a response with a cookie that has to be asked about each time is not
// kept: the 304 that is right for the next client does not take the cookie back.
func TestCookieThatIsNotFresh(t *testing.T) {
	for _, control := range []string{"max-age=0, must-revalidate", "max-age=0", "no-cache, max-age=60", "no-cache", "max-age=0, stale-while-revalidate=60", "s-maxage=0"} {
		for kind, options := range kinds {
			bubble(t, func(t *testing.T) {
				s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", control)
					w.Header().Set("ETag", `"1"`)
					if r.Header.Get("Cookie") == "" {
						w.Header().Set("Set-Cookie", "session=alice")
					}
					if r.Header.Get("If-None-Match") != "" {
						w.WriteHeader(http.StatusNotModified)
						return
					}
					fmt.Fprint(w, "page")
				})
				s.do("GET /")
				got := s.do("GET /", "Cookie: session=bob")
				s.want("bob", got, 200, "page", 2)
				if cookie := got.Header.Get("Set-Cookie"); cookie != "" {
					t.Errorf("%s, %s: bob got %q", kind, control, cookie)
				}
			})
		}
	}
}
