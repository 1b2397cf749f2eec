package dogpile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// scene is a region with a cache of which "fresh" is fresh and "stale" stale.
type scene struct {
	t *testing.T
	b *fake
	r *dogpile.Region
	c *dogpile.Cache[int]
}

func (s *scene) get(key string, o *creator[int]) (int, error) {
	return s.c.GetOrCreate(bg, key, o.create)
}

func (s *scene) multi(keys ...string) (map[string]int, error) {
	return s.c.GetOrCreateMulti(bg, keys, func(_ context.Context, keys []string) (map[string]int, error) {
		vals := make(map[string]int)
		for _, key := range keys {
			vals[key] = 2
		}
		return vals, nil
	})
}

// told is one call of a region, and the events of it, by hook.
type told struct {
	name string
	o    dogpile.Options
	call func(s *scene)
	want string // hooks in alphabetical order, each with its number
	keys int64  // asked for
}

var tellings = []told{
	{"Get fresh", dogpile.Options{}, func(s *scene) { _, _, _ = s.c.Get(bg, "fresh") }, "hit:1", 1},
	{"Get stale", dogpile.Options{}, func(s *scene) { _, _, _ = s.c.Get(bg, "stale") }, "miss:1", 1},
	{"Get missing", dogpile.Options{}, func(s *scene) { _, _, _ = s.c.Get(bg, "k") }, "miss:1", 1},
	{"GetMulti", dogpile.Options{}, func(s *scene) { _, _ = s.c.GetMulti(bg, []string{"fresh", "stale", "k", "k", "fresh"}) }, "hit:1 miss:2", 3},
	{"Get of a backend that fails", dogpile.Options{}, func(s *scene) { s.b.in(failing("get")); _, _, _ = s.c.Get(bg, "k") }, "", 0},
	{"Peek", dogpile.Options{}, func(s *scene) { _, _, _ = s.c.Peek(bg, "stale") }, "", 0},
	{"Set", dogpile.Options{}, func(s *scene) { _ = s.c.Set(bg, "k", 1) }, "store:1", 0},
	{"Set fails", dogpile.Options{}, func(s *scene) { s.b.in(failing("set")); _ = s.c.Set(bg, "k", 1) }, "store:1", 0},
	{"SetMulti", dogpile.Options{}, func(s *scene) { _ = s.c.SetMulti(bg, map[string]int{"a": 1, "b": 2}) }, "store:2", 0},
	{"Delete", dogpile.Options{}, func(s *scene) { _ = s.c.Delete(bg, "fresh", "k") }, "delete:2", 0},
	{"Delete fails", dogpile.Options{}, func(s *scene) { s.b.in(failing("delete")); _ = s.c.Delete(bg, "fresh") }, "delete:1", 0},
	{"Invalidate", dogpile.Options{}, func(s *scene) { _ = s.r.Invalidate(bg, dogpile.Soft) }, "invalidate:1", 0},
	{"Refresh", dogpile.Options{}, func(s *scene) { _, _ = s.c.Refresh(bg, "fresh", constant(1).create) }, "create:1 store:1", 0},

	{"fresh", dogpile.Options{}, func(s *scene) { _, _ = s.get("fresh", constant(2)) }, "hit:1", 1},
	{"missing", dogpile.Options{}, func(s *scene) { _, _ = s.get("k", constant(2)) }, "create:1 miss:1 store:1", 1},
	{"stale, created by its caller", dogpile.Options{}, func(s *scene) { _, _ = s.get("stale", constant(2)) }, "create:1 miss:1 store:1", 1},
	{"stale, in the background", dogpile.Options{Runner: dogpile.Background}, func(s *scene) { _, _ = s.get("stale", constant(2)) },
		"create:1 stale:1 store:1", 1},
	{"stale, in the background, fails", dogpile.Options{Runner: dogpile.Background}, func(s *scene) { _, _ = s.get("stale", &creator[int]{err: errOrigin}) },
		"create:1 error:1 stale:1", 1},
	{"stale, in the background, panics", dogpile.Options{Runner: dogpile.Background}, func(s *scene) {
		_, _ = s.c.GetOrCreate(bg, "stale", func(context.Context) (int, error) { panic("boom") })
	}, "create:1 error:1 stale:1", 1},
	{"stale, in the background, fails, stands in", dogpile.Options{Runner: dogpile.Background, StaleIfError: time.Hour}, func(s *scene) {
		_, _ = s.get("stale", &creator[int]{err: errOrigin})
	}, "create:1 error:1 stale:1", 1},
	{"stale, while another creates", dogpile.Options{}, func(s *scene) {
		first := start(get(s.c, "stale", counting(time.Second).create))
		_, _ = s.get("stale", constant(2))
		<-first
	}, "create:1 miss:1 stale:1 store:1", 2},
	{"missing, while another creates", dogpile.Options{}, func(s *scene) {
		for _, call := range crowd(3, get(s.c, "k", counting(time.Second).create)) {
			<-call
		}
	}, "create:1 miss:3 store:1 wait:2", 3},
	{"fails", dogpile.Options{}, func(s *scene) {
		for _, call := range crowd(3, get(s.c, "k", (&creator[int]{takes: time.Second, err: errOrigin}).create)) {
			<-call
		}
	}, "create:1 miss:3 wait:2", 3},
	{"panics", dogpile.Options{}, func(s *scene) {
		_, _ = s.c.GetOrCreate(bg, "k", func(context.Context) (int, error) { panic("boom") })
	}, "create:1 miss:1", 1},
	{"stale, fails", dogpile.Options{}, func(s *scene) { _, _ = s.get("stale", &creator[int]{err: errOrigin}) }, "create:1 miss:1", 1},
	{"stale, fails, stands in", dogpile.Options{StaleIfError: time.Hour}, func(s *scene) {
		_, _ = s.get("stale", &creator[int]{err: errOrigin})
	}, "create:1 error:1 stale:1", 1},
	{"stale, rests", dogpile.Options{StaleIfError: time.Hour}, func(s *scene) {
		_, _ = s.get("stale", &creator[int]{err: errOrigin})
		_, _ = s.get("stale", constant(2))
	}, "create:1 error:1 stale:2", 2},
	{"NoStore", dogpile.Options{}, func(s *scene) {
		_, _ = s.c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) { dogpile.Creation(ctx).NoStore(); return 1, nil })
	}, "create:1 miss:1", 1},
	{"cannot be stored", dogpile.Options{}, func(s *scene) { s.b.in(failing("set")); _, _ = s.get("k", constant(2)) },
		"create:1 error:1 miss:1 store:1", 1},
	{"cannot be read", dogpile.Options{}, func(s *scene) { s.b.in(failing("get")); _, _ = s.get("k", constant(2)) }, "create:1 error:1 miss:1", 1},
	{"cannot be read, and its lease not be lost", dogpile.Options{}, func(s *scene) {
		_, _ = s.c.GetOrCreate(bg, "k", func(ctx context.Context) (int, error) { return 1, s.c.Delete(ctx, "k") })
	}, "create:1 delete:1 miss:1 store:1", 1},
	{"batch", dogpile.Options{}, func(s *scene) { _, _ = s.multi("fresh", "stale", "a", "b") }, "create:1 hit:1 miss:3 store:3", 4},
	{"batch, in the background", dogpile.Options{Runner: dogpile.Background}, func(s *scene) { _, _ = s.multi("fresh", "stale", "a", "b") },
		"create:2 hit:1 miss:2 stale:1 store:3", 4},
	{"batch that waits", dogpile.Options{}, func(s *scene) {
		one, two := start(get(s.c, "stale", counting(time.Second).create)), start(get(s.c, "a", counting(time.Second).create))
		_, _ = s.multi("fresh", "stale", "a", "b")
		<-one
		<-two
	}, "create:3 hit:1 miss:4 stale:1 store:3 wait:1", 6},
	{"MultiFunc refresh", dogpile.Options{}, func(s *scene) {
		f := dogpile.NewMultiFunc(s.r, "f", func(_ context.Context, ks []int) (map[int]int, error) { return map[int]int{1: 1, 2: 2}, nil }, nil)
		_, _ = f.Refresh(bg, 1, 2)
	}, "create:1 store:2", 0},
}

func TestEveryOutcomeIsToldOnce(t *testing.T) {
	for _, row := range tellings {
		for backend, l := range map[string]like{"local": {unshared: true}, "shared bytes": {bytes: true}} {
			t.Run(row.name+"/"+backend, func(t *testing.T) {
				bubble(t, func(t *testing.T) { tell(t, row, l) })
			})
		}
	}
}

func tell(t *testing.T, row told, l like) {
	rec, b := new(recorder), newFake(t, l)
	var log bytes.Buffer
	o := row.o
	o.Expiration, o.Hooks, o.Logger = time.Minute, rec.hooks(), slog.New(slog.NewTextHandler(&log, nil))
	r := newRegion(t, b, &o)
	s := &scene{t, b, r, dogpile.NewCache[int](r, nil)}
	wantErr(t, "Set", s.c.Set(bg, "stale", 1), nil)
	pass(90 * time.Second)
	wantErr(t, "Set", s.c.Set(bg, "fresh", 1), nil)
	rec.counts()
	before := r.Stats()
	row.call(s)
	later(0)
	b.in(nil)

	after := r.Stats()
	checkEvents(t, rec, after)
	counts := rec.counts()
	if got := summary(counts); got != row.want {
		t.Errorf("told %q, want %q", got, row.want)
	}
	if n := after.Hits + after.Stale + after.Misses - before.Hits - before.Stale - before.Misses; n != row.keys {
		t.Errorf("Hits, Stale and Misses are %d for %d keys", n, row.keys)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != counts["error"] || n != strings.Count(log.String(), "\n") {
		t.Errorf("%d errors were told and this logged:\n%s", counts["error"], log.String())
	}
}

func summary(counts map[string]int) string {
	var parts []string
	for _, name := range []string{"create", "delete", "error", "hit", "invalidate", "miss", "stale", "store", "wait"} {
		if n := counts[name]; n > 0 {
			parts = append(parts, fmt.Sprint(name, ":", n))
		}
	}
	return strings.Join(parts, " ")
}

// checkEvents checks what all events have in common.
func checkEvents(t *testing.T, rec *recorder, s dogpile.Stats) {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for name, events := range rec.events {
		for _, e := range events {
			if e.Region != "test" || e.Op == "" || e.Key == "" && name != "invalidate" || strings.HasPrefix(e.Key, "test:") {
				t.Errorf("%s was told %+v", name, e)
			}
			if (name == "error") && e.Err == nil || (name == "hit" || name == "stale" || name == "miss") && e.Err != nil {
				t.Errorf("%s was told the error %v", name, e.Err)
			}
		}
	}
	if s.Running != 0 {
		t.Errorf("%d flights are in the air", s.Running)
	}
}

func TestEventsOfWaitsAndCreations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Hooks: rec.hooks()})
		first := start(get(c, "k", (&creator[int]{takes: 2 * time.Second, err: errOrigin}).create))
		pass(500 * time.Millisecond)
		second := start(get(c, "k", constant(1).create))
		<-first
		<-second
		creations, waits := rec.take("create"), rec.take("wait")
		if len(creations) != 1 || creations[0].Duration != 2*time.Second || !errors.Is(creations[0].Err, errOrigin) {
			t.Errorf("Create was told %+v", creations)
		}
		if len(waits) != 1 || waits[0].Duration != 1500*time.Millisecond || !errors.Is(waits[0].Err, errOrigin) {
			t.Errorf("Wait was told %+v", waits)
		}
		_, err := c.GetOrCreateMulti(bg, []string{"b", "a"}, func(context.Context, []string) (map[string]int, error) { return nil, nil })
		wantErr(t, "GetOrCreateMulti", err, nil)
		if got := rec.take("create"); len(got) != 1 || fmt.Sprint(got[0].Keys) != "[a b]" {
			t.Errorf("Create was told %+v", got)
		}
	})
}

// Hooks run without any lock held: they may use the region.
func TestHooksMayUseTheRegion(t *testing.T) {
	for kind, backend := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var c *dogpile.Cache[int]
				var r *dogpile.Region
				var told atomic.Int64
				use := func(ctx context.Context, e dogpile.Event) {
					if e.Key == "mine" || e.Op == "invalidate" && told.Add(1) > 100 {
						return
					}
					told.Add(1)
					_, _ = r.Stats(), r.Configured()
					_, _, _ = c.Get(ctx, "mine")
					_ = c.Set(ctx, "mine", 1)
					_ = c.Delete(ctx, "mine")
					_, _ = r.Locked(ctx, e.Key)
					_, _ = c.GetOrCreate(ctx, "mine", constant(1).create)
				}
				r = newRegion(t, backend(t), &dogpile.Options{Expiration: time.Minute, MaxCreators: 1, Hooks: &dogpile.Hooks{
					Hit: use, Stale: use, Miss: use, Wait: use, Create: use, Store: use, Delete: use, Invalidate: use, Error: use,
				}})
				c = dogpile.NewCache[int](r, nil)
				began := time.Now()
				for _, call := range crowd(3, get(c, "k", counting(time.Second).create)) {
					wantErr(t, "GetOrCreate", (<-call).err, nil)
				}
				_, err := c.GetOrCreateMulti(bg, []string{"k", "l"}, many(0, new([][]string)))
				wantErr(t, "GetOrCreateMulti", err, nil)
				wantErr(t, "Delete", c.Delete(bg, "k"), nil)
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
				if took := time.Since(began); took != time.Second || told.Load() < 10 {
					t.Errorf("took %v, told %d times", took, told.Load())
				}
			})
		})
	}
}

// A creation in the background that takes too long is an error that no caller
// gets.
func TestBackgroundTimeoutIsTold(t *testing.T) {
	for _, deaf := range []bool{true, false} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				r := newRegion(t, newMemory(t), &dogpile.Options{Expiration: time.Minute, CreateTimeout: time.Second, Runner: dogpile.Background, Hooks: rec.hooks()})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(90 * time.Second)
				v, err := c.GetOrCreate(bg, "k", (&creator[int]{takes: 10 * time.Second, deaf: deaf}).create)
				wantValue(t, "stale", v, err, 1)
				later(20 * time.Second)
				if told := rec.take("error"); len(told) != 1 || r.Stats().Errors != 1 {
					t.Errorf("Error was told %v, Stats.Errors is %d", told, r.Stats().Errors)
				}
			})
		})
	}
}

// Who is served at once, because the creator has just failed, waits for nobody.
func TestBackOffIsNoWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Second, StaleIfError: time.Hour, Hooks: rec.hooks()})
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(5 * time.Minute)
		v, err := c.GetOrCreate(bg, "k", (&creator[int]{err: errOrigin}).create)
		wantValue(t, "stands in", v, err, 1)
		rec.counts()
		v, err = c.GetOrCreate(bg, "k", constant(2).create)
		wantValue(t, "rests", v, err, 1)
		vals, err := c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]int, error) { panic("called") })
		wantMap(t, "rests", vals, err, map[string]int{"k": 1})
		if counts := rec.counts(); counts["wait"] > 0 || counts["stale"]+counts["miss"] != 2 || counts["hit"] > 0 {
			t.Errorf("told %q", summary(counts))
		}
	})
}

func TestStatsCountWhatHooksAreTold(t *testing.T) {
	for name, l := range map[string]like{"local": {unshared: true}, "shared": {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { storm(t, l) })
		})
	}
	t.Run("memory", func(t *testing.T) {
		bubble(t, func(t *testing.T) { // where hits take the short way
			rec := new(recorder)
			r := newRegion(t, newMemory(t), &dogpile.Options{Hooks: rec.hooks()})
			c, f := dogpile.NewCache[int](r, nil), dogpile.NewFunc(r, "f", func(context.Context, int) (int, error) { return 1, nil }, nil)
			for range 10 {
				_, _ = c.GetOrCreate(bg, "k", constant(1).create)
				_, _, _ = c.Get(bg, "k")
				_, _ = f.Call(bg, 7)
			}
			keys := make(map[string]int)
			hits := rec.take("hit")
			for _, e := range hits {
				keys[e.Key]++
			}
			if want := map[string]int{"k": 19, "f|7": 9}; !maps.Equal(keys, want) {
				t.Errorf("Hit was told of %v, want %v", keys, want)
			}
			if s := r.Stats(); s.Hits != int64(len(hits)) || s.Misses != 2 || s.Creations != 2 || s.Stores != 2 {
				t.Errorf("%+v", s)
			}
		})
	})
}

// storm does everything at once for a while, and then compares.
func storm(t *testing.T, l like) {
	rec, b := new(recorder), newFake(t, l)
	b.in(func(ctx context.Context, op string, _ []string) error {
		if rand.IntN(50) == 0 && op != "release" {
			return errBackend
		}
		return wait(ctx, time.Duration(rand.IntN(3))*time.Millisecond)
	})
	r := newRegion(t, b, &dogpile.Options{Expiration: 50 * time.Millisecond, StaleIfError: time.Second, Jitter: 0.1, MaxCreators: 3, Hooks: rec.hooks()})
	c := dogpile.NewCache[int](r, nil)
	var asked atomic.Int64
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 100 {
				asked.Add(anything(r, c))
			}
		})
	}
	wg.Wait()
	later(time.Minute)
	b.in(nil)
	checkEvents(t, rec, r.Stats())
	compare(t, rec, r.Stats(), asked.Load())
}

// anything does one thing at random, and returns how many keys it has asked for.
func anything(r *dogpile.Region, c *dogpile.Cache[int]) int64 {
	key := fmt.Sprint(rand.IntN(5))
	create := func(context.Context) (int, error) {
		pass(time.Duration(rand.IntN(20)) * time.Millisecond)
		switch rand.IntN(10) {
		case 0:
			return 0, errOrigin
		case 1:
			panic("boom")
		}
		return 1, nil
	}
	switch rand.IntN(8) {
	case 0:
		_ = c.Set(bg, key, 1)
	case 1:
		_ = c.Delete(bg, key)
	case 2:
		_ = r.Invalidate(bg, dogpile.Mode(rand.IntN(2)))
	case 3:
		if _, _, err := c.Get(bg, key); err == nil {
			return 1
		}
	case 4:
		_, _ = c.GetOrCreateMulti(bg, []string{"0", "1"}, func(ctx context.Context, keys []string) (map[string]int, error) {
			v, err := create(ctx)
			return map[string]int{keys[0]: v}, err
		})
		return 2
	default:
		_, _ = c.GetOrCreate(bg, key, create)
		return 1
	}
	return 0
}

// compare checks that the counters tell what the hooks were told.
func compare(t *testing.T, rec *recorder, s dogpile.Stats, asked int64) {
	t.Helper()
	var want dogpile.Stats
	for _, e := range rec.take("create") {
		if e.Err == nil {
			want.Creations++
		} else {
			want.Failures++
		}
	}
	for _, e := range rec.take("store") {
		if e.Err == nil {
			want.Stores++
		} else if errors.Is(e.Err, dogpile.ErrLeaseLost) {
			want.LeasesLost++
		}
	}
	for _, e := range rec.take("delete") {
		if e.Err == nil {
			want.Deletes++
		}
	}
	for _, e := range rec.take("invalidate") {
		if e.Err == nil {
			want.Invalidations++
		}
	}
	n := rec.counts()
	want.Hits, want.Stale, want.Misses = int64(n["hit"]), int64(n["stale"]), int64(n["miss"])
	want.Waits, want.Errors = int64(n["wait"]), int64(n["error"])
	if s != want {
		t.Errorf("Stats are %+v, the hooks were told %+v", s, want)
	}
	if n := s.Hits + s.Stale + s.Misses; n != asked {
		t.Errorf("Hits, Stale and Misses are %d for %d keys", n, asked)
	}
}

// TestAHookMayWaitForTheCreation: what a renewal of a lease is told to must not hold up the end
// of the creation.
func TestAHookMayWaitForTheCreation(t *testing.T) {
	for _, which := range []string{"Backend", "Error"} {
		t.Run(which, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				done := make(chan struct{})
				waits := func(_ context.Context, e dogpile.Event) {
					if e.Op == "extend" {
						<-done
					}
				}
				b, h := newFake(t, like{}), new(dogpile.Hooks)
				if which == "Error" {
					b.in(failing("extend"))
					h.Error = waits
				} else {
					h.Backend = waits
				}
				r := newRegion(t, b, &dogpile.Options{LockTTL: 9 * time.Second, CreateTimeout: time.Minute, Hooks: h})
				began := time.Now()
				v, err := dogpile.NewCache[int](r, nil).GetOrCreate(bg, "k", func(context.Context) (int, error) {
					time.Sleep(4 * time.Second)
					return 7, nil
				})
				if took := time.Since(began); v != 7 || err != nil || took != 4*time.Second {
					t.Errorf("GetOrCreate = %v, %v after %v", v, err, took)
				}
				close(done)
			})
		})
	}
}
