package dogpile_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
)

// Hits, Stale and Misses add up to the keys that were asked for, also where a mangler
// makes some of them the same.
func TestCountsOfKeysMangledAlike(t *testing.T) {
	t.Parallel()
	r := newRegion(t, newMemory(t), &dogpile.Options{Mangler: func(string) string { return "same" }})
	c := dogpile.NewCache[int](r, nil)
	for i, want := range []dogpile.Stats{{Misses: 3}, {Misses: 3, Hits: 3}} {
		_, err := c.GetOrCreateMulti(bg, []string{"a", "b", "c"}, many(0, new([][]string)))
		wantErr(t, "GetOrCreateMulti", err, nil)
		if s := r.Stats(); s.Hits != want.Hits || s.Misses != want.Misses {
			t.Errorf("after %d calls for 3 keys: %d hits, %d misses; want %d, %d", i+1, s.Hits, s.Misses, want.Hits, want.Misses)
		}
	}
}

// Errors that no caller gets reach Hooks.Error, once.
func TestErrorsThatNobodyGets(t *testing.T) {
	past := 90 * time.Second
	for _, row := range []struct {
		name   string
		o      dogpile.Options
		create func(context.Context) (int, error)
		down   bool // the locks are, once the entry is stale
		leaves bool // the caller does, after 500 ms
	}{
		{name: "the backend fails a creation in the background of a strict region",
			o: dogpile.Options{Strict: true, Runner: dogpile.Background}, create: constant(2).create, down: true},
		{name: "an entry stands in for a creator that never returns",
			o: dogpile.Options{CreateTimeout: time.Second, StaleIfError: time.Hour}, create: (&creator[int]{takes: 10 * time.Second, deaf: true, err: errOrigin}).create},
		{name: "the caller has left before its creator fails",
			create: (&creator[int]{takes: time.Second, err: errOrigin}).create, leaves: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				o := row.o
				o.Hooks, o.Expiration = rec.hooks(), time.Minute
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, &o), nil)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				pass(past)
				rec.counts()
				if row.down {
					b.in(failing("lock"))
				}
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				r := start(func() (int, error) { return c.GetOrCreate(ctx, "k", row.create) })
				if row.leaves {
					pass(500 * time.Millisecond)
					cancel()
				}
				if got := <-r; !row.leaves {
					wantValue(t, "the caller", got.v, got.err, 1)
				}
				later(5 * time.Second)
				if n := rec.counts(); n["error"] != 1 {
					t.Errorf("events: %v; want one error", n)
				}
				later(10 * time.Second)
			})
		})
	}
}

// The panic of a creator in the background is told with its value and its stack: there
// is no caller to get them.
func TestPanicInTheBackgroundIsToldWithItsValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background, Hooks: rec.hooks()})
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(90 * time.Second)
		v, err := c.GetOrCreate(bg, "k", func(context.Context) (int, error) { panic("boom") })
		wantValue(t, "the caller", v, err, 1)
		synctest.Wait()
		events := rec.take("error")
		if len(events) != 1 {
			t.Fatalf("%d errors were told, want 1", len(events))
		}
		var p *dogpile.PanicError
		if !errors.As(events[0].Err, &p) || p.Value != "boom" {
			t.Errorf("told: %v; want the panic", events[0].Err)
		}
	})
}

// The caller of a batch gets the error, because one of its keys has nothing that could
// stand in. Then it is no error that no caller gets.
func TestErrorOfABatchIsNotToldTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour, Hooks: rec.hooks()})
		wantErr(t, "Set", c.Set(bg, "stale", 1), nil)
		pass(90 * time.Second)
		_, err := c.GetOrCreateMulti(bg, []string{"missing", "stale"}, func(context.Context, []string) (map[string]int, error) { return nil, errOrigin })
		wantErr(t, "GetOrCreateMulti", err, errOrigin)
		if n := rec.counts(); n["error"] != 0 {
			t.Errorf("events: %v; want no error, as the caller has got it", n)
		}
	})
}

// panicky panics in Judge once its value has been created.
type panicky struct {
	dogpile.LocalInvalidator
	armed atomic.Bool
}

func (p *panicky) Judge(key, version string, began time.Time) dogpile.State {
	if p.armed.Swap(false) {
		panic("boom")
	}
	return p.LocalInvalidator.Judge(key, version, began)
}

// A panic of a function of the user's, after the value was created well, does not lose
// the value.
func TestPanicAfterACreationLosesNoValue(t *testing.T) {
	t.Run("ExpirationFunc", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			var armed atomic.Bool
			c := dogpile.NewCache(newRegion(t, newMemory(t), nil), &dogpile.CacheOptions[int]{ExpirationFunc: func() time.Duration {
				if armed.Swap(false) {
					panic("boom")
				}
				return time.Minute
			}})
			v, err := c.GetOrCreate(bg, "k", func(context.Context) (int, error) { armed.Store(true); return 7, nil })
			wantValue(t, "GetOrCreate", v, err, 7)
		})
	})
	t.Run("Invalidator", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			inv := new(panicky)
			c := newCache[int](t, &dogpile.Options{Invalidator: inv})
			v, err := c.GetOrCreate(bg, "k", func(context.Context) (int, error) { inv.armed.Store(true); return 7, nil })
			wantValue(t, "GetOrCreate", v, err, 7)
		})
	})
}

// All functions of a region return their errors as an *OpError.
func TestErrorsOfManyKeysAreOpErrors(t *testing.T) {
	t.Parallel()
	b := newFake(t, like{})
	c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
	wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2}), nil)
	b.down = "test:a"
	if _, err := c.GetMulti(bg, []string{"a", "b"}); !isOpError(err) {
		t.Errorf("GetMulti: %T %v", err, err)
	}
	b.down = ""
	b.in(failing("set"))
	if err := c.SetMulti(bg, map[string]int{"a": 1, "b": 2}); !isOpError(err) {
		t.Errorf("SetMulti: %T %v", err, err)
	}
}

func isOpError(err error) bool {
	_, ok := err.(*dogpile.OpError)
	return ok
}
