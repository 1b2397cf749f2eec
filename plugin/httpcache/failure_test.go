package httpcache_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// pair has two clients ask at once, and returns the bodies and the cookies that they got.
func pair(s *site, cookies ...string) (bodies, set []string) {
	type answer struct{ body, cookie string }
	got := make([]chan answer, len(cookies))
	for i, cookie := range cookies {
		got[i] = make(chan answer, 1)
		go func() {
			r := s.do("GET /", "Cookie: "+cookie)
			b, _ := io.ReadAll(r.Body)
			got[i] <- answer{string(b), r.Header.Get("Set-Cookie")}
		}()
		pass(time.Millisecond)
	}
	for _, c := range got {
		a := <-c
		bodies, set = append(bodies, a.body), append(set, a.cookie)
	}
	return bodies, set
}

// TestFailureOfAnother: the page by which a handler tells one client of its failure is not
// shown to another client that has waited. Nothing says that it may be, RFC 9111, section 3.
func TestFailureOfAnother(t *testing.T) {
	for _, control := range []string{"", "private"} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Second)
				if control != "" {
					w.Header().Set("Cache-Control", control)
				}
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "sorry, "+r.Header.Get("Cookie"))
			})
			bodies, _ := pair(s, "alice", "bob")
			if strings.Contains(bodies[1], "alice") {
				t.Errorf("%q: bob got %q", control, bodies[1])
			}
		})
	}
}

// TestFailureOfAnotherAfterAStaleResponse: nor where a response before has been kept.
func TestFailureOfAnotherAfterAStaleResponse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fail := false
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			if fail {
				w.Header().Set("Cache-Control", "private, no-store")
				w.Header().Set("Set-Cookie", "session=of-"+r.Header.Get("Cookie"))
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "sorry, "+r.Header.Get("Cookie"))
				return
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-if-error=10")
			w.Header().Set("ETag", `"1"`)
			fmt.Fprint(w, "fine")
		})
		s.do("GET /", "Cookie: first")
		fail = true
		for _, after := range []time.Duration{15 * time.Second, 15 * time.Second, 48 * time.Hour} {
			pass(after)
			bodies, cookies := pair(s, "alice", "bob")
			if strings.Contains(bodies[1]+cookies[1], "alice") {
				t.Errorf("after %v: bob got %q and %q", after, bodies[1], cookies[1])
			}
		}
	})
}

// TestFailureAtTheEdge: a failure for which a response before was to stand in, and has become too
// old meanwhile, is its client's alone.
func TestFailureAtTheEdge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fail := false
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			if fail {
				w.Header().Set("Cache-Control", "private, no-store")
				w.Header().Set("Set-Cookie", "session=of-"+r.Header.Get("Cookie"))
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "sorry, "+r.Header.Get("Cookie"))
				return
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-if-error=10")
			fmt.Fprint(w, "fine")
		})
		s.do("GET /", "Cookie: first")
		fail = true
		pass(19500 * time.Millisecond)
		bodies, cookies := pair(s, "alice", "bob")
		if bodies[0] != "sorry, alice" || cookies[0] != "session=of-alice" {
			t.Errorf("alice got %q and %q", bodies[0], cookies[0])
		}
		if strings.Contains(bodies[1]+cookies[1], "alice") {
			t.Errorf("bob got %q and %q", bodies[1], cookies[1])
		}
	})
}

// TestFailureAfterStaleIfError: a response that is too old to stand in leaves the handler's own
// answer, in status and body.
func TestFailureAfterStaleIfError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		fail := false
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if fail {
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "sorry")
				return
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-if-error=10")
			w.Header().Set("ETag", `"1"`)
			fmt.Fprint(w, "fine")
		})
		s.do("GET /")
		fail = true
		pass(15 * time.Second)
		s.want("in time", s.do("GET /"), 200, "fine", 2)
		pass(15 * time.Second)
		s.want("too late", s.do("GET /"), 500, "sorry", 3)
		s.want("at once again", s.do("GET /"), 500, "sorry", s.calls.Load())
	})
}
