package httpcache_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// site is a handler behind the cache.
type site struct {
	t      *testing.T
	region *dogpile.Region
	cached http.Handler
	calls  atomic.Int64 // of the handler
}

// kinds are the two kinds of backends: one keeps responses as they are, the other their bytes.
var kinds = map[string]*memory.Options{"objects": nil, "bytes": {Copy: true}}

// newSite returns a site whose region is closed when the test ends.
func newSite(t *testing.T, kind *memory.Options, o *httpcache.Options, ro *dogpile.Options, handler http.HandlerFunc) *site {
	t.Helper()
	b, err := memory.New(kind)
	ok(t, err)
	s := &site{t: t, region: dogpile.NewRegion(t.Name())}
	ok(t, s.region.Configure(b, ro))
	t.Cleanup(func() {
		if err := s.region.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	s.cached = httpcache.Middleware(s.region, o)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		handler(w, r)
	}))
	return s
}

// do sends a request, "GET /path" or "GET http://host/path", with headers as "Name: value".
func (s *site) do(request string, headers ...string) *http.Response {
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, target, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.cached.ServeHTTP(w, r)
	return w.Result()
}

// want checks a response and how often the handler was called in all.
func (s *site) want(what string, got *http.Response, status int, body string, calls int64) {
	s.t.Helper()
	b, err := io.ReadAll(got.Body)
	if got.StatusCode != status || string(b) != body || err != nil {
		s.t.Errorf("%s: %d %.200q, %v; want %d %.200q", what, got.StatusCode, b, err, status, body)
	}
	s.wantCalls(what, calls)
}

func (s *site) wantCalls(what string, calls int64) {
	s.t.Helper()
	if n := s.calls.Load(); n != calls {
		s.t.Errorf("%s: the handler was called %d times, want %d", what, n, calls)
	}
}

// wantStatus checks the Cache-Status of a response, without the ttl.
func (s *site) wantStatus(what string, got *http.Response, want string) {
	s.t.Helper()
	list, err := httpsfv.UnmarshalList(got.Header.Values("Cache-Status"))
	if err != nil || len(list) == 0 {
		s.t.Errorf("%s: Cache-Status %q: %v", what, got.Header.Values("Cache-Status"), err)
		return
	}
	item := list[len(list)-1].(httpsfv.Item)
	var parts []string
	for _, name := range item.Params.Names() {
		if name == "ttl" {
			continue
		}
		v, _ := item.Params.Get(name)
		text, err := httpsfv.Marshal(httpsfv.NewItem(v))
		ok(s.t, err)
		if parts = append(parts, name+"="+text); text == "?1" {
			parts[len(parts)-1] = name
		}
	}
	if got := strings.Join(parts, "; "); got != want {
		s.t.Errorf("%s: Cache-Status %q, want %q", what, got, want)
	}
}

// answers returns a handler that writes a header, as "Name: value", and a body that counts its
// calls: "1", "2".
func answers(headers ...string) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Add(name, value)
		}
		_, _ = io.WriteString(w, string('0'+rune(n.Add(1))))
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bubble runs f where time passes when everybody waits.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// pass lets time pass, and everything that is due be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
