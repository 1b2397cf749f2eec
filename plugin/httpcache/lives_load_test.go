package httpcache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// A request that a handler answers by itself may be changed by it, while the same request
// renews another response in the background.
func TestHandlerChangesRequestOfRenewal(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		for i := range 100 {
			r.Header.Set(fmt.Sprint("X-", i), "")
		}
		w.Header().Set("Cache-Control", "private")
	})
	r := regionOver(t, nil, &dogpile.Options{RefreshAhead: 0.00001})
	h := httpcache.Middleware(r, nil)(mux)
	for range 100 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
}

// A run that was cancelled as its lock was lost is no answer: the creation is repeated.
func TestCancelledRunIsNoAnswer(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	began := make(chan struct{}, 10)
	s, region := serve(t, &dogpile.Options{LockTTL: 150 * time.Millisecond}, nil, func(w http.ResponseWriter, r *http.Request) {
		n := runs.Add(1)
		began <- struct{}{}
		if n == 1 {
			<-r.Context().Done()
			time.Sleep(100 * time.Millisecond)
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "cannot read: "+r.Context().Err().Error(), 500)
			return
		}
		time.Sleep(300 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "text")
	})
	go func() {
		<-began
		if err := httpcache.Delete(context.Background(), region, nil, s.URL); err != nil {
			t.Error(err)
		}
	}()
	if res, body := get(t, s.URL); res.StatusCode != 200 {
		t.Errorf("status %d, %q", res.StatusCode, body)
	}
}

// A panic of a handler that nobody waits for is told.
func TestPanicOfRenewalIsTold(t *testing.T) {
	t.Parallel()
	var told, panics atomic.Int32
	var log lockedBuffer
	s, _ := serve(t, &dogpile.Options{
		Runner: dogpile.Background,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Hooks:  &dogpile.Hooks{Error: func(context.Context, dogpile.Event) { told.Add(1) }},
	}, &httpcache.Options{Error: func(*http.Request, error) { told.Add(1) }}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
		if panics.Add(1) > 1 {
			panic("boom")
		}
	})
	get(t, s.URL)
	get(t, s.URL)
	eventually(t, "the handler", func() bool { return panics.Load() > 1 })
	eventually(t, "somebody to be told", func() bool {
		return told.Load() > 0 || strings.Contains(log.String(), "boom")
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// late is a backend whose reads time out.
type late struct{ driver.Backend }

func (late) Get(context.Context, []driver.Item) error {
	return fmt.Errorf("read: %w", context.DeadlineExceeded)
}

// The cache may time out, the application not.
func TestHeadWhereBackendTimesOut(t *testing.T) {
	t.Parallel()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := regionOver(t, late{b}, nil)
	s := httptest.NewServer(httpcache.Middleware(r, nil)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer s.Close()
	res, err := http.Head(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// What a handler makes of an interruption is not kept.
func TestInterruptedResponseIsNotKept(t *testing.T) {
	t.Parallel()
	r := regionOver(t, nil, &dogpile.Options{CreateTimeout: 2 * time.Millisecond})
	var late atomic.Bool
	h := httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if late.Load() {
			<-r.Context().Done()
			fmt.Fprint(w, "nothing found")
			return
		}
		fmt.Fprint(w, "text")
	}))
	for i := range 300 {
		path := fmt.Sprint("/", i)
		late.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path, nil))
		cancel()
		late.Store(false)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Body.String() == "nothing found" {
			t.Fatal("kept")
		}
	}
}

// A handler that goes on after its creation has ended does no harm.
func TestLateHandlerWithTags(t *testing.T) {
	t.Parallel()
	r := regionOver(t, nil, &dogpile.Options{CreateTimeout: 20 * time.Millisecond})
	ended := make(chan struct{}, 10)
	h := httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		time.Sleep(40 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Tag", "a, b")
		fmt.Fprint(w, "text")
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	<-ended
}

// Goroutines end, wherever clients leave.
func TestClientsThatLeave(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		r := regionOver(t, nil, nil)
		var n atomic.Int32
		s := httptest.NewUnstartedServer(httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			switch r.URL.Query().Get("cc") {
			case "":
			case "s":
				w.Header().Set("Cache-Control", "max-age=60")
			default:
				w.Header().Set("Cache-Control", "no-store")
			}
			for range 40 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		})))
		s.EnableHTTP2 = h2
		s.StartTLS()
		c := s.Client()
		if res, err := c.Get(s.URL); err != nil { // the handshake takes its time
			t.Fatal(err)
		} else {
			res.Body.Close()
		}
		before := runtime.NumGoroutine() - 4 // of that connection
		var wg sync.WaitGroup
		for i := range 120 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*2*time.Millisecond)
				defer cancel()
				cc := []string{"", "s", "p"}[i%3]
				req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/?cc="+cc+"&n="+fmt.Sprint(i%7), nil)
				if i%4 == 0 {
					req.Header.Set("Range", "bytes=5-9")
				}
				if res, err := c.Do(req); err == nil {
					_, _ = io.ReadAll(io.LimitReader(res.Body, int64(i)*10000))
					res.Body.Close()
				}
			})
		}
		wg.Wait()
		c.CloseIdleConnections()
		s.Close()
		eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+4 })
		if h2 && n.Load() == 0 {
			t.Error("nothing ran")
		}
	}
}

// An origin that breaks off leaves nothing behind.
func TestOriginBreaksOff(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"chunked", "length"} {
		var broken atomic.Bool
		broken.Store(true)
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if mode == "length" {
				w.Header().Set("Content-Length", "8")
			}
			fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
			if broken.Load() {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, "half")
		}))
		defer origin.Close()
		u, _ := url.Parse(origin.URL)
		r := regionOver(t, nil, nil)
		s := httptest.NewServer(httpcache.Middleware(r, nil)(httputil.NewSingleHostReverseProxy(u)))
		defer s.Close()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, body, err := try(s.URL); err == nil {
					t.Errorf("%s: whole: %q", mode, body)
				}
			})
		}
		wg.Wait()
		broken.Store(false)
		if _, body := get(t, s.URL); body != "halfhalf" {
			t.Errorf("%s: %q", mode, body)
		}
	}
}

func TestTwoOverRedis(t *testing.T) {
	t.Parallel()
	addr := backendtest.Redis(t)
	var runs, version atomic.Int32
	var servers []*httptest.Server
	var regions []*dogpile.Region
	var hold atomic.Pointer[chan struct{}]
	renewed := func() { c := make(chan struct{}); hold.Store(&c) }
	renewed()
	var holding atomic.Bool
	var inside atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			version.Add(1)
			return
		}
		runs.Add(1)
		v := version.Load()
		inside.Add(1)
		if holding.Load() {
			<-*hold.Load()
		} else {
			time.Sleep(50 * time.Millisecond)
		}
		inside.Add(-1)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprint(w, v)
	})
	for range 2 {
		b, err := redis.Open(context.Background(), addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := dogpile.NewRegion("pages")
		if err := r.Configure(b, &dogpile.Options{Expiration: time.Hour}); err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(httpcache.Middleware(r, &httpcache.Options{
			Key:  func(r *http.Request) string { return "http://h" + r.URL.Path },
			Tags: func(r *http.Request, _ http.Header) []string { return []string{"t:" + r.URL.Path} },
		})(handler))
		defer s.Close()
		servers, regions = append(servers, s), append(regions, r)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, body, err := try(servers[i%2].URL + "/a"); err != nil || body != "0" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("%d runs", n)
	}
	for i, drop := range map[string]func(path string) error{
		"put": func(path string) error {
			req, _ := http.NewRequest("PUT", servers[1].URL+path, nil)
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				res.Body.Close()
			}
			return err
		},
		"delete": func(path string) error {
			version.Add(1)
			return httpcache.Delete(context.Background(), regions[1], &httpcache.Options{
				Key: func(r *http.Request) string { return "http://h" + r.URL.Path },
			}, "http://h"+path)
		},
		"tags": func(path string) error {
			version.Add(1)
			return regions[1].InvalidateTags(context.Background(), dogpile.Hard, "t:"+path)
		},
	} {
		for _, language := range []string{"", "de"} {
			path := "/" + i + language
			if language != "" {
				get(t, servers[0].URL+path) // the root is there already
			}
			holding.Store(true)
			old := version.Load()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _, _ = try(servers[0].URL+path, "Accept-Language", language)
			}()
			eventually(t, "the handler", func() bool { return inside.Load() == 1 })
			if err := drop(path); err != nil {
				t.Error(err)
			}
			var results [2]string
			var wg sync.WaitGroup
			holding.Store(false)
			if i == "tags" { // which leaves the lock alone
				close(*hold.Load())
			}
			for n := range 2 {
				wg.Go(func() { _, results[n], _ = try(servers[n].URL+path, "Accept-Language", language) })
			}
			wg.Wait()
			if i != "tags" {
				close(*hold.Load())
			}
			<-done
			renewed()
			for n := range 2 {
				_, body := get(t, servers[n].URL+path, "Accept-Language", language)
				if want := fmt.Sprint(old + 1); body != want || results[n] != want {
					t.Errorf("%s %q: %q then %q, want %s", i, language, results[n], body, want)
				}
			}
		}
	}
}

// Others do not wait for a client that reads slowly.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, cc := range []string{"no-store", "max-age=60", ""} {
		s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", cc)
			for range 16 << 20 / (64 << 10) {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: "+s.Listener.Addr().String()+"\r\n\r\n")
		_, _ = io.ReadFull(c, make([]byte, 100))
		for range 3 {
			if _, body := get(t, s.URL); len(body) != 16<<20 {
				t.Errorf("%q: %d bytes", cc, len(body))
			}
		}
		c.Close()
	}
}

// Deletes in quick succession do not keep a client waiting for ever.
func TestManyDeletes(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	s, region := serve(t, &dogpile.Options{LockTTL: 60 * time.Millisecond}, nil, func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		select {
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "text")
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			_ = httpcache.Delete(ctx, region, nil, s.URL)
			time.Sleep(30 * time.Millisecond)
		}
	}()
	res, body := get(t, s.URL)
	t.Log(res.StatusCode, body, runs.Load())
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// http.TimeoutHandler outside and inside.
func TestTimeoutHandlers(t *testing.T) {
	t.Parallel()
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		fmt.Fprint(w, "begin")
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			fmt.Fprint(w, strings.Repeat("x", 100<<10))
		}
	})
	for _, cc := range []string{"no-store", "max-age=60"} {
		outer := httptest.NewServer(http.TimeoutHandler(httpcache.Middleware(regionOver(t, nil, nil), nil)(slow), 30*time.Millisecond, "outer"))
		defer outer.Close()
		if res, body := get(t, outer.URL+"/?cc="+cc); res.StatusCode != 503 || body != "outer" {
			t.Errorf("%s: %d %q", cc, res.StatusCode, body[:min(len(body), 10)])
		}
		inner := httptest.NewServer(httpcache.Middleware(regionOver(t, nil, nil), nil)(http.TimeoutHandler(slow, 30*time.Millisecond, "inner")))
		defer inner.Close()
		if res, body := get(t, inner.URL+"/?cc="+cc); res.StatusCode != 503 || body != "inner" {
			t.Errorf("%s: %d %q", cc, res.StatusCode, body[:min(len(body), 10)])
		}
	}
	time.Sleep(300 * time.Millisecond)
}

// onlyUnwrap is an outer handler's writer as ResponseController wants it.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) WriteHeader(status int)      { o.w.WriteHeader(status) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

// A flush by the controller sends the header too: what is cached is deleted before.
func TestPutThatFlushes(t *testing.T) {
	t.Parallel()
	var version atomic.Int32
	seen := make(chan struct{})
	inner := httpcache.Middleware(regionOver(t, nil, nil), nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			version.Add(1)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-seen
			return
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, version.Load())
	}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(onlyUnwrap{w}, r)
	}))
	defer s.Close()
	get(t, s.URL)
	req, _ := http.NewRequest("PUT", s.URL, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, body := get(t, s.URL)
	close(seen)
	if body != "1" {
		t.Errorf("version %s after PUT", body)
	}
}

// Panics reach outer handlers as the handler's own.
func TestAbortReachesAll(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		<-gate
		panic(http.ErrAbortHandler)
	})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if res, _, err := try(s.URL); err == nil {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	close(gate)
	wg.Wait()
}
