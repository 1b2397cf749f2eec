package httpcache_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestQueryThatIsNoEncoding: what is no percent-encoding does not become one when its neighbour
// is decoded. A handler does not see such a parameter at all.
func TestQueryThatIsNoEncoding(t *testing.T) {
	for _, pair := range [][2]string{
		{"/a?to=%2%46home", "/a?to=%2Fhome"},
		{"/a?to=%2%36", "/a?to=%26"},
		{"/a?to=%%32%35", "/a?to=%25"},
		{"/a?a%2%36b=1", "/a?a%26b=1"},
		{"/a?%25%41=1", "/a?%2541=1"},
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprintf(w, "%q", r.URL.Query())
			})
			s.do("GET " + pair[0])
			want := fmt.Sprintf("%q", httptest.NewRequest("GET", pair[1], nil).URL.Query())
			s.want(pair[0]+" and "+pair[1], s.do("GET "+pair[1]), 200, want, s.calls.Load())
		})
	}
}

// TestQueryNamesInTwoSpellings: parameters of one name keep their order, however the name is
// written.
func TestQueryNamesInTwoSpellings(t *testing.T) {
	for _, pair := range [][2]string{
		{"/a?a+b=1&a%20b=2", "/a?a%20b=2&a+b=1"},
		{"/a?a!=1&a%21=2", "/a?a%21=2&a!=1"},
		{"/a?ids[]=1&ids%5B%5D=2", "/a?ids%5B%5D=2&ids[]=1"},
		{"/a?é=1&%C3%A9=2", "/a?%C3%A9=2&é=1"},
		{"/a?a=1&b=2&%61=3", "/a?%61=3&b=2&a=1"},
	} {
		bubble(t, func(t *testing.T) {
			s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprintf(w, "%q", r.URL.Query())
			})
			s.do("GET " + pair[0])
			want := fmt.Sprintf("%q", httptest.NewRequest("GET", pair[1], nil).URL.Query())
			s.want(pair[0]+" and "+pair[1], s.do("GET "+pair[1]), 200, want, s.calls.Load())
		})
	}
}

// TestRewrittenPath: the key of a request whose path was rewritten outside of the cache is that
// of no other request.
func TestRewrittenPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, r.URL.Path)
		})
		inner := s.cached
		s.cached = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/start" {
				r = r.Clone(r.Context())
				r.URL.Path = "/pages/7"
			}
			inner.ServeHTTP(w, r)
		})
		s.want("another", s.do("GET /start%20/pages/7"), 200, "/start /pages/7", 1)
		s.want("rewritten", s.do("GET /start"), 200, "/pages/7", 2)
	})
}

// TestHostAsSent: a handler that tells hosts apart byte by byte, as the patterns of a ServeMux
// do, is not asked for one host and answered for another.
func TestHostAsSent(t *testing.T) {
	for _, host := range []string{"EXAMPLE.com", "example.com:80", "ex%61mple.com", "example.com."} {
		bubble(t, func(t *testing.T) {
			mux := http.NewServeMux()
			page := func(text string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "max-age=60")
					fmt.Fprint(w, text)
				}
			}
			mux.HandleFunc("example.com/", page("the shop"))
			mux.HandleFunc("/", page("no such site"))
			s := newSite(t, nil, nil, nil, mux.ServeHTTP)
			bare := func(host string) string {
				w := httptest.NewRecorder()
				r := httptest.NewRequest("GET", "/", nil)
				r.Host = host
				mux.ServeHTTP(w, r)
				return w.Body.String()
			}
			for range 2 {
				for _, h := range []string{host, "example.com"} {
					r := httptest.NewRequest("GET", "/", nil)
					r.Host = h
					w := httptest.NewRecorder()
					s.cached.ServeHTTP(w, r)
					s.want(h, w.Result(), 200, bare(h), s.calls.Load())
				}
			}
			ok(t, httpcache.Delete(t.Context(), s.region, nil, "http://example.com/"))
			before := s.calls.Load()
			s.do("GET http://example.com/")
			s.wantCalls("deleted", before+1)
		})
	}
}

// TestPathAsSent: routers such as chi and echo look at RawPath where there is one. A request for
// a path in another spelling is not found there, and nobody else is to be told so.
func TestPathAsSent(t *testing.T) {
	for _, pair := range [][2]string{{"/%61bout", "/about"}, {"/a%2fb", "/a%2Fb"}, {"/%7Ea", "/~a"}} {
		bubble(t, func(t *testing.T) {
			route := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				path := r.URL.RawPath
				if path == "" {
					path = r.URL.Path
				}
				if path != pair[1] && path != httptest.NewRequest("GET", pair[1], nil).URL.Path {
					w.WriteHeader(http.StatusNotFound)
				}
				fmt.Fprint(w, path)
			}
			s := newSite(t, nil, nil, nil, route)
			for range 2 {
				for _, target := range pair {
					w := httptest.NewRecorder()
					route(w, httptest.NewRequest("GET", target, nil))
					s.want(target, s.do("GET "+target), w.Code, w.Body.String(), s.calls.Load())
				}
			}
			s.wantCalls("in all", 2)
			// One resource all the same: each spelling deletes both.
			for i, target := range pair {
				ok(t, httpcache.Delete(t.Context(), s.region, nil, "http://example.com"+target))
				s.do("GET " + pair[0])
				s.do("GET " + pair[1])
				s.wantCalls("deleted "+target, int64(2*i+4))
			}
		})
	}
}

// TestAbsoluteForm: a request in absolute form tells a handler more than one in origin form.
func TestAbsoluteForm(t *testing.T) {
	for _, first := range []string{
		"https://example.com/a", "http://eve@example.com/a", "ftp://example.com/a", "http:a", "http:b",
	} {
		bubble(t, func(t *testing.T) {
			show := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprintf(w, "%s %q %v %s %s", r.URL.Scheme, r.URL.Path, r.URL.User, r.URL.Opaque, r.Host)
			}
			s := newSite(t, nil, nil, nil, show)
			for _, target := range []string{first, "http://example.com/a", "/a", "http:c"} {
				ask := func() *http.Request {
					r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: example.com\r\n\r\n")))
					ok(t, err)
					return r
				}
				bare, w := httptest.NewRecorder(), httptest.NewRecorder()
				show(bare, ask())
				s.cached.ServeHTTP(w, ask())
				s.want(target, w.Result(), 200, bare.Body.String(), s.calls.Load())
			}
		})
	}
}

// TestHostOfAnyBytes: hosts as HTTP/2 and tests can have them.
func TestHostOfAnyBytes(t *testing.T) {
	for _, pair := range [][4]string{
		{"a/b", "/c", "a", "/b/c"},
		{"\xff", "/", "\xfe", "/"},
		{"a?b=", "/", "a", "/?b=/"},
		{"\u212aelvin", "/", "kelvin", "/"},
		{"a b", "/", "a%20b", "/"},
		{"a*", "", "a", "*"},
	} {
		bubble(t, func(t *testing.T) {
			show := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				fmt.Fprintf(w, "%q %q %q", r.Host, r.URL.Path, r.URL.RawQuery)
			}
			s := newSite(t, nil, nil, nil, show)
			for i := 0; i < 4; i += 2 {
				u, err := url.Parse(pair[i+1])
				ok(t, err)
				r := &http.Request{Method: "GET", Host: pair[i], URL: u, RequestURI: pair[i+1], Header: http.Header{}}
				bare, w := httptest.NewRecorder(), httptest.NewRecorder()
				show(bare, r)
				s.cached.ServeHTTP(w, r)
				s.want(fmt.Sprint(pair), w.Result(), 200, bare.Body.String(), int64(i/2+1))
			}
		})
	}
}

// FuzzTarget: what a handler can tell of a request's target, other than the order and the
// spelling of its query's parameters, is told to none but those who have asked so.
func FuzzTarget(f *testing.F) {
	for _, pair := range [][2]string{
		{"/a", "/%61"}, {"/a?x=%2%46", "/a?x=%2F"}, {"/a?a+b=1&a%20b=2", "/a?a%20b=2&a+b=1"}, {"http://h/a", "/a"},
		{"/t/a", "/t/t/a"}, {"/a%2fb", "/a/b"}, {"/a?x=%00&x", "/a?x&x=%00"}, {"http:a", "http:b"}, {"//h/a", "/a"}, {"/a?", "/a"},
		{"/a?x;y=1", "/a?x%3By=1"}, {"/a?%=1&%25=2", "/a?%25=2&%=1"}, {"*", "/*"}, {"https://h/", "/"}, {"http://u@h/", "/"},
		{"/t/%74/a", "/t/t/a"}, {"/t%2Fa", "/t/a"},
	} {
		f.Add(pair[0], pair[1], "h", "h", false, false)
		f.Add(pair[0], pair[1], "H:80", "h", true, false)
	}
	f.Fuzz(func(t *testing.T, first, second, host1, host2 string, strip1, strip2 bool) {
		show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			u := *r.URL
			u.RawQuery, u.ForceQuery = "", false
			fmt.Fprintf(w, "%q %q %q %q %q", r.Host, u.String(), u.Path, u.RawPath, r.URL.Query())
		})
		b, err := memory.New(nil)
		ok(t, err)
		region := dogpile.NewRegion("")
		ok(t, region.Configure(b, nil))
		defer region.Close(t.Context())
		cached := httpcache.Middleware(region, nil)(show)
		ask := func(h http.Handler, target, host string, strip bool) string {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
			if err != nil || r.ContentLength != 0 {
				return ""
			}
			if strip {
				h = http.StripPrefix("/t", h)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Body.String()
		}
		for range 2 {
			if got, want := ask(cached, first, host1, strip1), ask(show, first, host1, strip1); got != want {
				t.Errorf("%q after %q: %s, want %s", first, second, got, want)
			}
			if got, want := ask(cached, second, host2, strip2), ask(show, second, host2, strip2); got != want {
				t.Errorf("%q after %q: %s, want %s", second, first, got, want)
			}
		}
	})
}
