package httpcache_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestWhatIsStored: the second request is answered from the cache, or reaches the handler.
func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		response string // header lines, separated by |
		request  string // the same, of both requests
		stored   bool
	}{
		{"nothing is said", "", "", false},
		{"max-age", "Cache-Control: max-age=60", "", true},
		{"s-maxage", "Cache-Control: s-maxage=60", "", true},
		{"s-maxage that forbids what max-age allows", "Cache-Control: max-age=60, s-maxage=0", "", false},
		{"Expires", "Expires: Sat, 01 Jan 2050 00:00:00 GMT", "", true},
		{"Expires in the past", "Expires: Sat, 01 Jan 2000 00:00:00 GMT", "", false},
		{"Expires that is no date", "Expires: 0", "", false},
		{"old by the Last-Modified", "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT", "", true},
		{"private", "Cache-Control: private, max-age=60", "", false},
		{"private for a header", `Cache-Control: private="x", max-age=60`, "", false},
		{"no-store", "Cache-Control: no-store, max-age=60", "", false},
		{"no-store in another line", "Cache-Control: max-age=60|Cache-Control: no-store", "", false},
		{"no-store in capitals", "Cache-Control: MAX-AGE=60, NO-STORE", "", false},
		{"no-store behind what cannot be read", "Cache-Control: max-age=x, no-store", "", false},
		{"max-age that cannot be read", "Cache-Control: max-age=1e3", "", false},
		{"no-cache", "Cache-Control: no-cache, max-age=60", "", false},
		{"older than max-age", "Cache-Control: max-age=60|Age: 61", "", false},
		{"younger than max-age", "Cache-Control: max-age=60|Age: 50", "", true},
		{"an Age that is no number", "Cache-Control: max-age=60|Age: x", "", false},
		{"Vary by everything", "Cache-Control: max-age=60|Vary: *", "", false},
		{"Vary", "Cache-Control: max-age=60|Vary: Foo", "Foo: 1", true},
		{"a cookie, fresh by its own word", "Cache-Control: max-age=60|Set-Cookie: a=b", "", true},
		{"a cookie, fresh by a guess", "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT|Set-Cookie: a=b", "", false},
		{"a cookie in the request", "Cache-Control: max-age=60", "Cookie: a=b", true},
		{"Authorization", "Cache-Control: max-age=60", "Authorization: Basic eDp5", false},
		{"Authorization, public", "Cache-Control: public, max-age=60", "Authorization: Basic eDp5", true},
		{"Authorization, s-maxage", "Cache-Control: s-maxage=60", "Authorization: Basic eDp5", true},
		{"Authorization, must-revalidate", "Cache-Control: max-age=60, must-revalidate", "Authorization: Basic eDp5", true},
		{"a request with no-store", "Cache-Control: max-age=60", "Cache-Control: no-store", false},
		{"a request with no-cache", "Cache-Control: max-age=60", "Cache-Control: no-cache", false},
		{"a request with max-age=0", "Cache-Control: max-age=60", "Cache-Control: max-age=0", false},
		{"a request with Pragma", "Cache-Control: max-age=60", "Pragma: no-cache", false},
		{"a request that wants it fresher", "Cache-Control: max-age=60", "Cache-Control: min-fresh=61", false},
		{"a request that wants it fresh", "Cache-Control: max-age=60", "Cache-Control: min-fresh=30, max-age=10", true},
		{"a request with If-Match", "Cache-Control: max-age=60|ETag: \"1\"", `If-Match: "1"`, false},
		{"a trailer", "Cache-Control: max-age=60|Trailer: X", "", false},
	} {
		for kind, options := range kinds {
			t.Run(row.name+" "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					pass(20 * 365 * 24 * time.Hour) // it is 2020 or so
					s := newSite(t, options, nil, nil, answers(lines(row.response)...))
					s.want("first", s.do("GET /", lines(row.request)...), 200, "1", 1)
					second, calls := "2", int64(2)
					if row.stored {
						second, calls = "1", 1
					}
					s.want("second", s.do("GET /", lines(row.request)...), 200, second, calls)
				})
			})
		}
	}
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "|")
}

// TestStatusCodes: what may be stored with an explicit lifetime, and what by a guess.
func TestStatusCodes(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct{ explicit, guessed bool }{
		200: {true, true}, 203: {true, true}, 204: {true, true}, 201: {true, false}, 206: {false, false},
		301: {true, true}, 302: {true, false}, 304: {false, false}, 404: {true, true}, 403: {true, false},
		410: {true, true}, 500: {true, false}, 501: {true, true}, 503: {true, false}, 599: {true, false},
	} {
		for explicit, stored := range map[string]bool{"Cache-Control: max-age=60": want.explicit, "": want.guessed} {
			t.Run(fmt.Sprint(status, explicit), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newSite(t, nil, &httpcache.Options{Expiration: time.Minute}, nil, func(w http.ResponseWriter, _ *http.Request) {
						if explicit != "" {
							w.Header().Set("Cache-Control", "max-age=60")
						}
						w.WriteHeader(status)
					})
					for range 2 {
						if got := s.do("GET /").StatusCode; got != status {
							t.Errorf("status %d", got)
						}
					}
					if n := s.calls.Load(); (n == 1) != stored {
						t.Errorf("the handler was called %d times, stored should be %v", n, stored)
					}
				})
			})
		}
	}
}

// TestServedFromTheCache: header, Age, Date and Cache-Status of a hit.
func TestServedFromTheCache(t *testing.T) {
	for kind, options := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, options, nil, nil, answers("Cache-Control: max-age=60", "X-Raw: \xff\x00\xfe", "Link: a", "Link: b", "Connection: X-Hop", "X-Hop: 1", "Age: 5"))
				first := s.do("GET /a")
				s.want("first", first, 200, "1", 1)
				s.wantStatus("first", first, "fwd=uri-miss; stored")
				pass(10 * time.Second)
				hit := s.do("GET /a")
				s.want("hit", hit, 200, "1", 1)
				s.wantStatus("hit", hit, "hit")
				if cs := hit.Header.Get("Cache-Status"); !strings.HasSuffix(cs, "hit;ttl=45") {
					t.Errorf("Cache-Status: %s", cs)
				}
				for name, want := range map[string]string{
					"Age": "15", "Date": "Sat, 01 Jan 2000 00:00:00 GMT", "X-Raw": "\xff\x00\xfe", "X-Hop": "", "Connection": "",
					"Content-Length": "1", "Content-Type": first.Header.Get("Content-Type"),
				} {
					if got := hit.Header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if links := hit.Header["Link"]; len(links) != 2 {
					t.Errorf("Link: %q", links)
				}
				pass(46 * time.Second)
				stale := s.do("GET /a")
				s.want("stale", stale, 200, "2", 2)
				s.wantStatus("stale", stale, "fwd=uri-miss; stored")
			})
		})
	}
}

// TestStaleWhileRevalidate is RFC 5861, section 3: one request renews the response, the others
// get it stale.
func TestStaleWhileRevalidate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		handler := answers("Cache-Control: max-age=10, stale-while-revalidate=20")
		slow := false
		s := newSite(t, nil, nil, &dogpile.Options{Runner: dogpile.Background}, func(w http.ResponseWriter, r *http.Request) {
			if slow {
				time.Sleep(5 * time.Second)
			}
			handler(w, r)
		})
		s.want("first", s.do("GET /"), 200, "1", 1)
		pass(29 * time.Second)
		slow = true
		stale := s.do("GET /")
		s.want("stale", stale, 200, "1", s.calls.Load()) // it may be asked for already
		s.wantStatus("stale", stale, "hit")
		pass(0)
		s.want("while it is renewed", s.do("GET /"), 200, "1", 2)
		pass(5 * time.Second)
		s.want("renewed", s.do("GET /"), 200, "2", 2)
		pass(31 * time.Second)
		s.want("too old", s.do("GET /"), 200, "3", 3)
	})
}

// TestStaleIfError is RFC 5861, section 4.
func TestStaleIfError(t *testing.T) {
	for kind, options := range kinds {
		for _, how := range []string{"503", "private 500", "a panic"} {
			t.Run(kind+" "+how, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					down := false
					s := newSite(t, options, nil, nil, func(w http.ResponseWriter, _ *http.Request) {
						switch {
						case !down:
							w.Header().Set("Cache-Control", "max-age=10, stale-if-error=60")
							_, _ = io.WriteString(w, "up")
						case how == "503":
							http.Error(w, "down", http.StatusServiceUnavailable)
						case how == "private 500":
							w.Header().Set("Cache-Control", "private, no-store")
							w.WriteHeader(500)
							_, _ = io.WriteString(w, "down\n")
						default:
							panic("down")
						}
					})
					s.want("first", s.do("GET /"), 200, "up", 1)
					down = true
					pass(69 * time.Second)
					got := s.do("GET /")
					s.want("down", got, 200, "up", 2)
					s.wantStatus("down", got, "hit")
					pass(30 * time.Second)
					if how == "a panic" {
						wantPanic(t, "too old", "down", func() { s.do("GET /") })
						return
					}
					s.want("too old", s.do("GET /"), map[string]int{"503": 503, "private 500": 500}[how], "down\n", 3)
				})
			})
		}
	}
}

func wantPanic(t *testing.T, what, text string, f func()) {
	t.Helper()
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), text) {
			t.Errorf("%s: panic %v, want %s", what, v, text)
		}
	}()
	f()
}

// TestRevalidation: a stale response is asked about, and goes on with the header of the 304.
func TestRevalidation(t *testing.T) {
	for kind, options := range kinds {
		for _, row := range []struct{ name, control, second, third string }{
			{"stale", "max-age=10", "fwd=stale; fwd-status=304; stored", "hit"},
			{"no-cache", "no-cache", "fwd=stale; fwd-status=304", "fwd=stale; fwd-status=304"},
			{"stale from the beginning", "max-age=0", "fwd=stale; fwd-status=304", "fwd=stale; fwd-status=304"},
		} {
			t.Run(kind+" "+row.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					version, asked := "1", []string(nil)
					s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
						asked = append(asked, r.Header.Get("If-None-Match"))
						w.Header().Set("Cache-Control", row.control)
						w.Header().Set("ETag", `"`+version+`"`)
						w.Header().Set("X-Now", fmt.Sprint(len(asked)))
						if r.Header.Get("If-None-Match") == `"`+version+`"` {
							w.WriteHeader(304)
							return
						}
						_, _ = io.WriteString(w, "version "+version)
					})
					s.want("first", s.do("GET /"), 200, "version 1", 1)
					pass(time.Minute)
					got := s.do("GET /")
					s.want("it holds", got, 200, "version 1", 2)
					s.wantStatus("it holds", got, row.second)
					if now := got.Header.Get("X-Now"); now != "2" || got.Header.Get("Age") > "0" {
						t.Errorf("header %v", got.Header)
					}
					got = s.do("GET /")
					s.want("at once", got, 200, "version 1", s.calls.Load())
					s.wantStatus("at once", got, row.third)
					pass(time.Minute)
					version = "2"
					s.want("it has changed", s.do("GET /"), 200, "version 2", s.calls.Load())
					s.want("afterwards", s.do("GET /"), 200, "version 2", s.calls.Load())
					if asked[0] != "" || asked[1] != `"1"` {
						t.Errorf("asked with %q", asked)
					}
				})
			})
		}
	}
}

// TestParts: conditions and ranges of clients are answered from the cache, on a hit and on a
// miss.
func TestParts(t *testing.T) {
	for kind, options := range kinds {
		for _, row := range []struct {
			request string
			status  int
			body    string
		}{
			{`If-None-Match: "v"`, 304, ""},
			{`If-None-Match: W/"v"`, 304, ""},
			{`If-None-Match: "x", "v"`, 304, ""},
			{`If-None-Match: *`, 304, ""},
			{`If-None-Match: "x"`, 200, "0123456789"},
			{"If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT", 304, ""},
			{"If-Modified-Since: Fri, 31 Dec 1999 23:59:59 GMT", 304, ""},
			{"If-Modified-Since: Thu, 30 Dec 1999 00:00:00 GMT", 200, "0123456789"},
			{"Range: bytes=2-4", 206, "234"},
			{"Range: bytes=-1", 206, "9"},
			{"Range: bytes=90-", 416, "invalid range: failed to overlap\n"},
			{"Range: bytes=0-1|If-Range: \"v\"", 206, "01"},
			{"Range: bytes=0-1|If-Range: \"x\"", 200, "0123456789"},
		} {
			t.Run(kind+" "+row.request, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
						for _, name := range []string{"Range", "If-None-Match", "If-Modified-Since", "If-Range"} {
							if v := r.Header.Get(name); v != "" {
								t.Errorf("the handler is asked with %s: %s", name, v)
							}
						}
						w.Header().Set("Cache-Control", "max-age=60")
						w.Header().Set("ETag", `"v"`)
						w.Header().Set("Last-Modified", "Fri, 31 Dec 1999 12:00:00 GMT")
						_, _ = io.WriteString(w, "0123456789")
					})
					s.want("miss", s.do("GET /", lines(row.request)...), row.status, row.body, 1)
					hit := s.do("GET /", lines(row.request)...)
					s.want("hit", hit, row.status, row.body, 1)
					if hit.Header.Get("ETag") != `"v"` && row.status != 416 {
						t.Errorf("%d without its ETag: %v", row.status, hit.Header)
					}
				})
			})
		}
	}
}

// TestHead: a HEAD is answered from what a GET has stored, and stores nothing.
func TestHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
		s.wantStatus("miss", s.do("HEAD /"), "fwd=uri-miss")
		s.want("GET", s.do("GET /"), 200, "2", 2)
		hit := s.do("HEAD /")
		s.want("hit", hit, 200, "", 2)
		s.wantStatus("hit", hit, "hit")
		if n := hit.Header.Get("Content-Length"); n != "1" {
			t.Errorf("Content-Length: %s", n)
		}
	})
}

// TestOnlyIfCached is RFC 9111, section 5.2.1.7.
func TestOnlyIfCached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
		only := "Cache-Control: only-if-cached"
		s.want("miss", s.do("GET /", only), 504, "Gateway Timeout\n", 0)
		s.do("GET /")
		s.want("hit", s.do("GET /", only), 200, "1", 1)
		s.want("too old", s.do("GET /", only+", max-age=0"), 504, "Gateway Timeout\n", 1)
		pass(time.Hour)
		s.want("stale", s.do("GET /", only), 504, "Gateway Timeout\n", 1)
	})
}

// TestUnsafeMethods: a request that may have changed something deletes what is cached, before
// its client sees the response.
func TestUnsafeMethods(t *testing.T) {
	for _, row := range []struct {
		method, header string
		status         int
		gone           []string
	}{
		{"POST", "", 200, []string{"/a"}},
		{"PUT", "", 204, []string{"/a"}},
		{"DELETE", "", 303, []string{"/a"}},
		{"MERGE", "", 200, []string{"/a"}},
		{"POST", "", 404, nil},
		{"POST", "", 500, nil},
		{"POST", "Location: /b", 201, []string{"/a", "/b"}},
		{"POST", "Content-Location: b?x=1", 200, []string{"/a", "/b?x=1"}},
		{"POST", "Location: http://elsewhere/b", 201, []string{"/a"}},
		{"POST", "Location: http://EXAMPLE.com:80/b", 201, []string{"/a", "/b"}},
		{"OPTIONS", "", 200, nil},
	} {
		t.Run(fmt.Sprint(row.method, row.header, row.status), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" {
						w.Header().Set("Cache-Control", "max-age=60")
						return
					}
					if name, value, found := strings.Cut(row.header, ": "); found {
						w.Header().Set(name, value)
					}
					w.WriteHeader(row.status)
				})
				for _, path := range []string{"/a", "/b", "/b?x=1"} {
					s.do("GET " + path)
				}
				s.wantStatus("changed", s.do(row.method+" /a"), "fwd=method")
				for _, path := range []string{"/a", "/b", "/b?x=1"} {
					gone := false
					for _, g := range row.gone {
						gone = gone || g == path
					}
					if hit := strings.Contains(s.do("GET "+path).Header.Get("Cache-Status"), "hit"); hit == gone {
						t.Errorf("%s: hit=%v", path, hit)
					}
				}
			})
		})
	}
}

// TestWithoutACache: a region that is not configured, or is closed, keeps nobody from the
// handler.
func TestWithoutACache(t *testing.T) {
	t.Parallel()
	region := dogpile.NewRegion("later")
	cached := httpcache.Middleware(region, nil)(answers("Cache-Control: max-age=60"))
	for i := range 3 {
		w := httptest.NewRecorder()
		cached.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if want := fmt.Sprint(i + 1); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%d %q, want %s", w.Code, w.Body, want)
		}
	}
}
