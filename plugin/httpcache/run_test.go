package httpcache_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// TestOneHandler: many clients at once, one run of the handler.
func TestOneHandler(t *testing.T) {
	for kind, options := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				handler := answers("Cache-Control: max-age=60")
				s := newSite(t, options, nil, nil, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					handler(w, r)
				})
				var wg sync.WaitGroup
				statuses := make(chan string, 50)
				for range 50 {
					wg.Go(func() {
						got := s.do("GET /")
						s.want("", got, 200, "1", 1)
						_, status, _ := strings.Cut(got.Header.Get("Cache-Status"), ";")
						statuses <- status
					})
				}
				wg.Wait()
				close(statuses)
				count := make(map[string]int)
				for status := range statuses {
					count[status]++
				}
				if count["fwd=uri-miss;stored"] != 1 || count["fwd=uri-miss;collapsed"] != 49 {
					t.Errorf("%v", count)
				}
			})
		})
	}
}

// TestUncacheableIsNotWaitedFor: clients wait for each other until it is known that nothing can
// be stored, and not at all for a while after that.
func TestUncacheableIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "private")
			w.WriteHeader(200)
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, r.Header.Get("Who"))
		})
		ask := func(n int, most time.Duration) {
			var wg sync.WaitGroup
			began := time.Now()
			for i := range n {
				wg.Go(func() {
					if got, _ := io.ReadAll(s.do("GET /", fmt.Sprint("Who: ", i)).Body); string(got) != fmt.Sprint(i) {
						t.Errorf("%d got the response of %s", i, got)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took > most {
				t.Errorf("%d requests took %v, want %v at the most", n, took, most)
			}
		}
		ask(20, 3*time.Second)
		s.wantCalls("the first ones", 20)
		ask(20, 2*time.Second)
		pass(time.Minute)
		ask(20, 3*time.Second)
	})
}

// server is a site behind a real server.
func (s *site) server() *httptest.Server {
	srv := httptest.NewServer(s.cached)
	s.t.Cleanup(srv.Close)
	return srv
}

// TestLongBodiesAreStreamed: the client gets what the handler has written while it goes on, no
// more than MaxBody is kept, and nobody else waits.
func TestLongBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	for _, declared := range []bool{true, false} {
		t.Run(fmt.Sprint("Content-Length ", declared), func(t *testing.T) {
			t.Parallel()
			const chunk, chunks = 1 << 10, 64
			more := make(chan bool)
			s := newSite(t, nil, &httpcache.Options{MaxBody: 10 * chunk}, nil, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				if declared {
					w.Header().Set("Content-Length", fmt.Sprint(chunk*chunks))
				}
				for i := range chunks {
					if _, err := w.Write([]byte(strings.Repeat("x", chunk))); err != nil {
						t.Error(err)
					}
					if i == chunks/2 && r.Header.Get("Wait") != "" {
						_ = http.NewResponseController(w).Flush()
						<-more
					}
				}
			})
			srv := s.server()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
			req.Header.Set("Wait", "yes")
			resp, err := srv.Client().Do(req)
			ok(t, err)
			_, err = io.ReadFull(resp.Body, make([]byte, chunk*(chunks/2)))
			ok(t, err) // the handler stands still by now

			other, err := srv.Client().Get(srv.URL)
			ok(t, err)
			if n, err := io.Copy(io.Discard, other.Body); n != chunk*chunks || err != nil {
				t.Errorf("another client meanwhile: %d bytes, %v", n, err)
			}
			more <- true
			if n, err := io.Copy(io.Discard, resp.Body); n != chunk*(chunks-chunks/2) || err != nil {
				t.Errorf("the rest: %d bytes, %v", n, err)
			}
			s.wantCalls("nothing is stored", 2)
		})
	}
}

// TestEventsAreFlushed: what is flushed arrives, where it cannot be stored anyway.
func TestEventsAreFlushed(t *testing.T) {
	t.Parallel()
	next := make(chan bool)
	s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	resp, err := s.server().Client().Get(s.server().URL)
	ok(t, err)
	events := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !events.Scan() || events.Text() != fmt.Sprint("data: ", i) {
			t.Errorf("event %d: %q, %v", i, events.Text(), events.Err())
		}
		next <- true
	}
	ok(t, resp.Body.Close())
}

// TestClientThatLeaves: the handler goes on, and its response is stored.
func TestClientThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		handler := answers("Cache-Control: max-age=60")
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			if err := r.Context().Err(); err != nil {
				t.Errorf("the handler's context: %v", err)
			}
			if r.Context().Value(userKey{}) != "u" {
				t.Error("the handler's context lacks the values of the request's")
			}
			handler(w, r)
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), userKey{}, "u"), time.Second)
		defer cancel()
		began := time.Now()
		s.cached.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		if took := time.Since(began); took != time.Second {
			t.Errorf("the client was held for %v", took)
		}
		pass(9 * time.Second)
		s.want("the next client", s.do("GET /"), 200, "1", 1)
	})
}

type userKey struct{}

// TestClientThatLeavesAStream: a handler whose response goes to one client alone ends with it.
func TestClientThatLeavesAStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200) // which cannot be stored
			<-r.Context().Done()
			ended <- context.Cause(r.Context())
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.cached.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestHandlerThatTakesTooLong: the creation has a bound, after which its clients are answered.
func TestHandlerThatTakesTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		s := newSite(t, nil, nil, &dogpile.Options{CreateTimeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			ended <- r.Context().Err()
		})
		got := s.do("GET /")
		s.want("too long", got, 504, "Gateway Timeout\n", 1)
		if err := <-ended; err == nil {
			t.Error("the handler was not told")
		}
	})
}

// TestPanics: every client sees the panic of the one handler that has run for it.
func TestPanics(t *testing.T) {
	for _, value := range []any{"oops", http.ErrAbortHandler} {
		for _, when := range []string{"before the header", "while it is kept", "while it is streamed"} {
			t.Run(fmt.Sprint(value, when), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, _ *http.Request) {
						time.Sleep(time.Second)
						switch when {
						case "while it is kept":
							w.Header().Set("Cache-Control", "max-age=60")
							_, _ = io.WriteString(w, "half of")
						case "while it is streamed":
							_, _ = io.WriteString(w, "half of")
						}
						panic(value)
					})
					var wg sync.WaitGroup
					for range 5 {
						wg.Go(func() {
							defer func() {
								v := recover()
								if abort, is := v.(error); value == http.ErrAbortHandler && (!is || abort != http.ErrAbortHandler) {
									t.Errorf("panic %v, want it as it is", v)
								}
								if !strings.Contains(fmt.Sprint(v), fmt.Sprint(value)) {
									t.Errorf("panic %v, want %v", v, value)
								}
							}()
							s.do("GET /")
						})
					}
					wg.Wait()
					if want := map[bool]int64{true: 5, false: 1}[when == "while it is streamed"]; s.calls.Load() != want {
						t.Errorf("%d calls, want %d", s.calls.Load(), want)
					}
				})
			})
		}
	}
}

// TestHandlerThatDoesNotReturn: one that calls runtime.Goexit is like one that panics.
func TestHandlerThatDoesNotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
		wantPanic(t, "the client", "did not return", func() { s.do("GET /") })
	})
}

// TestTruncatedBody: what is shorter than its header says is stored by nobody.
func TestTruncatedBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "12345")
		})
		s.do("GET /")
		s.do("GET /")
		s.wantCalls("twice", 2)
	})
}

// TestWriters: a handler finds the optional methods that it would find without the cache.
func TestWriters(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
			if _, is := w.(http.Flusher); !is {
				t.Errorf("%s: no Flusher", method)
			}
			_, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", 100_000)))
		})
		srv := s.server()
		req, _ := http.NewRequest(method, srv.URL, nil)
		resp, err := srv.Client().Do(req)
		ok(t, err)
		if n, err := io.Copy(io.Discard, resp.Body); n != 100_000 || err != nil {
			t.Errorf("%s: %d bytes, %v", method, n, err)
		}
	}
}

// TestUpgrade: a request that takes over the connection can.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, nil, nil, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
		_ = rw.Flush()
	})
	srv := s.server()
	req, _ := http.NewRequest("GET", srv.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := srv.Client().Do(req)
	ok(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if resp.StatusCode != 101 || line != "hello\n" {
		t.Errorf("%d %q %v", resp.StatusCode, line, err)
	}
	ok(t, resp.Body.Close())
}
