package httpcache_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// Several caches around each other, one of which times out.
func TestNestedCaches(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	a, b := regionOver(t, nil, &dogpile.Options{CreateTimeout: 100 * time.Millisecond}), regionOver(t, nil, &dogpile.Options{CreateTimeout: 60 * time.Millisecond})
	s := httptest.NewServer(httpcache.Middleware(a, &httpcache.Options{Expiration: time.Minute})(httpcache.Middleware(b, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			<-r.Context().Done()
		}
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		fmt.Fprint(w, "text")
	}))))
	defer s.Close()
	for _, cc := range []string{"no-store", "max-age=60", "", "private"} {
		slow.Store(false)
		for range 2 {
			if res, body := get(t, s.URL+"/?cc="+cc); body != "text" || res.StatusCode != 200 {
				t.Errorf("%s: %d %q", cc, res.StatusCode, body)
			}
		}
		if cc == "private" {
			continue
		}
		slow.Store(true)
		for range 2 {
			if res, body := get(t, s.URL+"/slow?cc="+cc); res.StatusCode != 504 {
				t.Errorf("%s: %d %q", cc, res.StatusCode, body)
			}
		}
		slow.Store(false)
		eventually(t, "the text", func() bool { _, body := get(t, s.URL+"/slow?cc="+cc); return body == "text" })
	}
}

// A body that is longer than MaxBody comes whole and as it is written, and others run for themselves.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	var goOn = make(chan struct{})
	s, _ := serve(t, nil, &httpcache.Options{MaxBody: 1000}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "8000")
		}
		_, _ = io.Copy(w, strings.NewReader(strings.Repeat("a", 4000)))
		w.(http.Flusher).Flush()
		<-goOn
		_, _ = io.WriteString(w, strings.Repeat("b", 4000))
	})
	var begun []*http.Response
	for _, path := range []string{"/length", "/chunked"} {
		for range 3 {
			res, err := http.Get(s.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.ReadFull(res.Body, make([]byte, 4000)); err != nil {
				t.Error(err)
			}
			begun = append(begun, res)
		}
	}
	close(goOn)
	for _, res := range begun {
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != strings.Repeat("b", 4000) {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
}

// A compressing middleware outside.
func TestCompressionOutside(t *testing.T) {
	t.Parallel()
	for _, cc := range []string{"no-store", "max-age=60"} {
		r := regionOver(t, nil, nil)
		inner := httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", cc)
			_, _ = io.Copy(w, strings.NewReader(strings.Repeat("text", 100000)))
			_ = http.NewResponseController(w).Flush()
		}))
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			z := gzip.NewWriter(w)
			defer z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			inner.ServeHTTP(zipped{w, z}, r)
		}))
		defer s.Close()
		for range 3 {
			if _, body := get(t, s.URL); body != strings.Repeat("text", 100000) {
				t.Errorf("%s: %d bytes", cc, len(body))
			}
		}
	}
}

type zipped struct {
	http.ResponseWriter
	z io.Writer
}

func (z zipped) WriteHeader(status int) {
	z.Header().Del("Content-Length")
	z.ResponseWriter.WriteHeader(status)
}
func (z zipped) Write(p []byte) (int, error) { return z.z.Write(p) }

// A client that hangs up in the middle of a run that others wait for.
func TestFirstClientHangsUp(t *testing.T) {
	for _, cc := range []string{"no-store", "max-age=60"} {
		gate, inside := make(chan struct{}), make(chan struct{}, 100)
		s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			inside <- struct{}{}
			<-gate
			w.Header().Set("Cache-Control", cc)
			fmt.Fprint(w, "text")
		})
		before := runtime.NumGoroutine()
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", s.Listener.Addr())
		<-inside
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, body, err := try(s.URL); err != nil || body != "text" {
					t.Errorf("%q %v", body, err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		c.Close()
		time.Sleep(50 * time.Millisecond)
		close(gate)
		wg.Wait()
		http.DefaultClient.CloseIdleConnections()
		eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+1 })
	}
}

// Handlers do what they may.
func TestOddHandlers(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		switch r.URL.Path {
		case "/twice":
			w.WriteHeader(404)
			w.WriteHeader(200)
			w.Header().Set("X-Late", "1")
		case "/hints":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(103)
			w.WriteHeader(200)
		case "/short":
			w.Header().Set("Content-Length", "10")
		case "/long":
			w.Header().Set("Content-Length", "2")
		case "/none":
			w.WriteHeader(204)
		}
		_, _ = bufio.NewReader(strings.NewReader("text")).WriteTo(w)
	})
	for path, want := range map[string]string{"/twice": "404 text", "/hints": "200 text", "/none": "204 "} {
		for range 2 {
			res, body := get(t, s.URL+path)
			if got := fmt.Sprint(res.StatusCode, " ", body); got != want || res.Header.Get("X-Late") != "" {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
	for _, path := range []string{"/short", "/long"} {
		for range 2 {
			if res, body, err := try(s.URL + path); err == nil {
				t.Errorf("%s: %d %q", path, res.StatusCode, body)
			}
		}
	}
}
