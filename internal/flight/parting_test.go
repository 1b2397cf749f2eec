package flight_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// What happens to some keys of a call does not concern callers that want others.

func TestCreatorThatHangsHoldsUpItsOwnKeysOnly(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process makes b.  2. A wants a and b: its creator, for a, hangs and
		// does not heed its context.  3. B joins for b.  4. The other has made b, long
		// before A's time is up: B gets it.
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		b.take("b")
		gate := make(chan struct{})
		callA := b.call(&table, "a", "b").creates(func(context.Context, []int) error { <-gate; return errBroken }).start(t.Context())
		callB := b.call(&table, "b").start(t.Context())
		time.Sleep(time.Second)
		b.set("theirs", 0, "b")
		b.giveBack("b")
		want(t, "B", callB, "b=theirs", nil)
		time.Sleep(flight.DefaultTimeout)
		want(t, "A", callA, "", flight.ErrTimeout)
		close(gate)
		b.idle(t)
	})
}

// failures are the ways in which a creator fails, with the error that follows.
var failures = map[string]struct {
	do  func() error
	err error
}{
	"error":  {func() error { return errBroken }, errBroken},
	"panic":  {func() error { panic(errBroken) }, errBroken},
	"Goexit": {func() error { runtime.Goexit(); return nil }, flight.ErrGoexit},
}

func TestCreatorThatFailsFailsItsOwnKeysOnly(t *testing.T) {
	t.Parallel()
	for name, fails := range failures {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				// 1. Another process makes b.  2. A wants a and b, B joins for b, C for a.
				// 3. A's creator, for a, fails: A and C get that error.  4. B still gets b.
				var table flight.Table
				b := newBackend("a", "b")
				b.taking = taking
				b.take("b")
				gate := make(chan struct{})
				callA := b.call(&table, "a", "b").creates(func(context.Context, []int) error { <-gate; return fails.do() }).start(t.Context())
				callB, callC := b.call(&table, "b").start(t.Context()), b.call(&table, "a").start(t.Context())
				close(gate)
				want(t, "C", callC, "", fails.err)
				waits(t, "B", callB)
				b.set("theirs", 0, "b")
				b.giveBack("b")
				want(t, "B", callB, "b=theirs", nil)
				wantPart(t, "A", callA, "b=theirs", fails.err)
				b.idle(t)
			})
		})
	}
}

func TestEachKeyIsWaitedForByItself(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process makes a and b.  2. A wants both; B wants b, C wants a.
		// 3. b is there first: B gets it.  4. Then a, without b's: C gets it, then A has
		// both.
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		b.take("a", "b")
		callA := b.call(&table, "a", "b").start(t.Context())
		callB, callC := b.call(&table, "b").start(t.Context()), b.call(&table, "a").start(t.Context())
		b.set("theirs", 0, "b")
		b.giveBack("b")
		time.Sleep(time.Second)
		want(t, "B", callB, "b=theirs", nil)
		waits(t, "C", callC)
		b.set("theirs", 0, "a")
		b.giveBack("a")
		time.Sleep(time.Second)
		want(t, "C", callC, "a=theirs", nil)
		want(t, "A", callA, "a=theirs b=theirs", nil)
		b.idle(t)
	})
}

func TestMissingKeyIsCreatedWhileOthersAreHeld(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process makes a, b and c.  2. A wants all, B wants b and c.  3. b's
		// creator fails, and b is created here: by A, while a and c are still held.
		// 4. The others appear.
		var table flight.Table
		b := newBackend("a", "b", "c")
		b.taking = taking
		b.take("a", "b", "c")
		callA := b.call(&table, "a", "b", "c").start(t.Context())
		callB := b.call(&table, "b", "c").start(t.Context())
		b.giveBack("b")
		time.Sleep(time.Second)
		if v := b.value("b"); v != "b1" {
			t.Errorf("b is %q while the others are held", v)
		}
		b.set("theirs", 0, "c")
		b.giveBack("c")
		time.Sleep(time.Second)
		want(t, "B", callB, "b=b1 c=theirs", nil)
		b.set("theirs", 0, "a")
		b.giveBack("a")
		time.Sleep(time.Second)
		want(t, "A", callA, "a=theirs b=b1 c=theirs", nil)
		b.idle(t)
	})
}

func TestReadingThatFailsFailsItsOwnKeysOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process makes a and b.  2. A wants both, B wants b.  3. a is free,
		// and cannot be read: that fails a for A.  4. B still gets b, and so does A.
		var table flight.Table
		b := newBackend("a", "b")
		b.take("a", "b")
		c := b.call(&table, "a", "b")
		callA := c.start(t.Context())
		callB := b.call(&table, "b").start(t.Context())
		c.src.read = func(context.Context, []int) ([]flight.Reading[string], error) { return nil, errBroken }
		b.giveBack("a")
		time.Sleep(time.Second)
		waits(t, "A", callA)
		waits(t, "B", callB)
		c.src.read = func(_ context.Context, at []int) ([]flight.Reading[string], error) { return c.src.readings(at), nil }
		b.set("theirs", 0, "b")
		b.giveBack("b")
		time.Sleep(time.Second)
		wantPart(t, "A", callA, "b=theirs", errBroken)
		want(t, "B", callB, "b=theirs", nil)
		b.idle(t)
	})
}

func TestWaitingThatFailsFailsItsOwnKeyOnly(t *testing.T) {
	t.Parallel()
	for name, fails := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 1. Another process makes a and b.  2. A wants both, B wants b.  3. To wait
				// for a fails: that fails a for A.  4. B still gets b, and so does A.
				var table flight.Table
				b := newBackend("a", "b")
				b.take("a", "b")
				c := b.call(&table, "a", "b")
				wait := c.src.wait
				c.src.wait = func(ctx context.Context, at int) (bool, error) {
					if at == 0 {
						return false, fails.do()
					}
					return wait(ctx, at)
				}
				callA := c.start(t.Context())
				callB := b.call(&table, "b").start(t.Context())
				time.Sleep(time.Second)
				waits(t, "A", callA)
				waits(t, "B", callB)
				b.set("theirs", 0, "b")
				b.giveBack("b")
				time.Sleep(time.Second)
				wantPart(t, "A", callA, "b=theirs", fails.err)
				want(t, "B", callB, "b=theirs", nil)
				b.giveBack("a")
				if n := b.count("try a"); n != 1 {
					t.Errorf("a was tried %d times", n)
				}
				b.idle(t)
			})
		})
	}
}

// TestLocksThatAreGivenBackTogetherMakeOneCreation: what another process has locked
// together it gives back together, or nearly so. A batch tries such locks together.
func TestLocksThatAreGivenBackTogetherMakeOneCreation(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 400 * time.Microsecond} {
		t.Run(pause.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				b := newBackend("a", "b", "c")
				b.taking = taking
				b.take("a", "b", "c")
				a := b.call(&table, "a", "b", "c").start(t.Context())
				for _, key := range []string{"c", "a", "b"} {
					b.giveBack(key)
					time.Sleep(pause)
				}
				time.Sleep(time.Second)
				want(t, "A", a, "a=a1 b=b1 c=c1", nil)
				if b.creators() != 1 || taking && b.calls("try") != 3 {
					t.Errorf("traffic is %q, want one creation, and no try of a lock that is held", b.traffic())
				}
				b.idle(t)
			})
		})
	}
}

// TestRenewersShareTheNextCreation: 1. Another process holds some keys. 2. Five callers
// renew them, one after another.  3. The locks are given back together: there is one
// creation, and all five get what it made.
func TestRenewersShareTheNextCreation(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				keys := numbered(n)
				b := newBackend(keys...)
				b.taking = taking
				b.set("old", 0, keys...)
				b.take(keys...)
				var callers []chan results
				for range 5 {
					callers = append(callers, b.call(&table, keys...).renewing().start(t.Context()))
				}
				b.set("theirs", 0, keys...)
				b.giveBack(keys...)
				time.Sleep(time.Second)
				all := ""
				for _, key := range keys {
					all += key + "=" + key + "1 "
				}
				for i, c := range callers {
					want(t, fmt.Sprint("renewer ", i), c, all, nil)
				}
				if n := b.creators(); n != 1 {
					t.Errorf("%d creations", n)
				}
				if n := b.calls("read"); n != 1 {
					t.Errorf("read %d times, want once, under the locks", n)
				}
				b.idle(t)
			})
		})
	}
}

// numbered returns the keys "k0:", "k1:" and so on.
func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i, ":")
	}
	return keys
}

func TestJoinersOfWaitingFlightsTimeOut(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		var table flight.Table
		b := newBackend("a", "b", "c")
		b.taking = taking
		b.take("a", "b", "c")
		slow := b.call(&table, "a", "b", "c")
		slow.Timeout = time.Second
		a := slow.start(t.Context())
		var joined []chan results
		for _, key := range []string{"a", "b", "c"} {
			joined = append(joined, b.call(&table, key).start(t.Context()))
		}
		time.Sleep(time.Second)
		want(t, "A", a, "", flight.ErrTimeout)
		for i, c := range joined {
			want(t, fmt.Sprint("joiner ", i), c, "", flight.ErrTimeout)
		}
		b.giveBack("a", "b", "c")
		b.idle(t)
	})
}

func TestCallersStartOverWhenLocksAreLost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		losses int
		err    error
	}{{0, nil}, {1, nil}, {3, nil}, {4, flight.ErrLost}} {
		t.Run(fmt.Sprint(row.losses), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				keys := []string{"a", "b", "c", "d", "e", "f"}
				b := newBackend(keys...)
				losses := 0
				a := b.call(&table, keys...).creates(func(context.Context, []int) error {
					if losses++; losses <= row.losses {
						return fmt.Errorf("gone: %w", flight.ErrLost)
					}
					return nil
				}).start(t.Context())
				want(t, "A", a, "a=a1 b=b1 c=c1 d=d1 e=e1 f=f1", row.err)
				b.idle(t)
			})
		})
	}
}

// TestRenewersStartOverWithoutReading: what others have made meanwhile is not theirs.
func TestRenewersStartOverWithoutReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A renews a and b; another process holds b, so that A creates a alone.
		// 2. A's lock is lost, and its creator fails for it.  3. Others have made both by
		// then.  4. A starts over, and creates both.
		var table flight.Table
		b := newBackend("a", "b")
		b.take("b")
		lost := false
		a := b.call(&table, "a", "b").renewing().creates(func(context.Context, []int) error {
			if lost {
				return nil
			}
			lost = true
			b.giveBack("b")
			b.set("theirs", 0, "a", "b")
			return flight.ErrLost
		}).start(t.Context())
		want(t, "A", a, "a=a1 b=b1", nil)
		b.idle(t)
	})
}

func TestLateCallersByKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a and b; B joins for a, C for b.  2. a is deleted, which takes its
		// lock away.  3. A's creator is done.  4. A gets its values; C, whose lock held,
		// gets b; B starts over.
		var table flight.Table
		b := newBackend("a", "b")
		gate := make(chan struct{})
		callA := b.call(&table, "a", "b").gated(gate).start(t.Context())
		callB, callC := b.call(&table, "a").start(t.Context()), b.call(&table, "b").start(t.Context())
		b.delete("a")
		close(gate)
		want(t, "A", callA, "a=a1 b=b1", nil)
		want(t, "B", callB, "a=a2", nil)
		want(t, "C", callC, "b=b1", nil)
		b.idle(t)
	})
}

func TestNobodyJoinsOnceStoreHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Store has stored a.  2. Somebody deletes it.  3. B finds nothing; it
		// must wait for the lock, not for A.  4. A's Store returns.
		var table flight.Table
		b := newBackend("a")
		gate := make(chan struct{})
		c := b.call(&table, "a")
		store := c.src.store
		c.src.store = func(ctx context.Context, at []int, values []flight.Result[string]) []bool {
			held := store(ctx, at, values)
			<-gate
			return held
		}
		callA := c.start(t.Context())
		b.delete("a")
		callB := b.call(&table, "a").start(t.Context())
		waits(t, "B", callB)
		close(gate)
		want(t, "A", callA, "a=a1", nil)
		want(t, "B", callB, "a=a2", nil)
		b.idle(t)
	})
}

func TestCrosswise(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// Two processes want the same keys in opposite order. Each key is created once
		// and nobody waits in a circle.
		var one, two flight.Table
		b := newBackend("a", "b", "c", "d")
		b.taking = taking
		slowly := func(c *call) *call {
			try := c.src.tryLock
			c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
				held, err := try(ctx, at)
				time.Sleep(time.Millisecond)
				return held, err
			}
			return c.creates(func(context.Context, []int) error { time.Sleep(time.Second); return nil })
		}
		callA := slowly(b.call(&one, "a", "b", "c", "d")).start(t.Context())
		callB := slowly(b.call(&two, "d", "c", "b", "a")).start(t.Context())
		time.Sleep(5 * time.Second)
		want(t, "A", callA, "a=a1 b=b1 c=c1 d=d1", nil)
		want(t, "B", callB, "a=a1 b=b1 c=c1 d=d1", nil)
		b.idle(t)
	})
}

func TestLocksAreTriedSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		keys := numbered(100)
		b := newBackend(keys...)
		c := b.call(&table, keys...)
		try := c.src.tryLock
		c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
			time.Sleep(time.Millisecond)
			return try(ctx, at)
		}
		began := time.Now()
		if got := c.do(t.Context()); got.err != nil || len(got.values) != 100 {
			t.Errorf("%d values, %v", len(got.values), got.err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("100 locks that take 1 ms each took %v", took)
		}
		b.idle(t)
	})
}

// TestNoLockIsTriedAfterAFailure: by then, a few others may be under way.
func TestNoLockIsTriedAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		keys := numbered(1000)
		b := newBackend(keys...)
		c := b.call(&table, keys...)
		try := c.src.tryLock
		c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
			if at == 0 {
				return false, errBroken
			}
			time.Sleep(time.Millisecond)
			return try(ctx, at)
		}
		want(t, "A", await(c.start(t.Context())), "", errBroken)
		if n := b.calls("try"); n > 100 {
			t.Errorf("%d of 1000 locks were tried", n)
		}
		b.idle(t)
	})
}

// TestLocksAreGivenBackSideBySide: however the flights of a batch end.
func TestLocksAreGivenBackSideBySide(t *testing.T) {
	t.Parallel()
	keys := numbered(100)
	for name, change := range map[string]func(*backend, *call){
		"created":               func(*backend, *call) {},
		"found":                 func(b *backend, c *call) { c.onEnter(func() { b.set("theirs", 0, keys...) }) },
		"left out":              func(_ *backend, c *call) { c.optional().leavesOut(keys...) },
		"creator fails":         func(_ *backend, c *call) { c.creates(func(context.Context, []int) error { return errBroken }) },
		"one lock fails":        func(_ *backend, c *call) { c.failsToTry(keys[50], func() {}) },
		"one lock panics":       func(_ *backend, c *call) { c.failsToTry(keys[50], func() { panic(errBroken) }) },
		"one lock calls Goexit": func(_ *backend, c *call) { c.failsToTry(keys[50], runtime.Goexit) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend(keys...)
				c := b.call(&table, keys...)
				change(b, c)
				unlock := c.src.unlock
				c.src.unlock = func(at int) { time.Sleep(time.Millisecond); unlock(at) }
				began := time.Now()
				got := c.do(t.Context())
				if failed := strings.Contains(name, "fails") || strings.Contains(name, "panics"); failed != errors.Is(got.err, errBroken) ||
					strings.Contains(name, "Goexit") != errors.Is(got.err, flight.ErrGoexit) {
					t.Errorf("Do = %v", got.err)
				}
				if took := time.Since(began); took > 10*time.Millisecond {
					t.Errorf("giving back 100 locks, 1 ms each, took %v", took)
				}
				if strings.Contains(name, "one lock") && b.creators() != 0 {
					t.Error("the others were created")
				}
				b.idle(t)
			})
		})
	}
}

// TestManyCallersHastenATask: 1. A's Runner keeps the task, for a hundred keys.  2. All
// are deleted.  3. At the same moment others, which need them, have the task run, and
// so does the Runner at last. It runs once, for all of them. It is found by trying
// often.
func TestManyCallersHastenATask(t *testing.T) {
	keys := numbered(100)
	for i := range 100 {
		var table flight.Table
		b := newBackend(keys...)
		b.set("old", time.Hour, keys...)
		var task func()
		c := b.call(&table, keys...)
		c.Runner = func(f func()) { task = f }
		if got := c.do(t.Context()); got.err != nil || len(got.values) != len(keys) {
			t.Fatalf("A got %v, %v", got.values, got.err)
		}
		b.delete(keys...)
		var callers sync.WaitGroup
		for _, key := range keys {
			callers.Go(func() {
				if got := b.call(&table, key).do(t.Context()); got.values[key] != key+"1" || got.err != nil {
					t.Errorf("try %d: %s = %q, %v", i, key, got.values[key], got.err)
				}
			})
		}
		task()
		callers.Wait()
		if t.Failed() {
			return
		}
	}
}

// TestCallersJoinAtTheStart: 1. A wants a hundred values and is about to start.
// 2. Others come for some of them at that moment.  3. All get theirs. It is found by
// trying often.
func TestCallersJoinAtTheStart(t *testing.T) {
	keys := numbered(100)
	for i := range 100 {
		var table flight.Table
		b := newBackend(keys...)
		ready := make(chan struct{})
		var callers sync.WaitGroup
		for n := range 8 {
			callers.Go(func() {
				<-ready
				key := keys[n*n]
				if got := b.call(&table, key).do(t.Context()); got.values[key] != key+"1" || got.err != nil {
					t.Errorf("try %d: %s = %q, %v", i, key, got.values[key], got.err)
				}
			})
		}
		close(ready)
		if got := b.call(&table, keys...).do(t.Context()); got.err != nil || len(got.values) != len(keys) {
			t.Errorf("try %d: A got %v, %v", i, got.values, got.err)
		}
		callers.Wait()
		ends(t, &table)
		if t.Failed() {
			return
		}
	}
}

// ends waits until no group runs any more.
func ends(t *testing.T, table *flight.Table) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); table.Running() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d groups never end", table.Running())
		}
	}
}
