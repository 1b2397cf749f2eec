package httpcache_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestReloadOfAVariant: who has one variant made anew, and gets a response that cannot be stored,
// does not take the others away.
func TestReloadOfAVariant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Vary", "Cookie")
			w.Header().Set("Cache-Control", "max-age=3600")
			if r.Header.Get("Cookie") != "" {
				w.Header().Set("Cache-Control", "private")
			}
			fmt.Fprint(w, "page"+r.Header.Get("Cookie"))
		})
		s.want("nobody", s.do("GET /"), 200, "page", 1)
		for i := range int64(3) {
			s.want("alice reloads", s.do("GET /", "Cookie: alice", "Cache-Control: no-cache"), 200, "pagealice", 2+i)
			s.want("nobody again", s.do("GET /"), 200, "page", 2+i)
			pass(20 * time.Second)
			s.want("nobody later", s.do("GET /"), 200, "page", 2+i)
		}
		s.want("nobody reloads", s.do("GET /", "Cache-Control: no-cache"), 200, "page", 5)
		s.want("nobody at last", s.do("GET /"), 200, "page", 5)
	})
}
