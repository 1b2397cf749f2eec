package httpcache_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// Everybody gets a response for themselves, whatever goes on at the same time.
func TestEverybodyTheirOwn(t *testing.T) {
	t.Parallel()
	for _, o := range []*dogpile.Options{
		{},
		{Runner: dogpile.Background, RefreshAhead: 0.001, LockTTL: 60 * time.Millisecond},
		{CreateTimeout: 15 * time.Millisecond, FailFor: 20 * time.Millisecond, MaxCreators: 3},
	} {
		for _, h2 := range []bool{false, true} {
			r := regionOver(t, nil, o)
			mux := http.NewServeMux()
			mux.HandleFunc("/{name}", func(w http.ResponseWriter, r *http.Request) {
				user, language, name := r.Header.Get("Cookie"), r.Header.Get("Accept-Language"), r.PathValue("name")
				r.Header.Del("Cookie")
				r.Header.Set("Accept-Language", "en")
				r.URL.Path = "/"
				if n := rand.IntN(20); n == 0 {
					panic(http.ErrAbortHandler)
				} else if n == 1 {
					w.Header().Set("Cache-Control", "private")
					w.Header().Set("Vary", "Accept-Language")
					w.WriteHeader(503)
					fmt.Fprintf(w, "%s|%s|%s", name, language, user)
					return
				}
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				w.Header().Set("Vary", "Accept-Language")
				shown := ""
				switch name {
				case "private":
					w.Header().Set("Cache-Control", "private")
					shown = user
				case "stale":
					w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60, stale-if-error=60")
				case "mixed":
					if w.Header().Set("Cache-Control", "max-age=1, stale-if-error=60"); rand.IntN(2) == 0 {
						w.Header().Set("Cache-Control", "no-store")
						shown = user
					}
				default:
					w.Header().Set("Cache-Control", "max-age=60")
					w.Header().Set("ETag", `"`+language+`"`)
				}
				fmt.Fprintf(w, "%s|%s|%s", name, language, shown)
				if rand.IntN(4) == 0 {
					w.(http.Flusher).Flush()
				}
			})
			s := httptest.NewUnstartedServer(httpcache.Middleware(r, nil)(mux))
			s.EnableHTTP2 = h2
			s.StartTLS()
			var wg sync.WaitGroup
			var good atomic.Int32
			for i := range 12 {
				wg.Go(func() {
					for range 60 {
						user, language := fmt.Sprint("user=", i), []string{"de", "fr", ""}[rand.IntN(3)]
						name := []string{"private", "stale", "mixed", "public"}[rand.IntN(4)]
						ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
						if rand.IntN(8) == 0 {
							cancel()
							ctx, cancel = context.WithTimeout(context.Background(), time.Duration(rand.IntN(15))*time.Millisecond)
						}
						method := "GET"
						if rand.IntN(10) == 0 {
							method = "PUT"
						}
						req, _ := http.NewRequestWithContext(ctx, method, s.URL+"/"+name, nil)
						req.Header.Set("Cookie", user)
						req.Header.Set("Accept-Language", language)
						if rand.IntN(5) == 0 {
							req.Header.Set("Cache-Control", "no-cache")
						}
						res, err := s.Client().Do(req)
						if err != nil {
							cancel()
							continue
						}
						body, err := io.ReadAll(res.Body)
						res.Body.Close()
						cancel()
						if err != nil || res.StatusCode == 504 || res.StatusCode == 503 && !strings.Contains(string(body), "|") {
							continue
						}
						good.Add(1)
						want := name + "|" + language + "|"
						if string(body) != want && string(body) != want+user {
							t.Errorf("%s %s got %d %q, want %q", method, user, res.StatusCode, body, want)
						}
					}
				})
			}
			wg.Wait()
			s.Close()
			if good.Load() == 0 {
				t.Error("nothing got through")
			}
		}
	}
}
