package dogpile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/null"
	"github.com/dogpile-go/dogpile/driver"
)

// TestOneExpiryOneCreation: four processes ask at random moments for a value
// that lives a second. Two of them find it expired before either has the lock:
//
//  1. A reads, expired.        2. B reads, expired.
//  3. A locks, reads, creates, stores, unlocks.
//  4. B locks, reads again: fresh. B does not create.
func TestOneExpiryOneCreation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		b.in(func(ctx context.Context, _ string, _ []string) error {
			return wait(ctx, time.Duration(rand.IntN(5))*time.Millisecond)
		})
		_, cs := processes[int64](t, 4, b, &dogpile.Options{Expiration: time.Second})
		var created []time.Time // by one creator at a time
		var running atomic.Int64
		create := func(context.Context) (int64, error) {
			if running.Add(1) > 1 {
				t.Error("two creators at once")
			}
			defer running.Add(-1)
			created = append(created, time.Now())
			pass(time.Duration(rand.IntN(100)) * time.Millisecond)
			return int64(len(created)), nil
		}
		var calls []<-chan result[int64]
		for range 300 {
			calls = append(calls, start(get(cs[rand.IntN(4)], "k", create)))
			pass(time.Duration(rand.IntN(20)) * time.Millisecond)
		}
		for _, call := range calls {
			if r := <-call; r.err != nil || r.v == 0 {
				t.Error(r.v, r.err)
			}
		}
		for i := 1; i < len(created); i++ {
			if d := created[i].Sub(created[i-1]); d <= time.Second {
				t.Errorf("creation %d began %v after the one before: one expiry, two creations", i, d)
			}
		}
		if len(created) < 2 {
			t.Error("nothing expired")
		}
	})
}

func TestOneCreatorAmongProcessesForAMissingKey(t *testing.T) {
	for name, l := range map[string]like{"objects": {}, "bytes": {bytes: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rs, cs := processes[int](t, 3, newFake(t, l), nil)
				o := counting(50 * time.Millisecond)
				var calls []<-chan result[int]
				for range 10 {
					for _, c := range cs {
						calls = append(calls, start(get(c, "k", o.create)))
					}
				}
				for _, call := range calls {
					r := <-call
					wantValue(t, "waiter", r.v, r.err, 1)
					if r.took > 55*time.Millisecond {
						t.Errorf("a waiter took %v", r.took)
					}
				}
				wantCalls(t, o, 1)
				wantFree(t, rs[0], "k")
			})
		})
	}
}

// A backend without locks gets those of the process.
func TestOneCreatorWithoutLocksInTheBackend(t *testing.T) {
	for name, l := range map[string]like{"objects": {lockless: true, unshared: true}, "bytes": {bytes: true, lockless: true, unshared: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, l)
				r := newRegion(t, b, nil)
				c := dogpile.NewCache[int](r, nil)
				o := counting(time.Second)
				calls := crowd(20, get(c, "k", o.create))
				if locked, err := r.Locked(bg, "k"); !locked || err != nil {
					t.Error("Locked while creating:", locked, err)
				}
				for _, call := range calls {
					r := <-call
					wantValue(t, "waiter", r.v, r.err, 1)
				}
				wantCalls(t, o, 1)
				wantFree(t, r, "k")
				stale := start(get(c, "d", o.create))
				wantErr(t, "Delete", c.Delete(bg, "d"), nil)
				<-stale
				if _, ok, err := c.Get(bg, "d"); ok || err != nil {
					t.Error("a deleted value was stored", err)
				}
				if n := b.called("lock") + b.called("wait") + b.called("locked"); n > 0 {
					t.Errorf("the backend, which has no locks, was asked for them %d times", n)
				}
			})
		})
	}
}

// Under a backend that keeps nothing every call creates, beside the others.
func TestEveryCallCreatesWithoutACache(t *testing.T) {
	for name, b := range map[string]driver.Backend{"null": null.New(), "through a proxy": driver.Proxy{Backend: null.New()}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, b, nil)
				c := dogpile.NewCache[int](r, nil)
				o := counting(time.Second)
				for _, call := range crowd(5, get(c, "k", o.create)) {
					if r := <-call; r.err != nil || r.took != time.Second {
						t.Errorf("%v after %v, want its own value after 1s", r.err, r.took)
					}
				}
				wantCalls(t, o, 5)
				wantErr(t, "Set", c.Set(bg, "k", 1), nil)
				if _, ok, err := c.Get(bg, "k"); ok || err != nil {
					t.Error("something was kept", err)
				}
				vals, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, func(_ context.Context, keys []string) (map[string]int, error) {
					return map[string]int{"a": len(keys), "b": 2}, nil
				})
				if err != nil || len(vals) != 2 || vals["a"] != 2 {
					t.Error(vals, err)
				}
				v, err := c.Refresh(bg, "k", constant(9).create)
				wantValue(t, "Refresh", v, err, 9)
				wantErr(t, "Delete", c.Delete(bg, "k"), nil)
				wantErr(t, "Invalidate", r.Invalidate(bg, dogpile.Hard), nil)
				wantFree(t, r, "k")
			})
		})
	}
}

func TestRecursionIsFoundWithoutACache(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := dogpile.NewCache[int](newRegion(t, null.New(), nil), nil)
		depth := 0
		var create func(ctx context.Context) (int, error)
		create = func(ctx context.Context) (int, error) {
			if depth++; depth > 5 {
				return 0, errors.New("too deep")
			}
			return c.GetOrCreate(ctx, "k", create)
		}
		_, err := c.GetOrCreate(bg, "k", create)
		wantErr(t, "own key", err, dogpile.ErrRecursive)
	})
}

// faults are backends in trouble, and how long a call of one may take beside
// its creator: 2 s, the default BackendTimeout, for each hang. Without a lease there is
// no proof that nobody deletes the key meanwhile: callers that call after the creation
// has begun need another one, which all of them share.
var faults = []struct {
	name   string
	before trouble
	within time.Duration
	strict bool          // Strict makes GetOrCreate fail
	rounds time.Duration // creations until all callers have a value
}{
	{"Get fails", failing("get"), 0, true, 2},
	{"Set fails", failing("set"), 0, false, 1},
	{"TryLock fails", failing("lock"), 0, true, 2},
	{"Extend and Release fail", failing("extend", "release"), 0, false, 1},
	{"everything fails", failing("get", "set", "delete", "lock", "wait", "locked", "extend", "release"), 0, true, 2},
	{"Get hangs", hanging("get"), 2 * time.Second, true, 1},
	{"Set hangs", hanging("set"), 4 * time.Second, false, 1}, // and the lease is given back
	{"TryLock hangs", hanging("lock"), 4 * time.Second, true, 2},
	{"Extend hangs", hanging("extend"), 0, false, 1},
	{"Release hangs", hanging("release"), 0, false, 1},
	{"everything hangs", hanging("get", "set", "delete", "lock", "wait", "locked", "extend", "release"), 2 * time.Second, true, 1},
}

func TestBackendInTroubleCostsTheCacheNotTheApplication(t *testing.T) {
	for _, row := range faults {
		for name, l := range map[string]like{"shared": {}, "unshared": {unshared: true}} {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b, rec := newFake(t, l), new(recorder)
					c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Hooks: rec.hooks()}), nil)
					wantErr(t, "Set", c.Set(bg, "token", 1), nil)
					b.in(row.before)
					o := counting(5 * time.Second)
					for _, call := range crowd(20, get(c, "k", o.create)) {
						r := <-call
						if r.err != nil || r.took > row.rounds*5*time.Second+row.within {
							t.Errorf("%v, %v after %v, want the value after %v", r.v, r.err, r.took, row.rounds*5*time.Second+row.within)
						}
					}
					if n := o.calls.Load(); n > int64(row.rounds) || o.most.Load() > 1 {
						t.Errorf("%d creations for 20 callers, %d at once", n, o.most.Load())
					}
					if n := len(rec.take("error")); row.strict && n == 0 {
						t.Error("the Error hook was not told")
					}
					vals, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, func(_ context.Context, keys []string) (map[string]int, error) {
						return map[string]int{"a": 1, "b": 2}, nil
					})
					if err != nil || len(vals) != 2 {
						t.Errorf("GetOrCreateMulti: %v, %v", vals, err)
					}
					v, err := c.Refresh(bg, "r", constant(3).create)
					wantValue(t, "Refresh", v, err, 3)
					b.in(nil)
				})
			})
		}
	}
}

func TestStrictReturnsBackendErrors(t *testing.T) {
	for _, row := range faults {
		if !row.strict {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Strict: true}), nil)
				wantErr(t, "Set", c.Set(bg, "token", 1), nil)
				b.in(row.before)
				o := counting(time.Second)
				for _, call := range crowd(5, get(c, "k", o.create)) {
					r := <-call
					wantBackendErr(t, "GetOrCreate", r.err)
					if r.took > 2*row.within {
						t.Errorf("took %v", r.took)
					}
				}
				_, err := c.GetOrCreateMulti(bg, []string{"a", "b"}, func(context.Context, []string) (map[string]int, error) {
					o.calls.Add(1)
					return nil, nil
				})
				wantBackendErr(t, "GetOrCreateMulti", err)
				_, err = c.Refresh(bg, "r", o.create)
				wantBackendErr(t, "Refresh", err)
				wantCalls(t, o, 0)
				b.in(nil)
				v, err := c.GetOrCreate(bg, "k", constant(2).create)
				wantValue(t, "once the backend is back", v, err, 2)
			})
		})
	}
}

func wantBackendErr(t *testing.T, what string, err error) {
	t.Helper()
	var be *dogpile.OpError
	if !errors.As(err, &be) || !errors.Is(err, errBackend) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: got %v, want a *OpError", what, err)
	}
}

// What is asked of the backend itself always fails with it, Strict or not, and
// within BackendTimeout.
func TestFailedReadsWritesAndInvalidationsAreErrors(t *testing.T) {
	for _, hang := range []bool{false, true} {
		for op, call := range map[string]string{"Get": "get", "Peek": "get", "GetMulti": "get", "Set": "set", "SetMulti": "set",
			"Delete": "delete", "Locked": "locked", "Invalidate": "set delete"} {
			t.Run(fmt.Sprintf("%s/hang=%v", op, hang), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newFake(t, like{})
					r := newRegion(t, b, &dogpile.Options{BackendTimeout: 300 * time.Millisecond})
					c := dogpile.NewCache[int](r, nil)
					wantErr(t, "Set", c.Set(bg, "token", 1), nil)
					calls := strings.Fields(call)
					b.in(failing(calls...))
					within := time.Duration(0)
					if hang {
						b.in(hanging(calls...))
						within = 300 * time.Millisecond
					}
					began := time.Now()
					err := everyCall(c, r)[op](bg)
					wantBackendErr(t, op, err)
					if took := time.Since(began); took != within {
						t.Errorf("took %v, want %v", took, within)
					}
					if want := map[bool]string{false: `"k"`, true: "invalidate"}[op == "Invalidate"]; !contains(err, want) {
						t.Errorf("%v does not name %s", err, want)
					}
				})
			})
		}
	}
}

func contains(err error, s string) bool { return err != nil && strings.Contains(err.Error(), s) }

func TestSoftInvalidationThatFailsIsAnError(t *testing.T) {
	for _, op := range []string{"lock", "get", "set"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				r := newRegion(t, b, nil)
				b.in(failing(op))
				wantBackendErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft))
				b.in(hanging(op))
				wantBackendErr(t, "Invalidate", r.Invalidate(bg, dogpile.Soft))
				if n := r.Stats().Invalidations; n != 0 {
					t.Errorf("%d invalidations were counted, none was made", n)
				}
			})
		})
	}
}

func TestCallerWhoCannotReadJoinsTheFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		c := dogpile.NewCache[int](newRegion(t, b, nil), nil)
		o := counting(2 * time.Second)
		first := start(get(c, "k", o.create))
		b.in(failing("get"))
		second := start(get(c, "k", o.create))
		pass(time.Second)
		b.in(nil)
		wantErr(t, "first", (<-first).err, nil)
		wantErr(t, "second", (<-second).err, nil)
		if n := o.most.Load(); n > 1 {
			t.Errorf("%d creators at once in one process", n)
		}
	})
}

// What is wrong with one key of a batch concerns that key.
func TestOneShardDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, rec := newFake(t, like{}), new(recorder)
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Hooks: rec.hooks()}), nil)
		strict := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Strict: true}), nil)
		wantErr(t, "SetMulti", c.SetMulti(bg, map[string]int{"a": 1, "b": 2, "c": 3}), nil)
		b.down = "test:b"
		vals, err := c.GetMulti(bg, []string{"a", "b", "c"})
		if wantBackendErr(t, "GetMulti", err); !contains(err, `"b"`) || len(vals) != 2 || vals["c"] != 3 {
			t.Errorf("GetMulti: %v, %v", vals, err)
		}
		err = c.SetMulti(bg, map[string]int{"a": 10, "b": 20, "c": 30})
		if wantBackendErr(t, "SetMulti", err); !contains(err, `"b"`) || contains(err, `"c"`) {
			t.Errorf("SetMulti: %v", err)
		}
		rec.counts()
		var calls [][]string
		vals, err = c.GetOrCreateMulti(bg, []string{"a", "b", "c", "dd"}, many(0, &calls))
		wantMap(t, "GetOrCreateMulti", vals, err, map[string]int{"a": 10, "b": 1, "c": 30, "dd": 2})
		if n := len(rec.take("error")); fmt.Sprint(calls) != "[[b dd]]" || n == 0 {
			t.Errorf("the creator was called for %v, %d errors were told", calls, n)
		}
		v, err := c.GetOrCreate(bg, "b", constant(7).create)
		wantValue(t, "GetOrCreate", v, err, 7)
		_, err = strict.GetOrCreate(bg, "b", constant(7).create)
		wantBackendErr(t, "Strict GetOrCreate", err)
		_, err = strict.GetOrCreateMulti(bg, []string{"a", "b"}, many(0, &calls))
		wantBackendErr(t, "Strict GetOrCreateMulti", err)
		b.down = ""
		v, _, err = c.Get(bg, "b")
		wantValue(t, "it was not stored", v, err, 2)
	})
}

// Those who wait for a holder that died wait as long as its lease, no longer.
func TestDeadHolderIsWaitedForAsLongAsItsLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 3, b, nil)
		wantErr(t, "Set", cs[0].Set(bg, "token", 0), nil)
		if l, err := b.TryLock(bg, "test:k", 7*time.Second); l == nil || err != nil {
			t.Fatal(l, err)
		}
		o := counting(time.Second)
		var calls []<-chan result[int]
		for range 5 {
			for _, c := range cs {
				calls = append(calls, start(get(c, "k", o.create)))
			}
		}
		for _, call := range calls {
			r := <-call
			if wantValue(t, "waiter", r.v, r.err, 1); r.took != 8*time.Second {
				t.Errorf("took %v, want 7s and 1s for the creation", r.took)
			}
		}
		wantCalls(t, o, 1)
	})
}

// TestFlightWithoutALeaseIsNotServedAfterDelete:
//
//  1. A reads: missing. It cannot get the lock and creates without.
//  2. B, another process, deletes the key.
//  3. C, in A's process, reads: missing. It must not be given what A makes.
func TestFlightWithoutALeaseIsNotServedAfterDelete(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, nil)
		wantErr(t, "Set", cs[0].Set(bg, "token", 1), nil)
		b.in(failing("lock"))
		a := start(get(cs[0], "k", counting(2*time.Second).create))
		b.in(nil)
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		c := start(get(cs[0], "k", constant(2).create))
		r := <-a
		wantValue(t, "A", r.v, r.err, 1)
		r = <-c
		wantValue(t, "C, whose read began after Delete", r.v, r.err, 2)
	})
}

// TestLeaseIsFreeWhateverGoesWrong: the next creator need not wait.
func TestLeaseIsFreeWhateverGoesWrong(t *testing.T) {
	hook := func(context.Context, dogpile.Event) { panic("hook") }
	fine := func(context.Context) (any, error) { return 1, nil }
	for name, row := range map[string]struct {
		create func(context.Context) (any, error)
		view   dogpile.CacheOptions[any]
		hooks  dogpile.Hooks
	}{
		"error":             {create: func(context.Context) (any, error) { return nil, errOrigin }},
		"panic":             {create: func(context.Context) (any, error) { panic("boom") }},
		"encode error":      {create: func(context.Context) (any, error) { return func() {}, nil }},
		"encode panic":      {create: func(context.Context) (any, error) { return explosive{}, nil }},
		"ShouldCache panic": {create: fine, view: dogpile.CacheOptions[any]{ShouldCache: func(any) bool { panic("no") }}},
		"ShouldCache exits": {create: fine, view: dogpile.CacheOptions[any]{ShouldCache: func(any) bool { runtime.Goexit(); return true }}},
		"Create hook":       {create: fine, hooks: dogpile.Hooks{Create: hook}},
		"Store hook":        {create: fine, hooks: dogpile.Hooks{Store: hook}},
		"Error hook":        {create: func(context.Context) (any, error) { return func() {}, nil }, hooks: dogpile.Hooks{Error: hook}},
		"nil creator":       {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegion(t, newFake(t, like{bytes: true}), &dogpile.Options{Hooks: &row.hooks, MaxCreators: 1})
				c := dogpile.NewCache[any](r, nil).With(row.view)
				_, _ = c.GetOrCreate(bg, "k", row.create)
				wantFree(t, r, "k")
				_, _ = c.GetOrCreateMulti(bg, []string{"k2", "k3"}, func(ctx context.Context, _ []string) (map[string]any, error) {
					v, err := row.create(ctx)
					return map[string]any{"k2": v, "k3": v}, err
				})
				wantFree(t, r, "k2", "k3")
				_, _ = c.Refresh(bg, "k", row.create)
				wantFree(t, r, "k")
				began := time.Now()
				_, _ = c.GetOrCreate(bg, "next", fine)
				if took := time.Since(began); took > 0 {
					t.Errorf("the next creator waited for %v", took)
				}
			})
		})
	}
}

type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("boom") }

func TestLeaseIsFreeAfterItsCallerLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegion(t, newFake(t, like{}), nil)
		c := dogpile.NewCache[int](r, nil)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err := c.GetOrCreate(ctx, "k", (&creator[int]{takes: 2 * time.Second, err: errOrigin}).create)
		wantErr(t, "caller", err, context.DeadlineExceeded)
		if locked, err := r.Locked(bg, "k"); !locked || err != nil {
			t.Error("the creation ended with its caller:", locked, err)
		}
		later(time.Second)
		wantFree(t, r, "k")
	})
}

// TestLostLease: another process deletes the key, and with it the lease. The
// creator is told at the next renewal; what it returns goes to its callers and
// not into the cache.
func TestLostLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rec := new(recorder)
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, &dogpile.Options{LockTTL: 3 * time.Second, Hooks: rec.hooks()})
		var cause error
		call := start(get(cs[0], "k", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return 1, nil
		}))
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		r := <-call
		wantValue(t, "caller", r.v, r.err, 1)
		wantErr(t, "cause", cause, dogpile.ErrLeaseLost)
		if r.took != time.Second {
			t.Errorf("told after %v, want 1s, a third of LockTTL", r.took)
		}
		if _, ok, err := cs[0].Peek(bg, "k"); ok || err != nil {
			t.Error("stored without a lease", err)
		}
		stores := rec.take("store")
		if len(stores) != 1 || !errors.Is(stores[0].Err, dogpile.ErrLeaseLost) {
			t.Errorf("Store was told %v, want ErrLeaseLost", stores)
		}
	})
}

// A creator that gives up because its lease was lost is started over.
func TestCreatorThatFailsForItsLostLeaseIsStartedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, cs := processes[int](t, 2, newFake(t, like{}), nil)
		var calls atomic.Int64
		calling := crowd(5, get(cs[0], "k", func(ctx context.Context) (int, error) {
			if n := calls.Add(1); n > 1 {
				return int(n), nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		}))
		wantErr(t, "Delete", cs[1].Delete(bg, "k"), nil)
		for _, call := range calling {
			r := <-call
			wantValue(t, "caller", r.v, r.err, 2)
		}
	})
}

func TestRenewalKeepsALeaseBeyondLockTTL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		rs, cs := processes[int](t, 2, b, &dogpile.Options{LockTTL: time.Second, CreateTimeout: time.Minute})
		o := counting(20 * time.Second)
		first := start(get(cs[0], "k", o.create))
		second := start(get(cs[1], "k", o.create))
		pass(10 * time.Second)
		if locked, err := rs[1].Locked(bg, "k"); !locked || err != nil {
			t.Error("Locked after ten times LockTTL:", locked, err)
		}
		for _, call := range []<-chan result[int]{first, second} {
			r := <-call
			wantValue(t, "caller", r.v, r.err, 1)
		}
		wantCalls(t, o, 1)
		if n := b.called("extend"); n < 55 || n > 61 {
			t.Errorf("renewed %d times in 20s, want one for each third of LockTTL", n)
		}
	})
}

// A holder that cannot renew its lease is told when it has run out, and not
// before: one renewal that fails is no loss.
func TestCreatorIsToldWhenItsLeaseMayHaveRunOut(t *testing.T) {
	for _, row := range []struct {
		name   string
		before trouble
	}{{"fails", failing("extend")}, {"hangs", hanging("extend")}} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{LockTTL: 3 * time.Second}), nil)
				var told time.Duration
				call := start(get(c, "k", func(ctx context.Context) (int, error) {
					began := time.Now()
					pass(1500 * time.Millisecond)
					b.in(row.before)
					<-ctx.Done()
					told = time.Since(began)
					return 1, nil
				}))
				r := <-call
				wantValue(t, "caller", r.v, r.err, 1)
				b.in(nil)
				if told < 3*time.Second || told > 5*time.Second {
					t.Errorf("told after %v; the last renewal was after 1s and is good for 3s", told)
				}
			})
		})
	}
}

// A backend that hangs for half of a lease does not cost it.
func TestRenewalIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{LockTTL: 3 * time.Second}), nil)
		call := start(get(c, "k", func(ctx context.Context) (int, error) {
			b.in(hanging("extend"))
			pass(2200 * time.Millisecond) // the first renewal was due after 1 s
			b.in(nil)
			pass(5 * time.Second)
			return 1, ctx.Err()
		}))
		r := <-call
		wantValue(t, "caller", r.v, r.err, 1)
		if _, ok, err := c.Get(bg, "k"); !ok || err != nil {
			t.Errorf("the value was not stored: %v, %v", ok, err)
		}
	})
}

// TestDeleteHonoursItsDeadline while the leases that it takes away cannot be
// given back.
func TestDeleteHonoursItsDeadline(t *testing.T) {
	for _, op := range []string{"Delete", "Set", "Invalidate"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				r := newRegion(t, b, nil)
				c := dogpile.NewCache[int](r, nil)
				for i := range 5 {
					start(get(c, fmt.Sprint(i), counting(20*time.Second).create))
				}
				start(get(c, "k", counting(20*time.Second).create))
				b.in(hanging("release", "delete", "set"))
				ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
				defer cancel()
				began := time.Now()
				wantBackendErr(t, op, everyCall(c, r)[op](ctx))
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("took %v with a deadline of 100ms", took)
				}
				pass(20 * time.Second)
				b.in(nil)
			})
		})
	}
}

// TestGoroutinesDoNotLeak, in real time: a region that is closed leaves
// nothing behind.
func TestGoroutinesDoNotLeak(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		r := dogpile.NewRegion("leak")
		if err := r.Configure(newMemory(t), &dogpile.Options{Expiration: time.Millisecond, Runner: dogpile.Background, LockTTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c := dogpile.NewCache[int](r, nil)
		for i := range 100 {
			if _, err := c.GetOrCreate(bg, fmt.Sprint(i%10), constant(i).create); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, "Close", r.Close(bg), nil)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}
