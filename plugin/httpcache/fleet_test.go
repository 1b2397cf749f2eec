package httpcache_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

func TestMain(m *testing.M) { backendtest.Main(m) }

// TestFleet: servers of several processes, which share nothing but a backend, run one handler
// for all their clients, and see each other's changes.
func TestFleet(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) func() driver.Backend{
		"memcached": func(t *testing.T) func() driver.Backend {
			url := "memcached://" + backendtest.StartMemcached(t).Addr()
			return func() driver.Backend {
				b, err := memcached.Open(t.Context(), url, nil)
				ok(t, err)
				return b
			}
		},
		"file": func(t *testing.T) func() driver.Backend {
			path := t.TempDir() + "/pages"
			return func() driver.Backend {
				b, err := file.Open(t.Context(), path, nil)
				ok(t, err)
				return b
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opened := open(t)
			var calls, version atomic.Int64
			var servers []*httptest.Server
			var regions []*dogpile.Region
			for range 3 {
				r := backendtest.Region(t, "pages", opened(), &dogpile.Options{Expiration: time.Hour})
				srv := httptest.NewServer(httpcache.Middleware(r, nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodGet {
						version.Add(1)
						w.WriteHeader(http.StatusNoContent)
						return
					}
					calls.Add(1)
					v := version.Load()
					time.Sleep(100 * time.Millisecond) // so that there is somebody to wait
					w.Header().Set("Cache-Control", "max-age=3600")
					w.Header().Set("Cache-Tag", name)
					w.Header().Set("Vary", "Accept-Language")
					w.Header().Set("X-Bytes", "\xfe")
					fmt.Fprintf(w, "%s %d \xff", r.Header.Get("Accept-Language"), v)
				})))
				t.Cleanup(srv.Close)
				servers, regions = append(servers, srv), append(regions, r)
			}
			ask := func(want int64) {
				t.Helper()
				calls.Store(0)
				var wg sync.WaitGroup
				for i := range 60 {
					wg.Go(func() {
						language := []string{"en", "de"}[i/3%2]
						req, _ := http.NewRequest("GET", servers[i%3].URL+"/a", nil)
						req.Host = "pages.example"
						req.Header.Set("Accept-Language", language)
						resp, err := http.DefaultClient.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						body, err := io.ReadAll(resp.Body)
						if got, want := string(body), fmt.Sprintf("%s %d \xff", language, version.Load()); got != want || err != nil || resp.Header.Get("X-Bytes") != "\xfe" {
							t.Errorf("%q %v %q, want %q", got, err, resp.Header, want)
						}
					})
				}
				wg.Wait()
				if n := calls.Load(); n != want {
					t.Errorf("%d runs of the handler, want %d", n, want)
				}
			}
			ask(2)
			ask(0)
			req, _ := http.NewRequest("PUT", servers[1].URL+"/a", nil)
			req.Host = "pages.example"
			resp, err := http.DefaultClient.Do(req)
			ok(t, err)
			ok(t, resp.Body.Close())
			ask(2)
			version.Add(1)
			ok(t, httpcache.Delete(t.Context(), regions[2], nil, "http://pages.example/a"))
			ask(2)
			version.Add(1)
			ok(t, regions[0].InvalidateTags(t.Context(), dogpile.Hard, name))
			ask(2)
		})
	}
}
