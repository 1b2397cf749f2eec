package httpcache_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestConfirmationForOne: a 304 that is for one client is not for those who wait with it.
func TestConfirmationForOne(t *testing.T) {
	for name, header := range map[string]string{
		"private":           "Cache-Control: private",
		"a cookie":          "Set-Cookie: session=of-",
		"no-store":          "Cache-Control: no-store",
		"a cookie, private": "Cache-Control: private, max-age=9|Set-Cookie: session=of-",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, nil, &httpcache.Options{Expiration: 10 * time.Second}, nil, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					w.Header().Set("ETag", `"1"`)
					if r.Header.Get("If-None-Match") == "" {
						fmt.Fprint(w, "page")
						return
					}
					for _, h := range strings.Split(header, "|") {
						name, value, _ := strings.Cut(h, ": ")
						if name == "Set-Cookie" {
							value += r.Header.Get("Cookie")
						}
						w.Header().Set(name, value)
					}
					w.Header().Set("X-User", r.Header.Get("Cookie"))
					w.WriteHeader(http.StatusNotModified)
				})
				s.do("GET /", "Cookie: first")
				pass(15 * time.Second)
				bodies, cookies := pair(s, "alice", "bob")
				if bodies[0] != "page" || bodies[1] != "page" {
					t.Errorf("bodies %q", bodies)
				}
				if strings.Contains(cookies[1], "alice") {
					t.Errorf("bob got %q", cookies[1])
				}
				// The handler was asked for each.
				s.wantCalls("afterwards", 3)
			})
		})
	}
}

// TestCookieOfAConfirmation: a cookie that comes with a 304 which does not call itself fresh is
// its client's, though the response before was fresh by its own word.
func TestCookieOfAConfirmation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == "" {
				w.Header().Set("Cache-Control", "max-age=10")
				fmt.Fprint(w, "page")
				return
			}
			w.Header().Set("Set-Cookie", "session=of-"+r.Header.Get("Cookie"))
			w.WriteHeader(http.StatusNotModified)
		})
		s.do("GET /", "Cookie: first")
		pass(15 * time.Second)
		s.do("GET /", "Cookie: alice")
		if got := s.do("GET /", "Cookie: bob").Header.Get("Set-Cookie"); got != "" {
			t.Errorf("bob got %q", got)
		}
	})
}
