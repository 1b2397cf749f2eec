package flight_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// forgets are the ways to forget the key "k".
var forgets = map[string]func(*flight.Table){
	"Forget":    func(table *flight.Table) { table.Forget("other", "k") },
	"ForgetAll": func(table *flight.Table) { table.ForgetAll(context.Background()) },
}

func TestForgetDuringACreation(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. A creates.  B comes during that, and waits.  2. Forget.  3. C comes: it does
		// not join but waits for the Source's lock.  4. A's creator is done, and A has its
		// value.  5. C reads it.
		var table flight.Table
		b := newBackend("k")
		b.taking = taking
		gate := make(chan struct{})
		callA, callB := b.call(&table, "k").gated(gate).start(t.Context()), b.call(&table, "k").start(t.Context())
		table.Forget("other", "k")
		if n := b.count("unlock k"); n != 0 {
			t.Error("Forget has unlocked")
		}
		callC := b.call(&table, "k").start(t.Context())
		if n := b.count("wait k"); n != 1 {
			t.Errorf("C does not wait for the lock: %v", b.traffic())
		}
		close(gate)
		want(t, "A", callA, "k=k1", nil)
		want(t, "B", callB, "k=k1", nil)
		want(t, "C", callC, "k=k1", nil)
		if n := b.creations("k"); n != "k1" {
			t.Errorf("creations: %s", n)
		}
		b.idle(t)
	})
}

func TestForgetAllDuringACreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  B comes during that, and waits.  2. ForgetAll: when it returns,
		// the lock is free.  3. C starts a flight of its own, and creates.  4. A's creator
		// is done; its Store finds the lock lost.  5. A still gets its value, and does not
		// unlock for C at its end.  B joins C.  6. C is done.
		var table flight.Table
		b := newBackend("k")
		gateA, gateC := make(chan struct{}), make(chan struct{})
		callA, callB := b.call(&table, "k").gated(gateA).start(t.Context()), b.call(&table, "k").start(t.Context())
		table.ForgetAll(t.Context())
		if n := b.count("unlock k"); n != 1 {
			t.Errorf("%d unlocks", n)
		}
		callC := b.call(&table, "k").gated(gateC).start(t.Context())
		close(gateA)
		want(t, "A", callA, "k=k1", nil)
		waits(t, "B", callB)
		waits(t, "C", callC)
		if b.free("k") {
			t.Error("A unlocked what C holds")
		}
		close(gateC)
		want(t, "B", callB, "k=k2", nil)
		want(t, "C", callC, "k=k2", nil)
		if v, n := b.value("k"), b.count("unlock k"); v != "k2" || n != 2 {
			t.Errorf("stored %q after %d unlocks", v, n)
		}
		b.idle(t)
	})
}

// slowToUnlock makes giving a lock back take a second.
func (c *call) slowToUnlock() *call {
	unlock := c.src.unlock
	c.src.unlock = func(at int) { time.Sleep(time.Second); unlock(at) }
	return c
}

func TestForgetAllGoesOnInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  2. ForgetAll has to unlock, which takes a second.  3. Its context
		// ends before: it returns.  4. A second after it began the lock is free.
		var table flight.Table
		b := newBackend("k")
		gate := make(chan struct{})
		a := b.call(&table, "k").gated(gate).slowToUnlock().start(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		began := time.Now()
		table.ForgetAll(ctx)
		if d := time.Since(began); d != time.Second/2 {
			t.Errorf("returned after %v", d)
		}
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if !b.free("k") {
			t.Error("the lock is still held")
		}
		close(gate)
		want(t, "A", a, "k=k1", nil)
		b.idle(t)
	})
}

func TestForgetAllWaitsForAnUnlockThatHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A's creator fails; its flight unlocks, which takes a second.  2. ForgetAll
		// comes half a second later.  3. When it returns, the lock is free.
		var table flight.Table
		b := newBackend("k")
		a := b.call(&table, "k").creates(func(context.Context, []int) error { return errBroken }).slowToUnlock().start(t.Context())
		time.Sleep(time.Second / 2)
		table.ForgetAll(t.Context())
		if !b.free("k") {
			t.Error("the lock is still held")
		}
		want(t, "A", a, "", errBroken)
		b.idle(t)
	})
}

func TestForgetWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				// 1. Another process holds the lock, A's flight waits.  2. Forget.  3. B
				// starts a flight of its own and waits too.  4. The lock is free: one of
				// them creates, under it, and the other reads.
				var table flight.Table
				b := newBackend("k")
				b.taking = taking
				b.take("k")
				callA := b.call(&table, "k").start(t.Context())
				forget(&table)
				callB := b.call(&table, "k").start(t.Context())
				if n := b.count("wait k"); n != 2 {
					t.Errorf("%d flights wait for the lock", n)
				}
				b.giveBack("k")
				want(t, "A", callA, "k=k1", nil)
				want(t, "B", callB, "k=k1", nil)
				b.idle(t)
			})
		})
	}
}

func TestForgetReachesEveryVersion(t *testing.T) {
	t.Parallel()
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 1. One caller creates, four of other versions wait within the process, and
				// with each of the five waits another.  2. Forget.  3. As many come again:
				// they have flights of their own, and the first of them creates.
				var table flight.Table
				b := newBackend("k")
				gate := make(chan struct{})
				var creators most
				callers := func() {
					for i := range 10 {
						c := b.call(&table, "k").creates(func(context.Context, []int) error {
							defer creators.enter()()
							<-gate
							return nil
						})
						c.src.read = func(context.Context, []int) ([]flight.Reading[string], error) {
							return []flight.Reading[string]{{Version: fmt.Sprint(i / 2)}}, nil
						}
						c.src.tryLock = func(context.Context, int) (bool, error) { return true, nil }
						c.start(t.Context())
					}
				}
				callers()
				if n := creators.now.Load(); n != 1 || table.Running() != 5 {
					t.Errorf("%d creators of %d groups, want 1 of 5", n, table.Running())
				}
				forget(&table)
				synctest.Wait()
				if n := b.count("unlock k"); (n > 0) != (name == "ForgetAll") {
					t.Errorf("%d locks given back by %s", n, name)
				}
				callers()
				// One of the first five, which were all woken, has the lock within the process
				// again. After Forget the callers that came later have five flights more. After
				// ForgetAll the first four start over, and share flights with them.
				if n, groups := creators.now.Load(), table.Running(); n != 2 || (groups == 10) != (name == "Forget") {
					t.Errorf("%d creators of %d groups after %s", n, groups, name)
				}
				close(gate)
				b.idle(t)
			})
		})
	}
}

// most counts how many are somewhere at once.
type most struct{ now, max atomic.Int64 }

func (m *most) enter() (leave func()) {
	n := m.now.Add(1)
	for most := m.max.Load(); n > most && !m.max.CompareAndSwap(most, n); {
		most = m.max.Load()
	}
	return func() { m.now.Add(-1) }
}

func TestForgetLeavesOtherKeysAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		gate := make(chan struct{})
		callA := b.call(&table, "k").gated(gate).start(t.Context())
		table.BackOff("k", time.Minute)
		table.Forget()
		table.Forget("j", "kk", "")
		callB := b.call(&table, "k").start(t.Context())
		if !table.BackingOff("k") || b.count("unlock k") != 0 || b.count("try k") != 1 {
			t.Errorf("backing off: %v; traffic %q", table.BackingOff("k"), b.traffic())
		}
		close(gate)
		want(t, "A", callA, "k=k1", nil)
		want(t, "B", callB, "k=k1", nil)
		table.Forget("k")
		b.idle(t)
	})
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		backsOff := func(d time.Duration) {
			t.Helper()
			table.BackOff("k", time.Second)
			time.Sleep(d)
			want(t, fmt.Sprint("after ", d), b.call(&table, "k").start(t.Context()), "k=old", nil)
			if !table.BackingOff("k") || table.BackingOff("j") {
				t.Errorf("after %v: backing off from k: %v, from j: %v", d, table.BackingOff("k"), table.BackingOff("j"))
			}
		}
		backsOff(0)
		backsOff(time.Second - 1)
		backsOff(time.Second - 1) // the second call counted anew
		if got := b.traffic(); got != "read k, read k, read k" {
			t.Errorf("traffic is %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if table.BackingOff("k") {
			t.Error("the backoff has no end")
		}
		want(t, "afterwards", b.call(&table, "k").start(t.Context()), "k=k1", nil)
		table.BackOff("k", time.Minute)
		b.delete("k")
		want(t, "with nothing to return", b.call(&table, "k").start(t.Context()), "k=k2", nil)
		time.Sleep(time.Minute)
		b.idle(t)
	})
}

// TestBackOffWhileTheLastOneEnds: 1. A timer fires.  2. BackOff is called anew.  3. The
// timer's function must leave that alone. It is found by trying often.
func TestBackOffWhileTheLastOneEnds(t *testing.T) {
	var table flight.Table
	often, cancel := context.WithTimeout(t.Context(), time.Second/2)
	defer cancel()
	for i := 0; often.Err() == nil; i++ {
		key := fmt.Sprint(i)
		table.BackOff(key, time.Microsecond)
		for range i % 3000 {
			table.BackingOff("other")
		}
		table.BackOff(key, time.Hour)
		for range 5 {
			runtime.Gosched()
		}
		if !table.BackingOff(key) {
			t.Fatalf("try %d: an old timer ended the new backoff", i)
		}
		table.Forget(key)
	}
}

// TestBackingOffFromAnotherProcess: it creates for a second. Callers here try for its
// lock only once in a while, as long as the Source says.
func TestBackingOffFromAnotherProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		b.take("k")
		for range 1000 {
			if got := b.call(&table, "k").do(t.Context()); got.err != nil || got.values["k"] != "old" {
				t.Fatalf("Do = %v, %v", got.values, got.err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := b.count("try k"); n != 10 {
			t.Errorf("%d tries within a second, want one every 100 ms", n)
		}
		b.giveBack("k")
		time.Sleep(100 * time.Millisecond)
		want(t, "once it is free", b.call(&table, "k").start(t.Context()), "k=k1", nil)
		b.idle(t)
	})
}

func TestForgetEndsTheBackoff(t *testing.T) {
	t.Parallel()
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				table.BackOff("k", time.Second)
				forget(&table)
				if table.BackingOff("k") || table.Busy("k") {
					t.Error("still backing off")
				}
				// The timer of a backoff that was ended must not end the next one.
				time.Sleep(time.Second / 2)
				table.BackOff("k", time.Second)
				time.Sleep(time.Second / 2)
				synctest.Wait()
				if !table.BackingOff("k") {
					t.Error("the old timer ended the new backoff")
				}
				time.Sleep(time.Second / 2)
			})
		})
	}
}

// TestBusy: while a flight of the key is in the table, or stores, or the process backs
// off. A flight that was forgotten, or is unshared, is nobody's excuse to wait.
func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k", "unshared")
		busy := func(when string, keys string) {
			t.Helper()
			synctest.Wait()
			for _, key := range []string{"k", "unshared", "other"} {
				if got, want := table.Busy(key), strings.Contains(keys, key); got != want {
					t.Errorf("%s: Busy(%s) = %v", when, key, got)
				}
			}
		}
		busy("at first", "")
		b.take("k")
		gate, stored := make(chan struct{}), make(chan struct{})
		c := b.call(&table, "k").gated(gate)
		store := c.src.store
		c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
			<-stored
			return store(ctx, at, v)
		}
		a := c.start(t.Context())
		busy("waiting", "k")
		b.giveBack("k")
		busy("creating", "k")
		gate <- struct{}{}
		busy("storing", "k")
		stored <- struct{}{}
		busy("done", "")
		want(t, "A", a, "k=k1", nil)

		b.delete("k")
		a = c.start(t.Context())
		table.Forget("k")
		busy("forgotten", "")
		close(gate)
		busy("forgotten, and storing", "")
		close(stored)
		want(t, "A", a, "k=k2", nil)

		unshared := make(chan struct{})
		c = b.call(&table, "unshared").gated(unshared)
		c.Unshared = true
		a = c.start(t.Context())
		busy("unshared", "")
		close(unshared)
		want(t, "A", a, "unshared=unshared1", nil)

		table.BackOff("k", time.Second)
		busy("backing off", "k")
		time.Sleep(time.Second)
		busy("at last", "")
		b.idle(t)
	})
}

func TestFlightsAreSharedByKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates "k", a string.  2. B wants the same: it joins.  3. C asks for the
		// same key as an int: it waits, cannot use what A made, and creates.  4. D's key
		// is another: it does not wait.
		var table flight.Table
		b := newBackend("k", "d")
		gate := make(chan struct{})
		callA, callB := b.call(&table, "k").gated(gate).start(t.Context()), b.call(&table, "k").start(t.Context())
		var created atomic.Bool
		callC := make(chan results, 1)
		go func() {
			number := flight.Call[int]{Called: table.Now(), Table: &table, Keys: []string{"k"}, Source: numbers{func() int { created.Store(true); return 42 }}}
			got, err := number.Do(t.Context(), []flight.Reading[int]{{}})
			callC <- results{map[string]string{"k": fmt.Sprint(got[0].Value)}, err}
		}()
		waits(t, "C", callC)
		want(t, "D", b.call(&table, "d").start(t.Context()), "d=d1", nil)
		if created.Load() {
			t.Error("C creates at the same time as A")
		}
		close(gate)
		want(t, "A", callA, "k=k1", nil)
		want(t, "B", callB, "k=k1", nil)
		want(t, "C", callC, "k=42", nil)
		b.idle(t)
	})
}

// numbers is a Source of ints: nothing is ever found, and nothing excludes anybody.
type numbers struct{ create func() int }

func (numbers) Read(_ context.Context, at []int) ([]flight.Reading[int], error) {
	return make([]flight.Reading[int], len(at)), nil
}
func (numbers) TryLock(context.Context, int) (bool, error) { return true, nil }
func (numbers) Wait(context.Context, int) (bool, error)    { return false, nil }
func (numbers) Unlock(int)                                 {}
func (n numbers) Create(_ context.Context, at []int) ([]flight.Result[int], error) {
	results := make([]flight.Result[int], len(at))
	for i := range results {
		results[i] = flight.Result[int]{Value: n.create(), OK: true}
	}
	return results, nil
}
func (numbers) Store(_ context.Context, at []int, _ []flight.Result[int], _ []bool) []bool {
	return make([]bool, len(at))
}
func (numbers) Enter(context.Context, bool) (func(), error) { return func() {}, nil }
func (numbers) Backoff(int) time.Duration                   { return time.Millisecond }
func (numbers) Unseen(context.Context, []int, error)        {}
func (numbers) Name(int) string                             { return "" }

func TestCreating(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table, others flight.Table
		b := newBackend("k", "j")
		a := b.call(&table, "k").creates(func(ctx context.Context, _ []int) error {
			if !table.Creating(ctx) || others.Creating(ctx) || table.Creating(context.Background()) {
				t.Errorf("Creating: %v; of others: %v; without: %v", table.Creating(ctx), others.Creating(ctx), table.Creating(context.Background()))
			}
			return b.call(&others, "j").creates(func(ctx context.Context, _ []int) error {
				if !table.Creating(ctx) || !others.Creating(ctx) || !table.Recursive(ctx, "k") || table.Recursive(ctx, "j") {
					t.Error("a creator within a creator does not know both")
				}
				return nil
			}).do(ctx).err
		}).start(t.Context())
		want(t, "A", a, "k=k1", nil)
		b.idle(t)
	})
}

func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k", "j")
		a := b.call(&table, "k").creates(func(context.Context, []int) error { time.Sleep(time.Second); return nil }).start(t.Context())
		began := time.Now()
		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() {
				if err := table.Close(t.Context()); err != nil || time.Since(began) != time.Second {
					t.Errorf("Close = %v after %v", err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		joined := b.call(&table, "k").start(t.Context())
		want(t, "C, which needs a new flight", b.call(&table, "j").start(t.Context()), "", flight.ErrClosed)
		partly := b.call(&table, "k", "j").start(t.Context())
		closers.Wait()
		wantPart(t, "D, which needs a new flight for one of two", partly, "k=k1", flight.ErrClosed)
		want(t, "A", a, "k=k1", nil)
		want(t, "B, which has joined", joined, "k=k1", nil)
		want(t, "fresh after Close", b.call(&table, "k").start(t.Context()), "k=k1", nil)
		b.delete("k")
		want(t, "missing after Close", b.call(&table, "k").start(t.Context()), "", flight.ErrClosed)
		if got := b.creations("k", "j"); got != "k1 j0" {
			t.Errorf("creations: %s", got)
		}
		b.idle(t)
	})
}

func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"creator heeds its context": true, "creator does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 1. A creates, B waits for another key's lock.  2. Close waits for a second.
				// 3. Its context ends: everybody is freed with ErrClosed, the creator is
				// cancelled, the locks are given back.
				var table flight.Table
				b := newBackend("a", "b")
				b.take("b")
				gate := make(chan struct{})
				var cause error
				callA := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error {
					if heeds {
						<-ctx.Done()
					} else {
						<-gate
					}
					cause = context.Cause(ctx)
					return ctx.Err()
				}).start(t.Context())
				callB := b.call(&table, "b").start(t.Context())
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := table.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close = %v", err)
				}
				want(t, "A", callA, "", flight.ErrClosed)
				want(t, "B", callB, "", flight.ErrClosed)
				if !b.free("a") {
					t.Error("A's lock is still held")
				}
				close(gate)
				if err := table.Close(t.Context()); err != nil || table.Running() != 0 {
					t.Errorf("second Close = %v, %d groups left", err, table.Running())
				}
				if b.count("store a") != 0 || cause != flight.ErrClosed {
					t.Errorf("cause %v, traffic %v", cause, b.traffic())
				}
				b.giveBack("b")
				b.idle(t)
			})
		})
	}
}

func TestCloseOfNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var table flight.Table
	for range 2 {
		if err := table.Close(ctx); err != nil {
			t.Errorf("Close = %v", err) // nothing to wait for, no need to look at ctx
		}
	}
}

// TestCloseAtOnce: 1. A creates, or waits for, a and b; B waits for a, C for b.
// 2. Close, which waits for nobody: all get ErrClosed. A lock that takes its time to be
// given back does not mix that up.
func TestCloseAtOnce(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]bool{"creating": false, "waiting": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				b := newBackend("a", "b")
				b.taking = taking
				if held {
					b.take("a", "b")
				}
				callA := b.call(&table, "a", "b").slowToUnlock().creates(func(ctx context.Context, _ []int) error {
					<-ctx.Done()
					return ctx.Err()
				}).start(t.Context())
				callB, callC := b.call(&table, "a").start(t.Context()), b.call(&table, "b").start(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := table.Close(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Close = %v", err)
				}
				want(t, "A", callA, "", flight.ErrClosed)
				want(t, "B", callB, "", flight.ErrClosed)
				want(t, "C", callC, "", flight.ErrClosed)
				b.giveBack("a", "b")
				if err := table.Close(t.Context()); err != nil || table.Running() != 0 {
					t.Errorf("second Close = %v, %d groups left", err, table.Running())
				}
				b.idle(t)
			})
		})
	}
}
