package httpcache_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestExpiresLongAgo: what has expired at the beginning of time, as Go writes a zero time, is
// stale, however old it is.
func TestExpiresLongAgo(t *testing.T) {
	for _, header := range []string{
		"Age: 1", "Date: Fri, 31 Dec 1999 23:59:00 GMT", "Date: Mon, 01 Jan 0001 00:00:00 GMT",
	} {
		for _, expires := range []string{"Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 1700 23:59:00 GMT"} {
			bubble(t, func(t *testing.T) {
				s := newSite(t, nil, nil, nil, answers(header, "ETag: \"1\"", "Expires: "+expires))
				s.want("first", s.do("GET /"), 200, "1", 1)
				got := s.do("GET /")
				s.want(header+", "+expires, got, 200, "2", 2)
				if age := got.Header.Get("Age"); strings.HasPrefix(age, "-") {
					t.Errorf("%s: Age %s", header, age)
				}
			})
		}
	}
}

// TestFreshForEver: lifetimes that no Duration can hold with what is added to them.
func TestFreshForEver(t *testing.T) {
	for _, header := range []string{
		"Cache-Control: stale-while-revalidate=99999999999, stale-if-error=99999999999",
		"Cache-Control: stale-if-error=2147483648", "X: y",
	} {
		for kind, options := range kinds {
			bubble(t, func(t *testing.T) {
				s := newSite(t, options, nil, nil, answers(header, `ETag: "1"`, "Expires: Fri, 31 Dec 9999 23:59:59 GMT"))
				s.want("first", s.do("GET /"), 200, "1", 1)
				pass(time.Hour)
				s.want(kind+" "+header, s.do("GET /"), 200, "1", 1)
				got := s.do("HEAD /")
				s.want(kind+" HEAD "+header, got, 200, "", 1)
			})
		}
	}
}

// TestNothingIsServedStale: without a word of it, not even to those who come while the handler
// runs, and whatever the region says.
func TestNothingIsServedStale(t *testing.T) {
	for _, control := range []string{
		"max-age=10", "max-age=10, must-revalidate, stale-while-revalidate=60", "s-maxage=10", "max-age=10, proxy-revalidate, stale-if-error=60",
		"max-age=10, stale-while-revalidate=0",
	} {
		for kind, options := range kinds {
			bubble(t, func(t *testing.T) {
				s := newSite(t, options, nil, nil, func(h http.HandlerFunc) http.HandlerFunc {
					return func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(time.Second)
						h(w, r)
					}
				}(answers("Cache-Control: "+control, "ETag: \"1\"")))
				s.do("GET /")
				pass(11 * time.Second)
				go s.do("GET /")
				pass(time.Second / 2)
				s.want(kind+" "+control, s.do("GET /"), 200, "2", 2)
			})
		}
	}
}
