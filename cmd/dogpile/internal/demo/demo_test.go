package demo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/backend/file"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
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

// task is that of the tests: one client more than needed. By the clock of a
// synctest bubble rendering takes no time.
func task(mode demo.Mode, requests ...load.Request) *demo.Task {
	return &demo.Task{
		Mode: mode, Requests: requests, End: requests[len(requests)-1].At + time.Second, Clients: len(requests) + 1,
		Expiration: time.Second, StaleFor: time.Minute, Prefix: "test:",
	}
}

func requests(key string, at ...time.Duration) (rs []load.Request) {
	for _, d := range at {
		rs = append(rs, load.Request{At: d, Key: key})
	}
	return rs
}

// run does all of the task in one process, before an origin with that many
// workers for tiles of one pixel.
func run(t *testing.T, task *demo.Task, b driver.Backend, workers int) *demo.Result {
	t.Helper()
	o, start := origin.New(workers, 1), time.Now()
	var p demo.Progress
	outcomes, err := demo.Run(t.Context(), start, task, b, o.Create, &p)
	if err != nil {
		t.Fatalf("%s: %v", task.Mode, err)
	}
	return demo.Summarise(task, start, outcomes, o.Stats(), p.Counts())
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

func TestSplitAndMerge(t *testing.T) {
	t.Parallel()
	whole := &demo.Task{Mode: demo.Dogpile, Clients: 5, End: time.Minute, Expiration: 1, StaleFor: 2, Prefix: "p:"}
	for i := range 7 {
		whole.Requests = append(whole.Requests, load.Request{At: time.Duration(i)})
	}
	rows := []struct {
		n       int
		clients []int
		at      [][]time.Duration
	}{
		{1, []int{5}, [][]time.Duration{{0, 1, 2, 3, 4, 5, 6}}},
		{2, []int{3, 2}, [][]time.Duration{{0, 2, 4, 6}, {1, 3, 5}}},
		{3, []int{2, 2, 1}, [][]time.Duration{{0, 3, 6}, {1, 4}, {2, 5}}},
		{9, []int{1, 1, 1, 1, 1, 0, 0, 0, 0}, [][]time.Duration{{0}, {1}, {2}, {3}, {4}, {5}, {6}, nil, nil}},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.n), func(t *testing.T) {
			t.Parallel()
			var outcomes [][]demo.Outcome
			for k, part := range whole.Split(row.n) {
				var at []time.Duration
				var got []demo.Outcome
				for _, r := range part.Requests {
					at = append(at, r.At)
					got = append(got, demo.Outcome{Waited: r.At})
				}
				outcomes = append(outcomes, got)
				if part.Clients != row.clients[k] || !slices.Equal(at, row.at[k]) {
					t.Errorf("part %d has %d clients and requests %v, want %d and %v", k, part.Clients, at, row.clients[k], row.at[k])
				}
				part.Clients, part.Requests = whole.Clients, whole.Requests
				if !reflect.DeepEqual(part, whole) {
					t.Errorf("part %d is %+v", k, *part)
				}
			}
			merged := demo.Merge(outcomes)
			for i, got := range merged {
				if got.Waited != time.Duration(i) {
					t.Errorf("outcome %d is that of request %d", i, got.Waited)
				}
			}
			if len(merged) != len(whole.Requests) {
				t.Errorf("%d outcomes", len(merged))
			}
		})
	}
}

// A key is asked for at 0, fresh at 0.5 s, and expired at 2 s and 2.1 s. One
// after the other nobody gets in another's way.
func TestRunCountsCreations(t *testing.T) {
	t.Parallel()
	for mode, stale := range map[demo.Mode]int{demo.None: 0, demo.Coalesced: 0, demo.Dogpile: 1} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := task(mode, requests("/a", 0, 500*time.Millisecond, 2*time.Second, 2100*time.Millisecond)...)
				r := run(t, k, backend(t), 1)
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
				r := run(t, task(mode, rs...), backend(t), 0)
				if took := time.Since(start); took != 3*time.Second {
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
		k := task(demo.None, requests("/a", 0, time.Second)...)
		k.Clients = 1
		r := run(t, k, backend(t), 0)
		if r.P50 != time.Second || r.Max != 2*time.Second || r.Creations != 1 || r.Unanswered != 2 {
			t.Errorf("got %+v", *r)
		}
	})
}

func TestPhases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Each second is a third of the run. The first one is the cold start, as
		// entries expire after a second.
		rs := append(requests("/a", 0, 0, time.Second), requests("/b", 2*time.Second)...)
		r := run(t, task(demo.None, rs...), backend(t), 0)
		if len(r.Buckets) != demo.BucketCount {
			t.Fatalf("%d buckets", len(r.Buckets))
		}
		want := map[int]demo.Phase{
			0:                        {2, 2, demo.Latency{P50: 3 * time.Second, P99: 3 * time.Second, Max: 3 * time.Second}},
			demo.BucketCount / 3:     {1, 1, demo.Latency{P50: 2 * time.Second, P99: 2 * time.Second, Max: 2 * time.Second}},
			demo.BucketCount * 2 / 3: {1, 1, demo.Latency{P50: time.Second, P99: time.Second, Max: time.Second}},
		}
		for i, b := range r.Buckets {
			if b != want[i] {
				t.Errorf("bucket %d: %+v, want %+v", i, b, want[i])
			}
		}
		steady := demo.Phase{Creations: 2, Requests: 2, Latency: demo.Latency{P50: time.Second, P99: 2 * time.Second, Max: 2 * time.Second}}
		if r.Cold != want[0] || r.Steady != steady {
			t.Errorf("cold start %+v, want %+v; steady state %+v, want %+v", r.Cold, want[0], r.Steady, steady)
		}
	})
}

// A process whose part is answered waits for the creation that it still runs: the
// origin takes 10 s, and the stale key is asked for at 20 s. At the end it is cut
// off.
func TestRunWaitsForCreations(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		end  time.Duration
		want time.Duration // when Run returns
	}{
		{"it ends in time", time.Minute, 30 * time.Second},
		{"the run ends first", 25 * time.Second, 25 * time.Second},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := task(demo.Dogpile, requests("/a", 0, 20*time.Second)...)
				k.End = row.end
				start := time.Now()
				create := func(ctx context.Context, _ string) ([]byte, error) {
					select {
					case <-time.After(10 * time.Second):
						return []byte("v"), nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
				var p demo.Progress
				outcomes, err := demo.Run(t.Context(), start, k, backend(t), create, &p)
				if err != nil || len(outcomes) != 2 || outcomes[1] != (demo.Outcome{End: demo.Answered}) {
					t.Errorf("outcomes %v, %v", outcomes, err)
				}
				if took := time.Since(start); took != row.want {
					t.Errorf("it took %v", took)
				}
				if c := p.Counts(); c != (demo.Counts{Answered: 2, Creations: 2, StaleServed: 1}) {
					t.Errorf("counts %+v", c)
				}
			})
		})
	}
}

// One client asks five times. The first request creates, the second one reads what there
// is, and a copy of that answers the others.
func TestNearHits(t *testing.T) {
	t.Parallel()
	for mode, near := range map[demo.Mode]int{demo.Dogpile: 0, demo.Near: 3} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b, err := file.Open(t.Context(), filepath.Join(t.TempDir(), "f"), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			k := task(mode, requests("/a", 0, 0, 0, 0, 0)...)
			k.Clients, k.End, k.Expiration = 1, time.Minute, time.Hour
			r := run(t, k, b, 1)
			if r.Creations != 1 || r.Hits != 4 || r.NearHits != near || r.Errors+r.Unanswered != 0 {
				t.Errorf("got %+v, want 1 creation and 4 hits, %d of them near", *r, near)
			}
			if r.HitTook.P50 <= 0 || r.HitTook.P50 > r.HitTook.Max {
				t.Errorf("hits took %+v", r.HitTook)
			}
			for _, there := range []bool{true, false} {
				items := []driver.Item{{Key: "test:" + string(mode) + ":/a"}}
				if err := b.Get(t.Context(), items); err != nil || items[0].Found() != there {
					t.Errorf("the entry is there: %v (%v), want %v", items[0].Found(), err, there)
				}
				demo.Clean(k, b)
			}
		})
	}
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
				r := run(t, task(mode, requests("/a", 0, time.Second)...), down{}, 1)
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
				k := task(mode, requests("/a", 0, 0, time.Hour)...)
				outcomes, err := demo.Run(ctx, start, k, backend(t), origin.New(0, 1).Create, &p)
				if !errors.Is(err, context.DeadlineExceeded) || outcomes != nil {
					t.Errorf("outcomes %v, error %v", outcomes, err)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("it took %v to notice", took)
				}
			})
		})
	}
}

// What a run stores is removed from a backend that others use too, and nothing
// else is.
func TestClean(t *testing.T) {
	t.Parallel()
	for _, mode := range demo.Modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				seen := &watcher{Proxy: driver.Proxy{Backend: backend(t)}, keys: map[string]bool{}}
				others := []driver.Item{{Key: "/1", Object: 1}}
				if err := seen.Backend.Set(t.Context(), others); err != nil {
					t.Fatal(err)
				}
				var rs []load.Request
				for i := range 150 {
					rs = append(rs, load.Request{Key: fmt.Sprint("/", i)})
				}
				k := task(mode, rs...)
				k.Clients = 1
				run(t, k, seen, 1)
				if len(seen.keys) != 150 {
					t.Errorf("%d keys were stored: %q", len(seen.keys), slices.Sorted(maps.Keys(seen.keys)))
				}
				demo.Clean(k, seen)
				for key := range seen.keys {
					items := []driver.Item{{Key: key}}
					if err := seen.Backend.Get(t.Context(), items); err != nil || items[0].Found() {
						t.Fatalf("%q is still there (%v)", key, err)
					}
				}
				if err := seen.Backend.Get(t.Context(), others); err != nil || !others[0].Found() {
					t.Errorf("the entry of another is gone (%v)", err)
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
