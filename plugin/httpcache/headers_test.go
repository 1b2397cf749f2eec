package httpcache_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// bare returns what a handler answers without a cache, to the same request.
func (s *site) bare(h http.Handler, request string, headers ...string) *http.Response {
	c := s.cached
	defer func() { s.cached = c }()
	s.cached = h
	return s.do(request, headers...)
}

// TestHeadersOfOuterHandlers: what a middleware outside of the cache has added to Vary and
// Set-Cookie stays, on a miss, on a hit, and where the handler writes directly.
func TestHeadersOfOuterHandlers(t *testing.T) {
	for _, control := range []string{"max-age=60", "no-store"} {
		bubble(t, func(t *testing.T) {
			inner := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", control)
				w.Header().Add("Vary", "Accept-Language")
				w.Header().Add("Link", "</style.css>; rel=preload")
				w.Header().Add("Set-Cookie", "inner=1")
				fmt.Fprint(w, "page")
			}
			outer := func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Add("Vary", "Origin")
					w.Header().Add("Link", "</fonts.css>; rel=preload")
					w.Header().Add("Set-Cookie", "outer="+r.Header.Get("X-User"))
					h.ServeHTTP(w, r)
				})
			}
			s := newSite(t, nil, nil, nil, inner)
			s.cached = outer(s.cached)
			for i := range 3 {
				user := fmt.Sprint("X-User: ", i)
				want := s.bare(outer(http.HandlerFunc(inner)), "GET /", user).Header
				got := s.do("GET /", user).Header
				for _, name := range []string{"Vary", "Set-Cookie", "Link"} {
					if fmt.Sprint(got[name]) != fmt.Sprint(want[name]) {
						t.Errorf("%s, %d: %s is %q, want %q", control, i, name, got[name], want[name])
					}
				}
			}
		})
	}
}

// TestTrailersOfAStream: a response that cannot be stored keeps its trailers, in the first run too.
func TestTrailersOfAStream(t *testing.T) {
	t.Parallel()
	for _, control := range []string{"no-store", "max-age=60"} {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", control)
			w.Header().Set("Trailer", "Checksum")
			fmt.Fprint(w, "page")
			w.Header().Set("Checksum", "abc")
			w.Header().Set(http.TrailerPrefix+"Late", "def")
		})
		server := httptest.NewServer(s.cached)
		defer server.Close()
		for i := range 2 {
			resp, err := http.Get(server.URL)
			ok(t, err)
			_, err = io.ReadAll(resp.Body)
			ok(t, err)
			_ = resp.Body.Close()
			if got := resp.Trailer.Get("Checksum") + resp.Trailer.Get("Late"); got != "abcdef" {
				t.Errorf("%s, %d: trailers %q", control, i, resp.Trailer)
			}
		}
	}
}

// TestHeaderThatIsForbidden: a handler forbids the server to guess a Content-Type by a nil
// value; that is remembered.
func TestHeaderThatIsForbidden(t *testing.T) {
	for kind, options := range kinds {
		s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, "<html><script>alert(1)</script>")
		})
		server := httptest.NewServer(s.cached)
		defer server.Close()
		for i, partial := range []string{"", "", "If-None-Match", "Range"} {
			r, err := http.NewRequest("GET", server.URL, nil)
			ok(t, err)
			if partial != "" {
				r.Header.Set(partial, "bytes=0-")
			}
			resp, err := http.DefaultClient.Do(r)
			ok(t, err)
			_ = resp.Body.Close()
			if got, is := resp.Header["Content-Type"]; is {
				t.Errorf("%s, %d: Content-Type %q", kind, i, got)
			}
		}
	}
}

// TestGuessedContentType: a HEAD is told the type that a GET is told, where the server guesses.
func TestGuessedContentType(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "<html>")
	})
	server := httptest.NewServer(s.cached)
	defer server.Close()
	for _, method := range []string{"GET", "GET", "HEAD"} {
		r, err := http.NewRequest(method, server.URL, nil)
		ok(t, err)
		resp, err := http.DefaultClient.Do(r)
		ok(t, err)
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", method, got)
		}
	}
}

// TestPartOfWhatIsNotWhole: a body that is shorter than its Content-Length is not taken for the
// whole by those who ask for a part.
func TestPartOfWhatIsNotWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "01234")
		})
		for range 2 {
			got := s.do("GET /", "Range: bytes=-2")
			s.want("a part", got, 200, "01234", s.calls.Load())
			if got.Header.Get("Content-Range") != "" {
				t.Errorf("Content-Range %q", got.Header.Get("Content-Range"))
			}
		}
	})
}

// TestStatusThatIsNone: a server panics at it, and so does the handler behind the cache.
func TestStatusThatIsNone(t *testing.T) {
	for _, status := range []int{0, 99, 1000} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				w.WriteHeader(status)
				fmt.Fprint(w, "page")
			})
			for i := range 2 {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%d, %d: no panic", status, i)
						}
					}()
					s.do("GET /")
				}()
			}
			s.wantCalls(fmt.Sprint(status), 2)
		})
	}
}

// TestRangeOfAnotherUnit: units that the cache does not know are ignored; RFC 9110, section 14.2.
func TestRangeOfAnotherUnit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("ETag", `"1"`)
			fmt.Fprint(w, "01234")
		})
		for range 2 {
			s.want("lines", s.do("GET /", "Range: lines=1-2"), 200, "01234", 1)
			s.want("bytes", s.do("GET /", "Range: bytes=1-2"), 206, "12", 1)
			s.want("and a condition", s.do("GET /", "Range: lines=1-2", `If-None-Match: "1"`), 304, "", 1)
		}
	})
}
