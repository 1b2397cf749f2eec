package httpcache_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStatusOfStale: a response that was there and is stale is no "uri-miss", which says that
// there was none; RFC 9211, section 2.2.
func TestStatusOfStale(t *testing.T) {
	for _, validator := range []string{`ETag: "1"`, "X: y"} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=10, stale-if-error=60")
				name, value, _ := strings.Cut(validator, ": ")
				w.Header().Set(name, value)
				if r.Header.Get("If-None-Match") != "" {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				fmt.Fprint(w, "page")
			})
			s.wantStatus("first", s.do("GET /"), "fwd=uri-miss; stored")
			s.wantStatus("a request that wants it fresher", s.do("HEAD /", "Cache-Control: min-fresh=20"), "fwd=request")
			pass(15 * time.Second)
			s.wantStatus("HEAD", s.do("HEAD /"), "fwd=stale")
			want := "fwd=stale; fwd-status=304; stored"
			if validator == "X: y" {
				want = "fwd=stale; stored"
			}
			s.wantStatus(validator, s.do("GET /"), want)
			s.wantStatus("a request with no-cache", s.do("GET /", "Cache-Control: no-cache"), strings.Replace(want, "stale", "request", 1))
		})
	}
}
