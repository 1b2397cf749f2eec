package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// many is the creator of a batch: of each key its length, after a while.
func many(takes time.Duration, calls *[][]string) func(context.Context, []string) (map[string]int, error) {
	return func(ctx context.Context, keys []string) (map[string]int, error) {
		*calls = append(*calls, slices.Clone(keys))
		vals := make(map[string]int)
		for _, key := range keys {
			vals[key] = len(key)
		}
		return vals, wait(ctx, takes)
	}
}

func multi[V any](c *dogpile.Cache[V], create func(context.Context, []string) (map[string]V, error), keys ...string) func() (map[string]V, error) {
	return func() (map[string]V, error) { return c.GetOrCreateMulti(bg, keys, create) }
}

func wantMap[V comparable](t *testing.T, what string, got map[string]V, err error, want map[string]V) {
	t.Helper()
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
	}
}

func TestMultiCallsTheCreatorOnceForWhatIsMissing(t *testing.T) {
	for name, l := range map[string]like{"unshared": {unshared: true}, "shared": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute}), nil)
				wantErr(t, "Set", c.Set(bg, "stale", 0), nil)
				pass(90 * time.Second)
				wantErr(t, "Set", c.Set(bg, "fresh", 9), nil)
				gets, sets := b.called("get"), b.called("set")
				var calls [][]string
				got, err := c.GetOrCreateMulti(bg, []string{"ccc", "fresh", "a", "stale", "bb", "a", "fresh"}, many(0, &calls))
				wantMap(t, "GetOrCreateMulti", got, err, map[string]int{"a": 1, "bb": 2, "ccc": 3, "fresh": 9, "stale": 5})
				if fmt.Sprint(calls) != "[[a bb ccc stale]]" {
					t.Errorf("the creator was called for %v", calls)
				}
				if g, s := b.called("get")-gets, b.called("set")-sets; g != 2 || s != 1 {
					t.Errorf("%d gets, %d sets; want two (one under the locks) and one", g, s)
				}
				again, err := c.GetMulti(bg, []string{"a", "bb", "ccc", "fresh", "stale", "none"})
				wantMap(t, "GetMulti", again, err, got)
				clear(got) // the caller's own
				empty, err := c.GetOrCreateMulti(bg, nil, many(0, &calls))
				wantMap(t, "no keys", empty, err, map[string]int{})
				if len(calls) != 1 {
					t.Errorf("called for no keys")
				}
			})
		})
	}
}

func TestMultiShortResultsAreMissesAndExtraOnesIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		var asked []string
		create := func(_ context.Context, keys []string) (map[string]int, error) {
			asked = append(asked, strings.Join(keys, ","))
			return map[string]int{"a": 1, "extra": 2}, nil
		}
		for range 2 {
			got, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, create)
			wantMap(t, "GetOrCreateMulti", got, err, map[string]int{"a": 1})
		}
		if strings.Join(asked, " ") != "a,b b" {
			t.Errorf("asked for %q", asked)
		}
		wantMissing(t, c, "extra")
		got, err := c.GetOrCreateMulti(bg, []string{"x", "y"}, func(context.Context, []string) (map[string]int, error) { return nil, nil })
		wantMap(t, "a nil map", got, err, map[string]int{})
	})
}

// Who waits for a key that the creator of a batch leaves out creates it himself.
func TestFollowerOfAKeyLeftOutCreatesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		first := start(multi(c, func(context.Context, []string) (map[string]int, error) {
			pass(time.Second)
			return map[string]int{"a": 1}, nil
		}, "a", "b"))
		one := start(get(c, "b", constant(7).create))
		var calls [][]string
		two := start(multi(c, many(0, &calls), "a", "b"))
		r := <-first
		wantMap(t, "first", r.v, r.err, map[string]int{"a": 1})
		f := <-one
		r = <-two // one of them creates it for both
		wantMap(t, "batch that follows", r.v, r.err, map[string]int{"a": 1, "b": f.v})
		if f.err != nil || f.v != 7 && f.v != 1 {
			t.Errorf("follower: %v, %v", f.v, f.err)
		}
	})
}

func TestMultiKeysThatMangleAlikeAreOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := &dogpile.Options{Mangler: strings.ToLower}
		c := newCache[int](t, o)
		var calls [][]string
		got, err := c.GetOrCreateMulti(bg, []string{"b", "B", "A", "a", "c"}, many(0, &calls))
		wantMap(t, "GetOrCreateMulti", got, err, map[string]int{"a": 1, "A": 1, "b": 1, "B": 1, "c": 1})
		if fmt.Sprint(calls) != "[[A B c]]" {
			t.Errorf("the creator was called for %v", calls)
		}
		got, err = c.GetMulti(bg, []string{"a", "A"})
		wantMap(t, "GetMulti", got, err, map[string]int{"a": 1, "A": 1})
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"x": 5, "y": 6}), nil)
		v, ok, err := c.Get(bg, "X")
		if wantValue(t, "Get", v, err, 5); !ok {
			t.Error("not there")
		}
		wantErr(t, "Delete", c.Delete(bg, "X", "x"), nil)
		wantMissing(t, c, "x")
	})
}

func TestMultiWaitsForKeysOfOthers(t *testing.T) {
	for where, at := range map[string]int{"here": 0, "elsewhere": 1} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, cs := processes[int](t, 2, newFake(t, like{}), nil)
				other := start(get(cs[at], "b", (&creator[int]{takes: 2 * time.Second, value: func(int64) int { return 20 }}).create))
				var calls [][]string
				r := <-start(multi(cs[0], many(time.Second, &calls), "a", "b", "c"))
				wantMap(t, "GetOrCreateMulti", r.v, r.err, map[string]int{"a": 1, "b": 20, "c": 1})
				if r.took != 2*time.Second || fmt.Sprint(calls) != "[[a c]]" {
					t.Errorf("took %v, the creator was called for %v", r.took, calls)
				}
				<-other
			})
		})
	}
}

// What another was creating and did not make, it creates itself.
func TestMultiGoesRoundForWhatOthersFailToMake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{takes: 2 * time.Second, err: errOrigin}).create))
		var calls [][]string
		r := <-start(multi(cs[0], many(time.Second, &calls), "a", "b"))
		wantMap(t, "GetOrCreateMulti", r.v, r.err, map[string]int{"a": 1, "b": 1})
		if fmt.Sprint(calls) != "[[a] [b]]" {
			t.Errorf("the creator was called for %v", calls)
		}
		wantErr(t, "other", (<-other).err, errOrigin)
	})
}

func TestMultiServesStaleKeysThatOthersCreate(t *testing.T) {
	for where, at := range map[string]int{"here": 0, "elsewhere": 1} {
		t.Run(where, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute})
				wantErr(t, "SetMulti", cs[0].SetMulti(bg, map[string]int{"a": 10, "b": 20}), nil)
				pass(90 * time.Second)
				var calls [][]string
				other := start(multi(cs[at], many(time.Hour/1000, &calls), "a", "b"))
				r := <-start(multi(cs[0], many(0, &calls), "a", "b"))
				if wantMap(t, "GetOrCreateMulti", r.v, r.err, map[string]int{"a": 10, "b": 20}); r.took > 0 {
					t.Errorf("took %v", r.took)
				}
				if len(calls) != 1 {
					t.Errorf("creators were called for %v", calls)
				}
				<-other
			})
		})
	}
}

func TestMultiRunsStaleKeysInTheRunner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{unshared: true})
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background, MaxCreators: 5}), nil)
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 10, "b": 20}), nil)
		pass(90 * time.Second)
		var mu sync.Mutex
		var calls []string
		r := <-start(multi(c, func(_ context.Context, keys []string) (map[string]int, error) {
			mu.Lock()
			calls = append(calls, strings.Join(keys, ""))
			mu.Unlock()
			pass(time.Second)
			return map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}, nil
		}, "a", "b", "c", "d"))
		wantMap(t, "GetOrCreateMulti", r.v, r.err, map[string]int{"a": 10, "b": 20, "c": 1, "d": 1})
		later(time.Second)
		slices.Sort(calls)
		if fmt.Sprint(calls) != "[ab cd]" {
			t.Errorf("the creator was called for %v", calls)
		}
		got, err := c.GetMulti(bg, []string{"a", "b", "c", "d"})
		wantMap(t, "afterwards", got, err, map[string]int{"a": 1, "b": 1, "c": 1, "d": 1})
	})
}

// The two goroutines of such a batch share nothing, also when the backend
// fails in the middle.
func TestMultiWithRunnerKeepsItsGoroutinesApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{unshared: true})
		for i := range 20 {
			c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Expiration: time.Minute, Runner: dogpile.Background, MaxCreators: 5}), nil)
			wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2}), nil)
			pass(90 * time.Second)
			var gets atomic.Int64
			b.in(func(_ context.Context, op string, _ []string) error {
				if op == "get" && gets.Add(1) > int64(i%4) {
					return errBackend
				}
				return nil
			})
			r := <-start(multi(c, func(context.Context, []string) (map[string]int, error) {
				pass(time.Second)
				return map[string]int{"a": 3, "b": 3, "c": 3, "d": 3}, nil
			}, "a", "b", "c", "d"))
			if r.err != nil || len(r.v) != 4 {
				t.Error(r.v, r.err)
			}
			later(time.Second)
			b.in(nil)
			wantErr(t, "Delete", c.Delete(bg, "a", "b", "c", "d"), nil)
		}
	})
}

// TestMultiOverlaps: many callers in three processes ask for overlapping keys
// in random order. There is no deadlock, and one creator for each key at a time.
func TestMultiOverlaps(t *testing.T) {
	for name, o := range map[string]dogpile.Options{"plain": {}, "MaxCreators": {MaxCreators: 2}, "Background": {Runner: dogpile.Background}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) { multiOverlaps(t, o) })
		})
	}
}

func multiOverlaps(t *testing.T, o dogpile.Options) {
	o.Expiration, o.CreateTimeout = 100*time.Millisecond, time.Minute
	_, cs := processes[int](t, 3, newFake(t, like{}), &o)
	running := make(map[string]*atomic.Int64)
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprint("k", i))
		running[all[i]] = new(atomic.Int64)
	}
	var created atomic.Int64
	create := func(_ context.Context, keys []string) (map[string]int, error) {
		vals := make(map[string]int)
		for _, key := range keys {
			if running[key].Add(1) > 1 {
				t.Errorf("two creators of %s at once", key)
			}
			vals[key] = int(created.Add(1))
		}
		pass(time.Duration(rand.IntN(30)) * time.Millisecond)
		for _, key := range keys {
			running[key].Add(-1)
		}
		return vals, nil
	}
	began := time.Now()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			for range 20 {
				pass(time.Duration(rand.IntN(20)) * time.Millisecond)
				c := cs[rand.IntN(3)]
				if rand.IntN(4) == 0 {
					key := all[rand.IntN(len(all))]
					if v, err := c.GetOrCreate(bg, key, func(ctx context.Context) (int, error) {
						vals, err := create(ctx, []string{key})
						return vals[key], err
					}); v == 0 || err != nil {
						t.Errorf("GetOrCreate: %v, %v", v, err)
					}
					continue
				}
				keys := make([]string, 1+rand.IntN(6))
				for i := range keys {
					keys[i] = all[rand.IntN(len(all))]
				}
				vals, err := c.GetOrCreateMulti(bg, keys, create)
				for _, key := range keys {
					if vals[key] == 0 || err != nil {
						t.Errorf("GetOrCreateMulti: %v, %v; want %v", vals, err, keys)
					}
				}
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestMultiErrorStaysWithKeysOfItsCreator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{takes: 2 * time.Second, value: func(int64) int { return 7 }}).create))
		failing := start(multi(cs[0], func(context.Context, []string) (map[string]int, error) {
			pass(time.Second)
			return nil, errOrigin
		}, "a", "b"))
		follower := start(get(cs[0], "b", constant(1).create))
		wantErr(t, "batch", (<-failing).err, errOrigin)
		r := <-follower
		wantValue(t, "follower of a key that another creates", r.v, r.err, 7)
		<-other
	})
}

func TestMultiCreatorMayAskForAKeyThatAnotherCreates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		other := start(get(cs[1], "b", (&creator[int]{takes: 2 * time.Second, value: func(int64) int { return 7 }}).create))
		vals, err := cs[0].GetOrCreateMulti(bg, []string{"a", "b"}, func(ctx context.Context, keys []string) (map[string]int, error) {
			v, err := cs[0].GetOrCreate(ctx, "b", constant(1).create)
			return map[string]int{"a": v}, err
		})
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]int{"a": 7, "b": 7})
		<-other
	})
}

func TestMultiThatHangsLeavesKeysOfOthersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{CreateTimeout: time.Second})
		other := start(get(cs[1], "b", (&creator[int]{err: errOrigin, takes: 500 * time.Millisecond}).create))
		stuck := make(chan struct{})
		batch := start(multi(cs[0], func(context.Context, []string) (map[string]int, error) {
			<-stuck
			return nil, nil
		}, "a", "b"))
		wantErr(t, "other", (<-other).err, errOrigin)
		wantErr(t, "batch", (<-batch).err, dogpile.ErrCreateTimeout)
		r := <-start(get(cs[0], "b", constant(1).create))
		if wantValue(t, "b", r.v, r.err, 1); r.took > time.Second {
			t.Errorf("took %v", r.took)
		}
		close(stuck)
	})
}

// A batch whose leases were all lost starts over as a single key does.
func TestMultiStartsOverOnceForAllLostLeases(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		keys := []string{"a", "b", "c", "d", "e"}
		calls := 0
		batch := start(multi(cs[0], func(ctx context.Context, missing []string) (map[string]int, error) {
			if calls++; calls == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			vals := make(map[string]int)
			for _, key := range missing {
				vals[key] = calls
			}
			return vals, nil
		}, keys...))
		wantErr(t, "Delete", cs[1].Delete(bg, keys...), nil)
		r := <-batch
		wantMap(t, "batch", r.v, r.err, map[string]int{"a": 2, "b": 2, "c": 2, "d": 2, "e": 2})
	})
}

// One key that is deleted is no reason to give up the others, nor is its value
// kept.
func TestMultiOneLeaseLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{LockTTL: time.Second})
		batch := start(multi(cs[0], func(ctx context.Context, _ []string) (map[string]int, error) {
			err := wait(ctx, 10*time.Second)
			return map[string]int{"a": 1, "b": 2}, err
		}, "a", "b"))
		wantErr(t, "Delete", cs[1].Delete(bg, "a"), nil)
		r := <-batch
		wantMap(t, "batch", r.v, r.err, map[string]int{"a": 1, "b": 2})
		got, err := cs[1].GetMulti(bg, []string{"a", "b"})
		wantMap(t, "stored", got, err, map[string]int{"b": 2})
	})
}

// All flights of a batch end with one and the same error, whichever is first.
func TestBatchFlightsEndWithTheSameError(t *testing.T) {
	keys := []string{"a", "b", "c", "d", "e", "f"}
	obedient := func(ctx context.Context, _ []string) (map[string]int, error) { return nil, wait(ctx, time.Hour) }
	for name, row := range map[string]struct {
		locked bool // elsewhere, so that the flights wait
		close  bool
		want   error
	}{
		"creation times out": {false, false, dogpile.ErrCreateTimeout}, "wait times out": {true, false, dogpile.ErrCreateTimeout},
		"closed while creating": {false, true, dogpile.ErrClosed}, "closed while waiting": {true, true, dogpile.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for range 10 {
					b := newFake(t, like{})
					rs, cs := processes[int](t, 1, b, &dogpile.Options{CreateTimeout: time.Second})
					wantErr(t, "Set", cs[0].Set(bg, "token", 1), nil)
					for _, key := range keys {
						if row.locked {
							_, err := b.TryLock(bg, "test:"+key, time.Hour)
							wantErr(t, "TryLock", err, nil)
						}
					}
					batch := start(multi(cs[0], obedient, keys...))
					var followers []<-chan result[int]
					for _, key := range keys {
						followers = append(followers, start(get(cs[0], key, constant(1).create)))
					}
					if row.close {
						ctx, cancel := context.WithTimeout(bg, time.Second/2)
						defer cancel()
						wantErr(t, "Close", rs[0].Close(ctx), context.DeadlineExceeded)
					}
					wantErr(t, "batch", (<-batch).err, row.want)
					for _, f := range followers {
						wantErr(t, "follower", (<-f).err, row.want)
					}
				}
			})
		})
	}
}

// What is wrong for one caller is not given to those who have joined him.
func TestMultiErrorsOfOneCallerStayHis(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, nil)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				_, err := c.GetOrCreate(bg, "self", func(ctx context.Context) (int, error) {
					_, err := c.GetOrCreateMulti(ctx, []string{"a", "b", "self"}, func(context.Context, []string) (map[string]int, error) { return nil, nil })
					if !errors.Is(err, dogpile.ErrRecursive) {
						t.Error(err)
					}
					dogpile.Creation(ctx).NoStore()
					return 1, nil
				})
				wantErr(t, "self", err, nil)
			})
			wg.Go(func() {
				_, err := c.GetOrCreate(bg, "a", func(ctx context.Context) (int, error) {
					dogpile.Creation(ctx).NoStore()
					return 1, nil
				})
				wantErr(t, "a", err, nil)
			})
		}
		wg.Wait()
	})
}

func TestMultiItemErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{bytes: true, maxValue: 100})
		c := dogpile.NewCache[any](newRegion(t, b, nil), nil)
		big := strings.Repeat("x", 200)
		err := c.SetMulti(bg, map[string]any{"a": "1", "big": big, "func": func() {}, "z": "2"})
		for _, key := range []string{"big", "func"} {
			if !contains(err, fmt.Sprintf("%q", key)) {
				t.Errorf("%v does not name %q", err, key)
			}
		}
		var all *dogpile.OpError
		if !errors.As(err, &all) {
			t.Fatalf("%v is a %T", err, err)
		}
		for _, err := range all.Err.(interface{ Unwrap() []error }).Unwrap() {
			if oe, is := err.(*dogpile.OpError); !is || errors.Is(err, dogpile.ErrBackend) {
				t.Errorf("%v: the backend was not asked about %q", err, oe.Key)
			}
		}
		if contains(err, `"a"`) || contains(err, `"z"`) {
			t.Errorf("%v names keys that were stored", err)
		}
		vals, err := c.GetMulti(bg, []string{"a", "big", "func", "z"})
		wantMap(t, "stored", vals, err, map[string]any{"a": "1", "z": "2"})
		vals, err = c.GetOrCreateMulti(bg, []string{"b", "big"}, func(context.Context, []string) (map[string]any, error) {
			return map[string]any{"b": "3", "big": big}, nil
		})
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]any{"b": "3", "big": big})
		vals, err = c.GetMulti(bg, []string{"b", "big"})
		wantMap(t, "stored", vals, err, map[string]any{"b": "3"})
	})
}

func TestSetMultiAsksForTheTokenOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
		wantErr(t, "Set", c.Set(bg, "a", 1), nil)
		gets, sets := b.called("get"), b.called("set")
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2, "c": 3, "d": 4}), nil)
		if g, s := b.called("get")-gets, b.called("set")-sets; g != 1 || s != 1 {
			t.Errorf("%d gets and %d sets for four keys, want one of each", g, s)
		}
		wantErr(t, "no keys", c.SetMulti(bg, nil), nil)
		wantErr(t, "no keys", c.Delete(bg), nil)
		if got, err := c.GetMulti(bg, nil); len(got) > 0 || got == nil || err != nil {
			t.Error(got, err)
		}
		if g, s := b.called("get")-gets, b.called("set")-sets; g != 1 || s != 1 || b.called("delete") > 0 {
			t.Error("the backend was asked for no keys")
		}
	})
}

// TestBatchFliesInOneGoroutine: those who find a flight that has not begun may
// urge it on; the flights of its batch stay together all the same.
func TestBatchFliesInOneGoroutine(t *testing.T) {
	for name, runner := range map[string]func(func()){"none": nil, "Background": dogpile.Background} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for range 20 {
					batchAndFollowers(t, runner)
				}
			})
		})
	}
}

func batchAndFollowers(t *testing.T, runner func(func())) {
	_, cs := processes[int](t, 2, newFake(t, like{}), &dogpile.Options{Expiration: time.Minute, Runner: runner})
	stale := make(map[string]int)
	for i := range 64 {
		stale[fmt.Sprintf("key%02d", i)] = 1
	}
	wantErr(t, "SetMulti", cs[0].SetMulti(bg, stale), nil)
	if pass(90 * time.Second); runner == nil {
		wantErr(t, "Delete", cs[0].Delete(bg, slices.Collect(maps.Keys(stale))...), nil)
	}
	create := func(ctx context.Context, missing []string) (map[string]int, error) {
		vals := make(map[string]int)
		for _, key := range missing {
			vals[key] = 2
		}
		return vals, wait(ctx, time.Duration(len(missing))*time.Millisecond)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		vals, err := cs[0].GetOrCreateMulti(bg, slices.Collect(maps.Keys(stale)), create)
		if err != nil || len(vals) != len(stale) {
			t.Errorf("batch: %d values, %v", len(vals), err)
		}
	})
	for key := range stale {
		wg.Go(func() {
			if runner != nil {
				wantErr(t, "Delete", cs[1].Delete(bg, key), nil) // missing, and urgent
			}
			v, err := cs[0].GetOrCreate(bg, key, func(ctx context.Context) (int, error) {
				vals, err := create(ctx, []string{key})
				return vals[key], err
			})
			wantValue(t, "follower", v, err, 2)
		})
	}
	wg.Wait()
}

// The lists of a page are asked for by many requests at once, in any order of their keys.
func TestBatchesThatComeAtOnceAreOneCreation(t *testing.T) {
	t.Parallel()
	for range 50 {
		c := dogpile.NewCache[int](newRegion(t, newFake(t, like{}), &dogpile.Options{}), nil)
		keys := make([]string, 64)
		for i := range keys {
			keys[i] = fmt.Sprint("key", i)
		}
		var calls atomic.Int64
		create := func(_ context.Context, keys []string) (map[string]int, error) {
			calls.Add(1)
			vals := make(map[string]int)
			for _, key := range keys {
				vals[key] = len(key)
			}
			return vals, nil
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				mine := append(slices.Clone(keys[i*8:]), keys[:i*8]...)
				if got, err := c.GetOrCreateMulti(bg, mine, create); err != nil || len(got) != len(keys) {
					t.Errorf("GetOrCreateMulti: %d values, %v", len(got), err)
				}
			})
		}
		all.Wait()
		if n := calls.Load(); n != 1 {
			t.Fatalf("the creator was called %d times, want 1", n)
		}
	}
}
