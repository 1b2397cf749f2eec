package httpcache_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// seen is all that a handler which does not look for the order of query parameters can tell of
// a request's target.
func seen(r *http.Request) string {
	return fmt.Sprintf("%q %q %v %q", strings.ToLower(r.Host), r.URL.Path, r.TLS != nil, r.URL.Query().Encode())
}

// FuzzKey: two requests to one cache are answered as they would be without it.
func FuzzKey(f *testing.F) {
	for _, pair := range [][2]string{
		{"/a", "/A"}, // what go-chi/stampede took for one
		{"/a?x=1", "/a?x=2"},
		{"/a", "/a?x=1"},
		{"/a?", "/a"},
		{"/a?x=1&y=2", "/a?y=2&x=1"},
		{"/a?x=1&x=2", "/a?x=2&x=1"},
		{"/a%2Fb", "/a/b"},
		{"/%61", "/a"},
		{"/a%20b", "/a+b"},
		{"/a?x=%20", "/a?x=+"},
		{"/a?x", "/a?x="},
		{"/a?x=%26", "/a?x=&"},
		{"/a?x=1;y=2", "/a?x=1"},
		{"/a?%zz=1", "/a?"},
		{"http://b/a", "/a"},
		{"/a?x=%00", "/a?x="},
		{"/é", "/%C3%A9"},
		{"/a b", "/a"},
		{"//a", "/a"},
		{"/a%3Fx=1", "/a?x=1"},
	} {
		f.Add(pair[0], pair[1], "example.com", "example.com", false, false)
	}
	f.Add("/", "/", "example.com", "example.com:80", false, false)
	f.Add("/", "/", "example.com", "example.com:80", true, true)
	f.Add("/", "/", "example.com", "example.com", true, false)
	f.Add("/", "/", "a/b", "a", false, false)
	f.Fuzz(func(t *testing.T, first, second, host1, host2 string, tls1, tls2 bool) {
		b, err := memory.New(nil)
		ok(t, err)
		region := dogpile.NewRegion("")
		ok(t, region.Configure(b, nil))
		defer region.Close(t.Context())
		cached := httpcache.Middleware(region, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, seen(r))
		}))
		for _, r := range []*http.Request{parse(first, host1, tls1), parse(second, host2, tls2)} {
			if r == nil {
				return
			}
			for range 2 {
				w := httptest.NewRecorder()
				cached.ServeHTTP(w, r)
				if got, want := w.Body.String(), seen(r); got != want && canonicalPort(got) != canonicalPort(want) {
					t.Errorf("%q and %q: the answer to %s is %s", first, second, want, got)
				}
			}
		}
	})
}

// canonicalPort takes the ports away that a host may be written with.
func canonicalPort(s string) string {
	return strings.Replace(strings.Replace(s, `:80"`, `"`, 1), `:443"`, `"`, 1)
}

// parse returns a request as a server reads it; nil if a server refuses it.
func parse(target, host string, secure bool) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
	if err != nil || r.ContentLength != 0 {
		return nil
	}
	if secure {
		r.TLS = new(tls.ConnectionState)
	}
	return r
}

// TestKeys: which requests share a response.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		a, b string
		same bool
	}{
		{"/a?x=1&y=2", "/a?y=2&x=1", true},
		{"/a?x=1&y=2&x=3", "/a?y=2&x=1&x=3", true},
		{"/a?x=1&x=3", "/a?x=3&x=1", false},
		{"/a?x=%7e", "/a?x=~", true},
		{"/a%2fb", "/a%2Fb", false},
		{"/a%2fb", "/a/b", false},
		{"/a", "/A", false},
		{"/a", "/a/", false},
		{"/a", "/a?", false},
		{"http://EXAMPLE.com/a", "http://example.com:80/a", false},
		{"http://example.com/a", "https://example.com/a", false},
		{"http://example.com/a", "http://example.org/a", false},
	} {
		s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
		s.do("GET " + row.a)
		s.do("GET " + row.b)
		if same := s.calls.Load() == 1; same != row.same {
			t.Errorf("%s and %s share a response: %v, want %v", row.a, row.b, same, row.same)
		}
	}
}

// TestStrippedPrefix: two handlers that are mounted under prefixes see one path, and a URL is
// deleted as clients know it.
func TestStrippedPrefix(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, answers("Cache-Control: max-age=60"))
		mux := http.NewServeMux()
		mux.Handle("/a/", http.StripPrefix("/a", s.cached))
		mux.Handle("/b/", http.StripPrefix("/b", s.cached))
		s.cached = mux
		s.want("a", s.do("GET /a/x"), 200, "1", 1)
		s.want("b", s.do("GET /b/x"), 200, "2", 2)
		s.want("a again", s.do("GET /a/x"), 200, "1", 2)
		ok(t, httpcache.Delete(t.Context(), s.region, nil, "http://example.com/a/x"))
		s.want("a deleted", s.do("GET /a/x"), 200, "3", 3)
		s.want("b again", s.do("GET /b/x"), 200, "2", 3)
	})
}

// TestOwnKey: Options.Key replaces the URL.
func TestOwnKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &httpcache.Options{Key: func(r *http.Request) string { return r.URL.Path }}
		s := newSite(t, nil, o, nil, answers("Cache-Control: max-age=60"))
		s.want("first", s.do("GET /a?session=1"), 200, "1", 1)
		s.want("hit", s.do("GET http://elsewhere/a?session=2"), 200, "1", 1)
		ok(t, httpcache.Delete(t.Context(), s.region, o, "http://any/a"))
		s.want("deleted", s.do("GET /a"), 200, "2", 2)
	})
}
