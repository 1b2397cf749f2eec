package httpcache_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// A client whose request renews another response in the background gets what it waits for, and
// not the renewal, whose end would not be the end of its own response.
func TestRenewalDoesNotTakeClientOfVariant(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	gate, inside := make(chan struct{}), make(chan struct{}, 10)
	s, _ := serve(t, &dogpile.Options{Runner: dogpile.Background}, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Language")
		w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=60")
		if r.Header.Get("Accept-Language") == "de" {
			if slow.CompareAndSwap(true, false) {
				inside <- struct{}{}
				<-gate
			} else {
				w.Header().Set("Cache-Control", "no-store")
			}
		}
		fmt.Fprint(w, "text")
		w.(http.Flusher).Flush()
	})
	get(t, s.URL, "Accept-Language", "en")
	// 1. The handler makes the German variant, for a client that waits.
	slow.Store(true)
	go func() { _, _, _ = try(s.URL, "Accept-Language", "de") }()
	<-inside
	time.Sleep(1100 * time.Millisecond) // until the English one is stale
	// 2. Others wait for it, or are handed the renewal of the English one, in German.
	done := make(chan struct{})
	began := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		req.Header.Set("Accept-Language", "de")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		close(began)
		_, _ = io.ReadAll(res.Body)
	}()
	select {
	case <-began:
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("a response has begun, and does not end")
		}
	case <-time.After(300 * time.Millisecond):
	}
	close(gate)
	<-done
}

// Events are not kept until there are no more.
func TestEventStreamWithGuessedFreshness(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, &dogpile.Options{CreateTimeout: 2 * time.Second}, &httpcache.Options{Expiration: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 9)); err != nil || res.StatusCode != 200 {
		t.Errorf("status %d, %v", res.StatusCode, err)
	}
}

// longLived is a context of the application's, for which package context starts a goroutine for
// each function that waits for its end.
type longLived struct{ context.Context }

func (c longLived) Done() <-chan struct{} { return forever }

var forever = make(chan struct{})

// Nothing is left of a request in a context that lives on.
func TestNothingWaitsForLongLivedContext(t *testing.T) {
	h := httpcache.Middleware(regionOver(t, nil, nil), nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
	}))
	before := runtime.NumGoroutine()
	for i := range 50 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(longLived{t.Context()}, "GET", fmt.Sprint("/", i), nil))
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+2 })
}

// One client's reload, that gets a private response, is no reason to go without the public one.
func TestPrivateReloadLeavesPublicResponse(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			w.Header().Set("Cache-Control", "private")
			return
		}
		runs.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
	})
	get(t, s.URL)
	get(t, s.URL, "Cookie", "user=alice", "Cache-Control", "no-cache")
	for range 5 {
		get(t, s.URL)
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("%d runs for the public response", n)
	}
}

// A handler's goroutine that writes after the handler has returned changes nothing.
func TestWriteAfterReturn(t *testing.T) {
	t.Parallel()
	wrote := make(chan struct{})
	s, _ := serve(t, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "text")
		if r.URL.Path == "/" {
			go func() {
				defer close(wrote)
				<-r.Context().Done()
				_, _ = w.Write(make([]byte, 2<<20))
				w.WriteHeader(500)
				w.Header().Set("X", "y")
			}()
		}
	})
	for range 3 {
		if res, body := get(t, s.URL); body != "text" || res.StatusCode != 200 {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	<-wrote
	if res, body := get(t, s.URL); body != "text" || res.StatusCode != 200 {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}
