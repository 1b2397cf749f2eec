package demo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/driver"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	rows := []struct {
		name   string
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{"none", nil, 0.5, 0},
		{"one", []time.Duration{7}, 0.99, 7},
		{"one, least", []time.Duration{7}, 0, 7},
		{"median of two", []time.Duration{1, 3}, 0.5, 1},
		{"median of three", []time.Duration{1, 2, 3}, 0.5, 2},
		{"p99 of two", []time.Duration{1, 3}, 0.99, 3},
		{"median of a hundred", hundred, 0.5, 50},
		{"p99 of a hundred", hundred, 0.99, 99},
		{"least of a hundred", hundred, 0, 1},
		{"greatest of a hundred", hundred, 1, 100},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got := demo.Percentile(row.sorted, row.p); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

// settings are those of the tests: one client more than needed, tiles of one
// pixel. By the clock of a synctest bubble rendering takes no time.
func settings(workers int, requests ...load.Request) *demo.Settings {
	return &demo.Settings{
		Requests: requests, Clients: len(requests) + 1, Workers: workers, TileSize: 1,
		Expiration: time.Second, StaleFor: time.Minute, Run: "test",
	}
}

func requests(key string, at ...time.Duration) (rs []load.Request) {
	for _, d := range at {
		rs = append(rs, load.Request{At: d, Key: key})
	}
	return rs
}

func run(t *testing.T, mode demo.Mode, b driver.Backend, s *demo.Settings) *demo.Result {
	t.Helper()
	var p demo.Progress
	r, err := demo.Run(t.Context(), mode, b, s, &p)
	if err != nil {
		t.Fatalf("%s: %v", mode, err)
	}
	return r
}

func backend(t *testing.T) driver.Backend {
	t.Helper()
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close(b) })
	return b
}

// A key is asked for at 0, fresh at 0.5 s, and expired at 2 s and 2.1 s. One
// after the other nobody gets in another's way.
func TestRunCountsCreations(t *testing.T) {
	t.Parallel()
	for mode, stale := range map[demo.Mode]int{demo.None: 0, demo.Coalesced: 0, demo.Dogpile: 1} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := settings(1, requests("/a", 0, 500*time.Millisecond, 2*time.Second, 2100*time.Millisecond)...)
				r := run(t, mode, backend(t), s)
				if r.Requests != 4 || r.Creations != 2 || r.MaxCreators != 1 || r.StaleServed != stale || r.Unanswered+r.Errors != 0 {
					t.Errorf("got %+v", *r)
				}
				if r.Latency != (demo.Latency{}) {
					t.Errorf("latency %v of requests that were answered when they came", r.Latency)
				}
			})
		})
	}
}

// The origin has no workers. Three requests for /a come at 0, 1 s and 2 s, and
// one for /b at 2 s; the run ends at 3 s.
func TestRunWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	rows := map[demo.Mode]struct{ creations, maxCreators int }{
		demo.None:      {4, 3},
		demo.Coalesced: {2, 1},
		demo.Dogpile:   {2, 1},
	}
	for mode, row := range rows {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rs := append(requests("/a", 0, time.Second, 2*time.Second), requests("/b", 2*time.Second)...)
				start := time.Now()
				r := run(t, mode, backend(t), settings(0, rs...))
				if took := time.Since(start); took != 2*time.Second+demo.Grace {
					t.Errorf("the run took %v", took)
				}
				if r.Creations != row.creations || r.MaxCreators != row.maxCreators || r.OriginCPU != 0 {
					t.Errorf("%d creations, %d at once for a key, CPU time %v", r.Creations, r.MaxCreators, r.OriginCPU)
				}
				if r.Unanswered != 4 || r.Errors != 0 || r.StaleServed != 0 {
					t.Errorf("%d unanswered, %d errors, %d stale", r.Unanswered, r.Errors, r.StaleServed)
				}
				if want := (demo.Latency{P50: time.Second, P99: 3 * time.Second, Max: 3 * time.Second}); r.Latency != want {
					t.Errorf("latency %v, want %v", r.Latency, want)
				}
			})
		})
	}
}

// With one client the second request waits for the first one to be given up.
// Its latency counts from when it was due.
func TestLatencyCountsFromArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := settings(0, requests("/a", 0, time.Second)...)
		s.Clients = 1
		r := run(t, demo.None, backend(t), s)
		if r.P50 != time.Second || r.Max != 2*time.Second || r.Creations != 1 || r.Unanswered != 2 {
			t.Errorf("got %+v", *r)
		}
	})
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Each second is a third of the run.
		rs := append(requests("/a", 0, 0, time.Second), requests("/b", 2*time.Second)...)
		r := run(t, demo.None, backend(t), settings(0, rs...))
		if len(r.Buckets) != demo.BucketCount {
			t.Fatalf("%d buckets", len(r.Buckets))
		}
		want := map[int]demo.Bucket{
			0:                        {2, 2, demo.Latency{P50: 3 * time.Second, P99: 3 * time.Second, Max: 3 * time.Second}},
			demo.BucketCount / 3:     {1, 1, demo.Latency{P50: 2 * time.Second, P99: 2 * time.Second, Max: 2 * time.Second}},
			demo.BucketCount * 2 / 3: {1, 1, demo.Latency{P50: time.Second, P99: time.Second, Max: time.Second}},
		}
		for i, b := range r.Buckets {
			if b != want[i] {
				t.Errorf("bucket %d: %+v, want %+v", i, b, want[i])
			}
		}
	})
}

var errDown = errors.New("backend is down")

// down is a backend that fails.
type down struct{}

func (down) Get(context.Context, []driver.Item) error { return errDown }
func (down) Set(context.Context, []driver.Item) error { return errDown }
func (down) Delete(context.Context, []string) error   { return errDown }

func TestFailingBackend(t *testing.T) {
	t.Parallel()
	for _, mode := range demo.Modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := run(t, mode, down{}, settings(1, requests("/a", 0, time.Second)...))
				if r.Creations != 2 || r.Unanswered != 0 || r.Errors < 2 {
					t.Errorf("got %+v", *r)
				}
			})
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, mode := range demo.Modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				var p demo.Progress
				start := time.Now()
				r, err := demo.Run(ctx, mode, backend(t), settings(0, requests("/a", 0, 0, time.Hour)...), &p)
				if !errors.Is(err, context.DeadlineExceeded) || r != nil {
					t.Errorf("result %v, error %v", r, err)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("it took %v to notice", took)
				}
			})
		})
	}
}

// What a run stores is gone after it, from a backend that others use too.
func TestRunCleansUp(t *testing.T) {
	t.Parallel()
	for _, mode := range demo.Modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := &watcher{Proxy: driver.Proxy{Backend: backend(t)}, keys: map[string]bool{}}
				s := settings(1)
				for i := range 150 {
					s.Requests = append(s.Requests, load.Request{Key: fmt.Sprint("/", i)})
				}
				s.Clients = 1
				run(t, mode, seen, s)
				if len(seen.keys) != 150 {
					t.Errorf("%d keys were stored", len(seen.keys))
				}
				for key := range seen.keys {
					items := []driver.Item{{Key: key}}
					if err := seen.Backend.Get(t.Context(), items); err != nil || items[0].Found() {
						t.Fatalf("%q is still there (%v)", key, err)
					}
				}
			})
		})
	}
}

// watcher remembers what was stored by its only client.
type watcher struct {
	driver.Proxy
	keys map[string]bool
}

func (w *watcher) Set(ctx context.Context, items []driver.Item) error {
	for _, it := range items {
		w.keys[it.Key] = true
	}
	return w.Proxy.Set(ctx, items)
}
