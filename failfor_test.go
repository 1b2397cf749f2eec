package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// TestFailForOfAThousandCalls: a creator that fails is run once in FailFor, whatever the
// form of the calls.
func TestFailForOfAThousandCalls(t *testing.T) {
	eachCall(t, dogpile.Options{Expiration: time.Minute, FailFor: 10 * time.Second}, nil, func(t *testing.T, p asked) {
		p.one.err = errOrigin
		for _, c := range crowd(10, func() (int, error) { return p.call(bg) }) {
			wantErr(t, "a caller that waits", (<-c).err, errOrigin)
		}
		for range 1000 {
			_, err := p.call(bg)
			if err != errOrigin {
				t.Fatalf("a later caller got %v; want the error as it was", err)
			}
		}
		_, err := p.call(dogpile.NoStale(bg))
		wantErr(t, "NoStale", err, errOrigin)
		wantCalls(t, p.one, 1)
		if s := p.r.Stats(); s.Failures != 1 || s.Misses != 1011 || s.Waits != 1010 {
			t.Errorf("%+v; want each caller that did not create to have waited", s)
		}
		later(10 * time.Second)
		_, err = p.call(bg)
		wantErr(t, "when the time is up", err, errOrigin)
		wantCalls(t, p.one, 2)
		// Renewing takes no notice.
		p.one.err = nil
		v, err := p.call(dogpile.Renew(bg))
		wantValue(t, "Renew", v, err, 3)
		v, err = p.call(bg)
		wantValue(t, "after Renew", v, err, 3)
	})
}

func TestFailForIsForgotten(t *testing.T) {
	for name, forget := range map[string]func(r *dogpile.Region, c *dogpile.Cache[int]) error{
		"Delete":     func(_ *dogpile.Region, c *dogpile.Cache[int]) error { return c.Delete(bg, "k") },
		"Invalidate": func(r *dogpile.Region, _ *dogpile.Cache[int]) error { return r.Invalidate(bg, dogpile.Hard) },
		"Set, Delete": func(_ *dogpile.Region, c *dogpile.Cache[int]) error {
			return errors.Join(c.Set(bg, "k", 1), c.Delete(bg, "k"))
		},
		"another process invalidates": func(r *dogpile.Region, _ *dogpile.Cache[int]) error {
			other := dogpile.NewRegion("test")
			if err := other.Configure(r.Backend(), &dogpile.Options{Prefix: "test:"}); err != nil {
				return err
			}
			return other.Invalidate(bg, dogpile.Hard)
		},
	} {
		for _, during := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/while the creator runs: %v", name, during), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRegion(t, newFake(t, like{bytes: true}), &dogpile.Options{FailFor: time.Hour})
					c := dogpile.NewCache[int](r, nil)
					failing := &creator[int]{takes: time.Second, err: errOrigin}
					call := start(get(c, "k", failing.create))
					if !during {
						pass(2 * time.Second)
					}
					wantErr(t, "forget", forget(r, c), nil)
					r1 := <-call
					wantErr(t, "the creator's caller", r1.err, errOrigin)
					v, err := c.GetOrCreate(bg, "k", constant(7).create)
					wantValue(t, "a caller after that", v, err, 7)
				})
			})
		}
	}
}

// TestFailForIsNoAnswerToOthers: what concerns one caller, one lease or the region is not
// what later callers are to be told.
func TestFailForIsNoAnswerToOthers(t *testing.T) {
	for _, row := range []struct {
		name       string
		remembered bool
		fail       func(ctx, caller context.Context, c *dogpile.Cache[int], cancel func()) error
	}{
		{"an error", true, func(context.Context, context.Context, *dogpile.Cache[int], func()) error { return errOrigin }},
		{"a panic", true, func(context.Context, context.Context, *dogpile.Cache[int], func()) error { panic("boom") }},
		{"the origin's own time-out", true, func(context.Context, context.Context, *dogpile.Cache[int], func()) error {
			return fmt.Errorf("select: %w", context.DeadlineExceeded)
		}},
		{"the time of the creation is up", true, func(ctx, _ context.Context, _ *dogpile.Cache[int], _ func()) error {
			<-ctx.Done()
			return ctx.Err()
		}},
		{"a creator that ends with its caller", false, func(_, caller context.Context, _ *dogpile.Cache[int], cancel func()) error {
			cancel()
			return fmt.Errorf("select: %w", caller.Err())
		}},
		{"a creator that asks for its own key", false, func(ctx, _ context.Context, c *dogpile.Cache[int], _ func()) error {
			_, err := c.GetOrCreate(ctx, "k", constant(1).create)
			return fmt.Errorf("nested: %w", err)
		}},
		{"a lease that was lost", false, func(ctx, _ context.Context, c *dogpile.Cache[int], _ func()) error {
			if err := c.Delete(bg, "k"); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCache[int](t, &dogpile.Options{FailFor: time.Hour, CreateTimeout: time.Minute})
				caller, cancel := context.WithCancel(bg)
				defer cancel()
				_, first := c.GetOrCreate(caller, "k", func(ctx context.Context) (int, error) { return 0, row.fail(ctx, caller, c, cancel) })
				if first == nil {
					t.Error("the first caller got no error")
				}
				later(0)
				v, err := c.GetOrCreate(bg, "k", constant(7).create)
				if row.remembered {
					if err == nil || err.Error() != first.Error() {
						t.Errorf("a later caller got %v, %v; want %v", v, err, first)
					}
					return
				}
				wantValue(t, "a later caller", v, err, 7)
			})
		})
	}
}

// TestFailForAndStaleValues: a caller that has a stale value gets that, as without
// FailFor, and one that may only have it if the creator fails does not make it fail again.
func TestFailForAndStaleValues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{Expiration: time.Minute, StaleFor: time.Minute, StaleIfError: time.Hour, FailFor: 10 * time.Second})
		failing := &creator[int]{err: errOrigin}
		wantErr(t, "Set", c.Set(bg, "k", 1), nil)
		pass(90 * time.Second)
		v, err := c.GetOrCreate(bg, "k", failing.create)
		wantValue(t, "while it is stale", v, err, 1)
		pass(time.Minute)
		for range 10 {
			v, err = c.GetOrCreate(bg, "k", failing.create)
			wantValue(t, "when it may only stand in", v, err, 1)
			pass(900 * time.Millisecond)
		}
		wantCalls(t, failing, 2)
	})
}

// TestOneFailureLosesNoOtherKey: a batch has what could be had, whatever becomes of the
// rest.
func TestOneFailureLosesNoOtherKey(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rec := new(recorder)
				r := newRegion(t, open(t), &dogpile.Options{Expiration: time.Minute, StaleIfError: time.Hour, FailFor: 10 * time.Second, Hooks: rec.hooks()})
				f := dogpile.NewMultiFunc(r, "f", func(context.Context, []string) (map[string]int, error) { return nil, errOrigin }, nil)
				set := func(key string, v int) {
					t.Helper()
					wantErr(t, "Set", f.Set(bg, map[string]int{key: v}), nil)
				}
				set("stale", 1)
				pass(90 * time.Second)
				set("fresh", 2)
				rec.counts()
				for _, row := range []struct {
					name  string
					told  map[string]int
					calls int
				}{
					{"the creator fails", map[string]int{"hit": 1, "stale": 1, "miss": 1, "create": 1}, 1},
					{"it has failed", map[string]int{"hit": 1, "stale": 1, "miss": 1, "wait": 1}, 0},
				} {
					vals, err := f.Call(bg, "fresh", "stale", "missing")
					if err != errOrigin || !maps.Equal(vals, map[string]int{"fresh": 2, "stale": 1}) {
						t.Errorf("%s: got %v, %v; want fresh and stale, and the error", row.name, vals, err)
					}
					if told := rec.counts(); !maps.Equal(told, row.told) {
						t.Errorf("%s: told %v, want %v", row.name, told, row.told)
					}
				}
				// A key that has failed does not keep the others from being created.
				c := dogpile.NewCache[int](r, nil)
				fails := func(context.Context) (int, error) { return 0, errOrigin }
				_, err := c.GetOrCreate(bg, "a", fails)
				wantErr(t, "GetOrCreate", err, errOrigin)
				var asked []string
				vals, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, func(_ context.Context, keys []string) (map[string]int, error) {
					asked = append(asked, keys...)
					return map[string]int{"a": 1, "b": 2}, nil
				})
				if err != errOrigin || !maps.Equal(vals, map[string]int{"b": 2}) || !slices.Equal(asked, []string{"b"}) {
					t.Errorf("got %v, %v, and asked for %v", vals, err, asked)
				}
			})
		})
	}
}

// TestFailuresOfSeveralKinds: an error that is not one creator's names each key.
func TestFailuresOfSeveralKinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		other := errors.New("another error")
		a := start(get(c, "a", (&creator[int]{takes: time.Second, err: other}).create))
		vals, err := c.GetOrCreateMulti(bg, []string{"a", "b", "c", "d"}, func(_ context.Context, keys []string) (map[string]int, error) {
			return nil, errOrigin
		})
		<-a
		var oe *dogpile.OpError
		if len(vals) > 0 || vals == nil || !errors.Is(err, errOrigin) || !errors.Is(err, other) || !errors.As(err, &oe) || oe.Key != "a" {
			t.Errorf("got %v, %v", vals, err)
		}
		if want := `dogpile: get "a": another error; "b": origin is down`; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}

// TestOneShardDownLosesItsOwnKeys: they go to the creator, all others are hits; a strict
// region has an error for them, and the hits.
func TestOneShardDownLosesItsOwnKeys(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run(fmt.Sprintf("strict %v", strict), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{unshared: true})
				r := newRegion(t, b, &dogpile.Options{Strict: strict})
				c := dogpile.NewCache[int](r, nil)
				wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2, "c": 3}), nil)
				b.down = "test:b"
				vals, err := c.GetOrCreateMulti(bg, []string{"a", "b", "c", "d"}, func(_ context.Context, keys []string) (map[string]int, error) {
					made := make(map[string]int)
					for _, key := range keys {
						made[key] = 10
					}
					return made, nil
				})
				want := map[string]int{"a": 1, "b": 10, "c": 3, "d": 10}
				if strict {
					delete(want, "b")
				}
				if !maps.Equal(vals, want) || errors.Is(err, dogpile.ErrBackend) != strict || !strict && err != nil {
					t.Errorf("got %v, %v; want %v", vals, err, want)
				}
			})
		})
	}
}

// 1. A creates a, and B b.  2. C wants both, and has time for a alone.
func TestBatchWhoseCallerLeavesHasWhatThereWas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		a := start(get(c, "a", counting(time.Second).create))
		b := start(get(c, "b", counting(time.Minute).create))
		wantErr(t, "Set", c.Set(bg, "fresh", 7), nil)
		ctx, cancel := context.WithTimeout(bg, 2*time.Second)
		defer cancel()
		vals, err := c.GetOrCreateMulti(ctx, []string{"a", "b", "fresh"}, func(context.Context, []string) (map[string]int, error) { return nil, errOrigin })
		if !errors.Is(err, context.DeadlineExceeded) || !maps.Equal(vals, map[string]int{"a": 1, "fresh": 7}) {
			t.Errorf("got %v, %v", vals, err)
		}
		<-a
		<-b
	})
}

// One server refuses locks; a strict batch.
func TestStrictBatchOverSeveralServers(t *testing.T) {
	for _, ops := range [][]string{{"lock"}, {"set", "lock"}} {
		for _, tokens := range []bool{true, false} {
			t.Run(fmt.Sprint(ops, tokens), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newCluster(t, 4, like{bytes: true})
					c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Strict: true}), nil)
					var keys []string
					for server := range b.servers {
						keys = append(keys, b.keysOn(server, 3)[:2]...)
						if tokens || server != 2 {
							wantErr(t, "Set", c.Set(bg, b.keysOn(server, 3)[2], 1), nil)
						}
					}
					b.servers[2].in(failing(ops...))
					var calls [][]string
					vals, err := c.GetOrCreateMulti(bg, keys, many(0, &calls))
					if len(vals) != 6 || !errors.Is(err, dogpile.ErrBackend) {
						t.Errorf("%v, %v", vals, err)
					}
				})
			})
		}
	}
}
