package redis_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// watcher counts the connections to a server.
type watcher struct {
	c   rueidis.Client
	own []int // its own
}

func watch(t testing.TB, s *server) *watcher {
	t.Helper()
	w := &watcher{c: s.client(t)}
	w.own = w.others(t)
	return w
}

// others returns the numbers of the connections of others. The server counts them.
func (w *watcher) others(t testing.TB) (ids []int) {
	t.Helper()
	list, err := do(t, w.c, "CLIENT", "LIST").ToString()
	ok(t, err)
	for _, id := range regexp.MustCompile(`(?m)^(?:txt:)?id=(\d+)`).FindAllStringSubmatch(list, -1) {
		n, err := strconv.Atoi(id[1])
		ok(t, err)
		if !slices.Contains(w.own, n) {
			ids = append(ids, n)
		}
	}
	return ids
}

func (w *watcher) count(t testing.TB) int { t.Helper(); return len(w.others(t)) }

// settled returns their number once it has been the same for a while.
func (w *watcher) settled(t testing.TB) (n int) {
	t.Helper()
	same := 0
	eventually(t, "the connections to settle", func() bool {
		if now := w.count(t); now != n {
			n, same = now, 0
		}
		same++
		return same > 20
	})
	return n
}

// regionsOver configures n regions from settings and uses each of them.
func regionsOver(t *testing.T, n int, settings map[string]string, backend string) []*dogpile.Region {
	t.Helper()
	var regions []*dogpile.Region
	for i := range n {
		name := fmt.Sprint("r", i)
		settings["cache."+name+".backend"] = backend
		settings["cache."+name+".replace_existing_backend"] = "true"
		settings["cache."+name+".backend_timeout"] = "1m"
		regions = append(regions, dogpile.NewRegion(name))
	}
	ok(t, dogpile.ConfigureAll(t.Context(), settings, "cache.", regions...))
	t.Cleanup(func() { closeAll(t, regions) })
	var all sync.WaitGroup
	for _, r := range regions {
		all.Go(func() { use(t, r) })
	}
	all.Wait()
	return regions
}

// use makes each kind of connection that a region needs.
func use(t testing.TB, r *dogpile.Region) {
	c := dogpile.NewCache[string](r, nil)
	for i := range 3 {
		v, err := c.GetOrCreate(t.Context(), fmt.Sprint("k", i), func(context.Context) (string, error) { return "v", nil })
		if v != "v" || err != nil {
			t.Errorf("region %s: GetOrCreate = %q, %v", r.Name(), v, err)
		}
	}
}

func closeAll(t testing.TB, regions []*dogpile.Region) {
	t.Helper()
	for _, r := range regions {
		ok(t, r.Close(context.Background()))
	}
}

// TestRegionsShareAClient: twenty regions over @main make as many connections as one.
func TestRegionsShareAClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	w := watch(t, s)
	counted := func(n int, settings map[string]string, backend string) int {
		regions := regionsOver(t, n, settings, backend)
		got := w.settled(t)
		closeAll(t, regions)
		eventually(t, "the connections to end", func() bool { return w.count(t) == 0 })
		return got
	}
	url := backendtest.Patient(s.URL())
	one := counted(1, map[string]string{}, url)
	shared := counted(20, map[string]string{"cache.backends.main": url}, "@main")
	if own := counted(20, map[string]string{}, url); one == 0 || shared != one || own < 20 {
		t.Errorf("connections: %d for one region, %d for 20 that share, %d for 20 that do not", one, shared, own)
	}
}

// TestReloadsLeaveTheConnectionsOfOne: twenty reloads under load leave the connections of
// one configuration and no goroutine, and no call fails. It is not parallel: it counts
// goroutines.
func TestReloadsLeaveTheConnectionsOfOne(t *testing.T) {
	s := startServer(t)
	w := watch(t, s)
	url := backendtest.Patient(s.URL())
	for _, backend := range []string{url, "@main"} {
		t.Run(backend, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			settings := map[string]string{"cache.backends.main": url}
			regions := regionsOver(t, 2, settings, backend)
			one := w.settled(t)
			stop := make(chan struct{})
			var load sync.WaitGroup
			for i := range 8 {
				load.Go(func() {
					c := dogpile.NewCache[string](regions[i%2], nil)
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						key := fmt.Sprint("k", n%50)
						if n%10 == 0 {
							if err := c.Delete(t.Context(), key); err != nil {
								t.Errorf("Delete = %v", err)
							}
						}
						v, err := c.GetOrCreate(t.Context(), key, func(context.Context) (string, error) { return "v", nil })
						if v != "v" || err != nil {
							t.Errorf("GetOrCreate = %q, %v", v, err)
						}
					}
				})
			}
			newest := 0 // before the last reload
			for range 20 {
				newest = slices.Max(append(w.others(t), newest))
				ok(t, dogpile.ConfigureAll(t.Context(), settings, "cache.", regions...))
				pause(10 * time.Millisecond) // some load for each
			}
			close(stop)
			load.Wait()
			// Those in force may be more than they were before the load: a client that has waited
			// for a lease has a second connection, for the server's announcements, which it keeps.
			eventually(t, "the connections of earlier configurations to end", func() bool {
				ids := w.others(t)
				return len(ids) <= 2*one && !slices.ContainsFunc(ids, func(id int) bool { return id <= newest })
			})
			if st := regions[0].Stats(); st.Errors > 0 {
				t.Errorf("%d errors", st.Errors)
			}
			closeAll(t, regions)
			eventually(t, "all connections to end", func() bool { return w.count(t) == 0 })
			eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
}

// TestPasswordBesideTheURL: as it is, with what would need an escape in a URL.
func TestPasswordBesideTheURL(t *testing.T) {
	t.Parallel()
	const password = "p@ss/w?rd#%20"
	s := startServer(t, "--requirepass", password)
	file := filepath.Join(t.TempDir(), "password")
	ok(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	for name, argument := range map[string]map[string]string{
		"password":      {"r.arguments.password": password},
		"password file": {"r.arguments.password_file": file},
	} {
		t.Run(name, func(t *testing.T) {
			argument["r.backend"], argument["r.strict"] = s.URL(), "true"
			r := dogpile.NewRegion("r")
			ok(t, dogpile.ConfigureAll(t.Context(), argument, "", r))
			use(t, r)
			ok(t, r.Close(t.Context()))
		})
	}
	err := dogpile.ConfigureAll(t.Context(), map[string]string{"r.backend": s.URL(), "r.arguments.password": password, "r.arguments.password_file": file}, "", dogpile.NewRegion("r"))
	if err == nil || !strings.Contains(err.Error(), "r.arguments.password_file: ") || strings.Contains(err.Error(), password) {
		t.Errorf("both = %v", err)
	}
}
