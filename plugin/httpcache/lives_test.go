package httpcache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// regionOver returns a region over a backend, or over one in memory.
func regionOver(t testing.TB, b driver.Backend, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	if b == nil {
		var err error
		if b, err = memory.New(nil); err != nil {
			t.Fatal(err)
		}
	}
	if o == nil {
		o = new(dogpile.Options)
	}
	if o.Expiration == 0 {
		o.Expiration = time.Hour
	}
	r := dogpile.NewRegion(strings.ReplaceAll(t.Name(), "/", "."))
	if err := r.Configure(b, o); err != nil {
		t.Fatal(err)
	}
	return r
}

// serve starts a server with a handler behind a cache.
func serve(t testing.TB, ro *dogpile.Options, o *httpcache.Options, h http.HandlerFunc) (*httptest.Server, *dogpile.Region) {
	t.Helper()
	r := regionOver(t, nil, ro)
	s := httptest.NewServer(httpcache.Middleware(r, o)(h))
	t.Cleanup(s.Close)
	return s, r
}

// get asks for a URL. Headers come in pairs.
func get(t testing.TB, url string, header ...string) (*http.Response, string) {
	t.Helper()
	res, body, err := try(url, header...)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func try(url string, header ...string) (*http.Response, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A creation that times out is one failure: those who have waited do not run the handler that
// hangs again, one by one.
func TestTimeoutIsOneFailure(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	s, _ := serve(t, &dogpile.Options{CreateTimeout: 300 * time.Millisecond}, nil, func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		<-r.Context().Done()
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Errorf("no answer: %v", err)
				return
			}
			res.Body.Close()
			if res.StatusCode != 504 {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n > 2 {
		t.Errorf("%d runs", n)
	}
}

func TestHandlerRemovesCookie(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("Cookie")
		r.Header.Del("Cookie")
		w.Header().Set("Vary", "Cookie")
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "page of %q", user)
	})
	get(t, s.URL, "Cookie", "user=alice")
	if _, body := get(t, s.URL); body != `page of ""` {
		t.Errorf("somebody without a cookie got the %s", body)
	}
}

// A failure that is for one client alone is not told to another.
func TestPrivateFailure(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	var inside atomic.Int32
	gate := make(chan struct{})
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		if !failing.Load() {
			w.Header().Set("Cache-Control", "max-age=60, stale-if-error=600")
			fmt.Fprint(w, "all's well")
			return
		}
		user := r.Header.Get("Authorization")
		inside.Add(1)
		<-gate
		w.Header().Set("Cache-Control", "private")
		w.Header().Set("Set-Cookie", "session="+user)
		w.WriteHeader(503)
		fmt.Fprintf(w, "sorry %s", user)
	})
	get(t, s.URL)
	failing.Store(true)
	var wg sync.WaitGroup
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		wg.Go(func() {
			res, body, err := try(s.URL, "Authorization", user, "Cache-Control", "no-cache")
			if err != nil {
				t.Error(err)
			} else if res.StatusCode == 503 && body != "sorry "+user {
				t.Errorf("%s got %q with the cookie %q", user, body, res.Header.Get("Set-Cookie"))
			}
		})
	}
	eventually(t, "a run", func() bool { return inside.Load() > 0 })
	time.Sleep(200 * time.Millisecond)
	close(gate)
	wg.Wait()
}

// A request that ends by a deadline of an outer handler has a client that waits.
func TestDeadlineOfOuterHandler(t *testing.T) {
	t.Parallel()
	r := regionOver(t, nil, nil)
	gate := make(chan struct{})
	inner := httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-gate
	}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 50*time.Millisecond)
		defer cancel()
		inner.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer s.Close()
	defer close(gate)
	if res, body := get(t, s.URL); res.StatusCode < 500 {
		t.Errorf("status %d, body %q", res.StatusCode, body)
	}
}

// A handler may change its request's URL while it answers.
func TestPutWhereHandlerRewritesPath(t *testing.T) {
	t.Parallel()
	var version atomic.Int32
	s, _ := serve(t, nil, &httpcache.Options{Key: func(r *http.Request) string { return r.URL.Path }}, func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/42" // as routers do that shift the path
		if r.Method == "PUT" {
			version.Add(1)
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, version.Load())
	})
	get(t, s.URL+"/products/42")
	req, _ := http.NewRequest("PUT", s.URL+"/products/42", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, body := get(t, s.URL+"/products/42"); body != "1" {
		t.Errorf("version %s after PUT", body)
	}
}

// A handler that changes something after it has written the header is still a change.
func TestPutThatAnswersFirst(t *testing.T) {
	t.Parallel()
	var version atomic.Int32
	answered, goOn := make(chan struct{}), make(chan struct{})
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			w.WriteHeader(202)
			close(answered)
			<-goOn
			version.Add(1)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, version.Load())
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequest("PUT", s.URL, nil)
		if res, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	<-answered
	get(t, s.URL)
	close(goOn)
	<-done
	if _, body := get(t, s.URL); body != "1" {
		t.Errorf("version %s after PUT", body)
	}
}

// A run that was handed over and then exits has not ended well.
func TestGoexitAfterHandOver(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, "half of it")
		w.(http.Flusher).Flush()
		runtime.Goexit()
	})
	if _, body, err := try(s.URL); err == nil {
		t.Errorf("the half %q looks like the whole", body)
	}
}

// Trailers reach the client, as their response is not stored.
func TestTrailers(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "text")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-More", "43")
	})
	res, _ := get(t, s.URL)
	if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-More") != "43" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

// Outer handlers add to Vary before the inner ones do.
func TestVaryOfOuterHandler(t *testing.T) {
	t.Parallel()
	for _, cc := range []string{"no-store", "max-age=60"} {
		r := regionOver(t, nil, nil)
		inner := httpcache.Middleware(r, &httpcache.Options{Key: func(r *http.Request) string { return cc }})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Accept-Language")
			w.Header().Set("Cache-Control", cc)
			fmt.Fprint(w, "text")
		}))
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Origin")
			w.Header().Add("Set-Cookie", "a=b")
			inner.ServeHTTP(w, r)
		}))
		defer s.Close()
		for range 2 {
			if res, _ := get(t, s.URL); !strings.Contains(strings.Join(res.Header["Vary"], ","), "Origin") {
				t.Errorf("%s: Vary is %q, without the Origin of the outer handler", cc, res.Header["Vary"])
			}
		}
	}
}

// A handler may extend the time that a server gives a response that it is about to stream.
func TestDeadlinesOfController(t *testing.T) {
	t.Parallel()
	r := regionOver(t, nil, nil)
	s := httptest.NewUnstartedServer(httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("no deadline: %v", err)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		time.Sleep(3 * time.Second)
		fmt.Fprint(w, "data: 1\n\n")
	})))
	s.Config.WriteTimeout = 2 * time.Second
	s.Start()
	defer s.Close()
	if _, body, err := try(s.URL); err != nil || body != "data: 1\n\n" {
		t.Errorf("%q, %v", body, err)
	}
}

// A reload by a client has the page made again, and not all that it is made of.
func TestReloadDoesNotRenewWhatPagesAreMadeOf(t *testing.T) {
	t.Parallel()
	data := dogpile.NewCache[string](regionOver(t, nil, nil), nil)
	var loads atomic.Int32
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		v, err := data.GetOrCreate(r.Context(), "rows", func(context.Context) (string, error) {
			loads.Add(1)
			return "rows", nil
		})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, v)
	})
	for range 5 {
		get(t, s.URL, "Cache-Control", "no-cache")
	}
	if n := loads.Load(); n != 1 {
		t.Errorf("the data was loaded %d times", n)
	}
}
