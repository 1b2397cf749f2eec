package httpcache_test

import (
	"fmt"
	"net/http"
	"testing"
)

// TestHandlerThatTakesAuthorizationAway: a handler that checks the credentials of its request
// and hides them from what it calls has answered a request with credentials all the same.
func TestHandlerThatTakesAuthorizationAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			user, _, _ := r.BasicAuth()
			r.Header.Del("Authorization")
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, "the page of "+user)
		})
		s.want("alice", s.do("GET /", "Authorization: Basic YWxpY2U6eA=="), 200, "the page of alice", 1)
		s.want("bob", s.do("GET /", "Authorization: Basic Ym9iOng="), 200, "the page of bob", 2)
		s.want("nobody", s.do("GET /"), 200, "the page of ", 3)
	})
}

// TestHandlerThatTakesAcceptEncodingAway: middlewares that compress do so, lest the handler
// inside compress too. What the client has sent counts.
func TestHandlerThatTakesAcceptEncodingAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "Accept-Encoding")
			if r.Header.Get("Accept-Encoding") == "gzip" {
				r.Header.Del("Accept-Encoding")
				w.Header().Set("Content-Encoding", "gzip")
				fmt.Fprint(w, "compressed")
				return
			}
			fmt.Fprint(w, "plain")
		})
		s.want("gzip", s.do("GET /", "Accept-Encoding: gzip"), 200, "compressed", 1)
		s.want("gzip again", s.do("GET /", "Accept-Encoding: gzip"), 200, "compressed", 1)
		s.want("no encoding", s.do("GET /"), 200, "plain", 2)
	})
}

// TestVaryOnWhatTheCacheTakesAway: the handler runs once for each such request.
func TestVaryOnWhatTheCacheTakesAway(t *testing.T) {
	for _, name := range []string{"Range", "If-None-Match", "If-Modified-Since", "If-Range"} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60", "ETag: \"1\"", "Vary: "+name))
			value := map[string]string{"Range": "bytes=0-0", "If-None-Match": `"2"`}[name]
			if value == "" {
				value = "Sat, 01 Jan 1994 00:00:00 GMT"
			}
			s.do("GET /", name+": "+value)
			s.wantCalls(name, 1)
			s.do("GET /", name+": "+value)
			s.wantCalls(name+" again", 1)
		})
	}
}

// TestHandlerThatAsksOnItsOwnCondition: a handler that puts a condition into its request, and
// answers it, has not confirmed what the cache does not have.
func TestHandlerThatAsksOnItsOwnCondition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("If-None-Match", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		})
		s.want("first", s.do("GET /"), 304, "", 1)
	})
}
