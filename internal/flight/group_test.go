package flight_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// TestClosedWhileItStarts: 1. A has asked the table whether it is closed.  2. Close
// gives up at once, and abandons A's group.  3. A adds its flight to the group: nobody
// would ever end it. It is found by trying often.
func TestClosedWhileItStarts(t *testing.T) {
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	often, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	keys := numbered(3)
	for i := 0; often.Err() == nil; i++ {
		var table flight.Table
		var caller sync.WaitGroup
		var ready atomic.Bool
		caller.Go(func() {
			c := flight.Call[int]{Called: table.Now(), Table: &table, Keys: keys[:1+i%3], Source: numbers{func() int { return 1 }}}
			c.Unshared = i%5 == 0
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			ready.Store(true)
			if _, err := c.Do(ctx, make([]flight.Reading[int], len(c.Keys))); err != nil && err != flight.ErrClosed {
				t.Errorf("try %d: Do = %v", i, err)
			}
		})
		for !ready.Load() {
			runtime.Gosched()
		}
		for range i % 5000 {
			ready.Load()
		}
		patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if i%2 > 0 {
			table.Close(impatient)
		} else if err := table.Close(patient); err != nil {
			t.Errorf("try %d: Close = %v", i, err)
		}
		cancel()
		caller.Wait()
		ends(t, &table)
		for _, key := range keys {
			if table.Busy(key) {
				t.Errorf("try %d: a flight of %s is left", i, key)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// TestLocksThatAreGrantedTooLate: 1. A asks for locks, or waits for them; the Source
// does not heed contexts.  2. The time is up, or the table closed: A is freed.  3. The
// locks are granted all the same: they are given back, and no creator runs.
func TestLocksThatAreGrantedTooLate(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{"a"}, {"a", "b"}, numbered(10)} {
		for name, waiting := range map[string]bool{"trying": false, "waiting": true} {
			for cause, err := range map[string]error{"time-out": flight.ErrTimeout, "Close": flight.ErrClosed} {
				t.Run(fmt.Sprint(len(keys), " keys, ", name, ", ", cause), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						var table flight.Table
						b := newBackend(keys...)
						b.taking = true
						c := b.call(&table, keys...)
						c.Timeout = time.Second
						try, wait := c.src.tryLock, c.src.wait
						c.src.wait = func(ctx context.Context, at int) (bool, error) { return wait(context.WithoutCancel(ctx), at) }
						if waiting {
							b.take(keys...)
							time.AfterFunc(2*time.Second, func() { b.giveBack(keys...) })
						} else {
							c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
								time.Sleep(2 * time.Second)
								return try(ctx, at)
							}
						}
						if cause == "Close" {
							c.Timeout = flight.Never
						}
						a := c.start(t.Context())
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						if cause == "Close" {
							if err := table.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
								t.Errorf("Close = %v", err)
							}
						}
						<-ctx.Done()
						want(t, "A", a, "", err)
						time.Sleep(time.Second)
						synctest.Wait()
						if n := b.creators(); n != 0 {
							t.Error("the creator ran for nobody")
						}
						b.idle(t)
					})
				})
			}
		}
	}
}

// TestLateLocksAreGivenBackAtOnce: 1. A waits for a and b; the Source does not heed
// contexts.  2. The time is up.  3. a's lock is granted: it is given back, although A
// still waits for b's.
func TestLateLocksAreGivenBackAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = true
		b.take("a", "b")
		c := b.call(&table, "a", "b")
		c.Timeout = time.Second
		wait := c.src.wait
		c.src.wait = func(ctx context.Context, at int) (bool, error) { return wait(context.WithoutCancel(ctx), at) }
		a := c.start(t.Context())
		time.Sleep(time.Second)
		want(t, "A", a, "", flight.ErrTimeout)
		b.giveBack("a")
		synctest.Wait()
		if !b.free("a") {
			t.Error("a's lock is held")
		}
		if n := table.Running(); n != 1 {
			t.Errorf("%d groups, while one waits for b", n)
		}
		b.giveBack("b")
		b.idle(t)
	})
}

// TestWaitingWithinTheProcessTimesOut: and leaves no goroutine behind.
func TestWaitingWithinTheProcessTimesOut(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{"a"}, {"a", "b"}} {
		t.Run(fmt.Sprint(len(keys)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				gate := make(chan struct{})
				slow := b.call(&table, keys...).gated(gate)
				slow.Timeout = flight.Never
				callA := slow.start(t.Context())
				c := b.call(&table, keys...).renewing()
				c.Timeout = time.Second
				callB := c.start(t.Context())
				time.Sleep(time.Second)
				want(t, "B", callB, "", flight.ErrTimeout)
				if n := table.Running(); n != 1 {
					t.Errorf("%d groups, want A's alone", n)
				}
				close(gate)
				<-callA
				b.idle(t)
			})
		})
	}
}

// TestGivingBackTakesNoTimeOfTheCreation: its result is safe by then.
func TestGivingBackTakesNoTimeOfTheCreation(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"created": nil, "failed": errBroken} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("k")
				c := b.call(&table, "k").slowToUnlock().creates(func(context.Context, []int) error {
					time.Sleep(time.Second / 2)
					return err
				})
				c.Timeout = time.Second
				store := c.src.store
				c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
					time.Sleep(time.Second / 2)
					return store(ctx, at, v)
				}
				want(t, "A", await(c.start(t.Context())), "k=k1", err)
				b.idle(t)
			})
		})
	}
}

// TestWaitersEndBeforeTheirGroup: 1. A waits for a and b.  2. a is free; to read it
// panics.  3. The waiter for b takes a second to heed that: until then A's group runs.
func TestWaitersEndBeforeTheirGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		b.take("a", "b")
		c := b.call(&table, "a", "b")
		wait := c.src.wait
		c.src.wait = func(ctx context.Context, at int) (bool, error) {
			held, err := wait(ctx, at)
			if at == 1 {
				time.Sleep(time.Second)
			}
			return held, err
		}
		a := c.start(t.Context())
		c.src.read = func(context.Context, []int) ([]flight.Reading[string], error) { panic(errBroken) }
		b.giveBack("a")
		time.Sleep(time.Second)
		if n := table.Running(); n != 1 {
			t.Errorf("%d groups while a waiter runs", n)
		}
		want(t, "A", await(a), "", errBroken)
		b.giveBack("b")
		b.idle(t)
	})
}

// TestTimeIsUpAtTheLastMoment: 1. The timer of a batch fires.  2. Before that takes
// effect, the locks are taken, or the creator is done.  3. Either way the creator and
// the store run only while the locks are held, and values that nobody gets are not
// stored. It is found by trying often.
func TestTimeIsUpAtTheLastMoment(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		for i := range 200 {
			var table flight.Table
			b := newBackend("a", "b")
			b.taking = taking
			c := b.call(&table, "a", "b")
			c.Timeout = time.Second
			held := func(what string) {
				if b.free("a") || b.free("b") {
					t.Errorf("try %d: %s runs without a lock", i, what)
				}
			}
			begun, slow := false, i%2 == 0
			c.creates(func(context.Context, []int) error {
				begun = true
				held("creator")
				time.Sleep(time.Second / 2)
				if slow {
					time.Sleep(time.Second / 2)
				}
				return nil
			})
			store := c.src.store
			c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
				held("store")
				return store(ctx, at, v)
			}
			switch read := c.src.read; i % 4 {
			case 0, 1: // it has waited for the locks until then
				b.take("a", "b")
				time.AfterFunc(time.Second, func() { b.giveBack("a", "b") })
			default: // it has read until then
				c.src.read = func(ctx context.Context, at []int) ([]flight.Reading[string], error) {
					if !b.free("a") {
						time.Sleep(time.Second)
					}
					return read(ctx, at)
				}
			}
			got := c.do(t.Context())
			time.Sleep(time.Minute)
			if stored := b.value("a") + b.value("b"); stored != got.values["a"]+got.values["b"] || got.err != nil && !errors.Is(got.err, flight.ErrTimeout) {
				t.Errorf("try %d: Do = %v, %v; stored %q", i, got.values, got.err, stored)
			}
			if begun && !slow && got.err != nil {
				t.Errorf("try %d: Do = %v, although the creator began in time and was quick", i, got.err)
			}
			b.idle(t)
			if t.Failed() {
				return
			}
		}
	})
}

// TestWhateverEndsAWait: a batch waits for several locks, which are given back one
// after another, some with a value and some without. It is forgotten, timed out or
// closed at any moment of that. However that goes, everybody returns, every lock and
// place is given back, and neither a flight nor a goroutine is left.
func TestWhateverEndsAWait(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { endAWait(t, rand.New(rand.NewPCG(7, seed))) })
		})
	}
}

func endAWait(t *testing.T, rnd *rand.Rand) {
	var table flight.Table
	moment := func() time.Duration { return time.Duration(rnd.IntN(40)) * time.Millisecond / 4 }
	keys := numbered(2 + rnd.IntN(5))
	b := newBackend(keys...)
	b.taking = rnd.IntN(2) == 0
	b.take(keys[rnd.IntN(2):]...) // all, or all but one
	for i, key := range keys {
		made := rnd.IntN(2) == 0
		if i > 0 || !b.free(key) {
			time.AfterFunc(moment(), func() {
				if made {
					b.set("theirs", 0, key)
				}
				b.giveBack(key)
			})
		}
	}
	var callers []chan results
	for i := range 5 {
		some := rnd.Perm(len(keys))[:1+rnd.IntN(len(keys))]
		if i == 0 {
			some = rnd.Perm(len(keys))
		}
		var names []string
		for _, at := range some {
			names = append(names, keys[at])
		}
		c := b.call(&table, names...)
		c.Renew, c.Timeout = rnd.IntN(3) == 0, []time.Duration{0, flight.Never, 5 * time.Millisecond}[rnd.IntN(3)]
		slow := moment() / 4
		c.creates(func(context.Context, []int) error { time.Sleep(slow); return nil })
		callers = append(callers, c.start(t.Context()))
	}
	time.AfterFunc(moment(), func() {
		switch rnd.IntN(4) {
		case 0:
			table.Forget(keys[0], keys[1])
		case 1:
			table.ForgetAll(t.Context())
		case 2:
			ctx, cancel := context.WithTimeout(context.Background(), moment())
			defer cancel()
			table.Close(ctx)
		}
	})
	time.Sleep(time.Minute)
	for i, c := range callers {
		if len(c) == 0 {
			t.Errorf("caller %d still waits", i)
			continue
		}
		if got := <-c; got.err != nil && !errors.Is(got.err, flight.ErrTimeout) && !errors.Is(got.err, flight.ErrClosed) {
			t.Errorf("caller %d: %v", i, got.err)
		}
	}
	b.idle(t)
}

// TestContextsEnd: what a Source is given a context for is over when the flights are.
func TestContextsEnd(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"created": nil, "failed": errBroken, "Goexit": flight.ErrGoexit, "time-out": flight.ErrTimeout} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				b := newBackend("a", "b")
				b.taking = taking
				b.take("a", "b")
				c := b.call(&table, "a", "b")
				c.Timeout = time.Second
				contexts := make(map[string]context.Context)
				var mu sync.Mutex
				given := func(name string, ctx context.Context) {
					mu.Lock()
					defer mu.Unlock()
					contexts[name] = ctx
				}
				enter, try, wait, store := c.src.enter, c.src.tryLock, c.src.wait, c.src.store
				c.src.enter = func(ctx context.Context, w bool) (func(), error) { given("Enter", ctx); return enter(ctx, w) }
				c.src.tryLock = func(ctx context.Context, at int) (bool, error) { given("TryLock", ctx); return try(ctx, at) }
				c.src.wait = func(ctx context.Context, at int) (bool, error) { given("Wait", ctx); return wait(ctx, at) }
				c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
					given("Store", ctx)
					return store(ctx, at, v)
				}
				began := time.Now()
				c.creates(func(ctx context.Context, _ []int) error {
					given("Create", ctx)
					if end, ok := ctx.Deadline(); !ok || end.Sub(began) != time.Second {
						t.Errorf("the creator's deadline is %v, %v", end.Sub(began), ok)
					}
					switch err {
					case flight.ErrGoexit:
						runtime.Goexit()
					case flight.ErrTimeout:
						<-ctx.Done()
						if cause := context.Cause(ctx); cause != flight.ErrTimeout {
							t.Errorf("the creator's cause is %v", cause)
						}
						return ctx.Err()
					}
					return err
				})
				a := c.start(t.Context())
				read := c.src.read
				c.src.read = func(ctx context.Context, at []int) ([]flight.Reading[string], error) {
					given("Read", ctx)
					return read(ctx, at)
				}
				b.giveBack("a", "b")
				time.Sleep(time.Second)
				want(t, "A", a, "a=a1 b=b1", err)
				if n := len(contexts); n != 6 && (err == nil || n != 5) {
					t.Errorf("%d contexts", n)
				}
				for name, ctx := range contexts {
					if ctx.Err() == nil {
						t.Errorf("the context of %s has not ended", name)
					}
				}
				b.idle(t)
			})
		})
	}
}

// TestPlaces: a place among the creators is given back when the creator has returned,
// or has outlived its time; one that is granted too late is given back at once.
func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. There is one place. A has it, and creates for ever.  2. B waits for it.
		// 3. A's time is up: B has the place, and creates.  4. The place is taken by
		// somebody else.  5. C and D wait for it, and D does not heed its context.
		// 6. Their time is up.  7. The place is free, and D takes it.
		var table flight.Table
		b := newBackend("a", "b", "c", "d")
		places := make(chan struct{}, 1)
		gate := make(chan struct{})
		call := func(key string, heeds bool) *call {
			c := b.call(&table, key)
			c.Timeout = time.Second
			c.src.enter = func(ctx context.Context, wait bool) (func(), error) {
				if !wait {
					t.Error("a missing value may be waited for")
				}
				done := ctx.Done()
				if !heeds {
					done = nil
				}
				select {
				case places <- struct{}{}:
					b.note("enter")
					return func() { b.note("leave"); <-places }, nil
				case <-done:
					return nil, ctx.Err()
				}
			}
			return c
		}
		callA := call("a", true).gated(gate).start(t.Context())
		time.Sleep(time.Second / 2)
		callB := call("b", true).start(t.Context())
		time.Sleep(time.Second / 2)
		want(t, "A", callA, "", flight.ErrTimeout)
		want(t, "B", callB, "b=b1", nil)
		places <- struct{}{}
		callC, callD := call("c", true).start(t.Context()), call("d", false).start(t.Context())
		time.Sleep(time.Second)
		want(t, "C", callC, "", flight.ErrTimeout)
		want(t, "D", callD, "", flight.ErrTimeout)
		<-places
		synctest.Wait()
		if len(places) != 0 || b.count("enter") != 3 {
			t.Errorf("%d places are taken, traffic %q", len(places), b.traffic())
		}
		close(gate)
		b.idle(t)
	})
}

// TestPlaceIsGivenBackBeforeTheStore: it is for creators.
func TestPlaceIsGivenBackBeforeTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		c := b.call(&table, "k")
		gate := make(chan struct{})
		store := c.src.store
		c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
			<-gate
			return store(ctx, at, v)
		}
		a := c.start(t.Context())
		if b.count("create k") != 1 || b.count("leave") != 1 {
			t.Errorf("traffic %q", b.traffic())
		}
		close(gate)
		want(t, "A", a, "k=k1", nil)
		b.idle(t)
	})
}

func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		c := b.call(&table, "a", "b")
		gate := make(chan struct{})
		c.src.store = func(context.Context, []int, []flight.Result[string]) []bool { <-gate; return []bool{true, true} }
		a := c.start(t.Context())
		time.Sleep(flight.DefaultTimeout)
		want(t, "A", a, "a=a1 b=b1", nil) // they were created well
		close(gate)
		b.idle(t)
	})
}

// TestWaitingAndCreatingHaveATimeoutEach: and so has the store.
func TestWaitingAndCreatingHaveATimeoutEach(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		timeout time.Duration
		each    time.Duration
		err     error
	}{
		{time.Second, 900 * time.Millisecond, nil},
		{0, flight.DefaultTimeout - 1, nil},
		{0, flight.DefaultTimeout + 1, flight.ErrTimeout},
		{flight.Never, 24 * time.Hour, nil},
	} {
		t.Run(fmt.Sprint(row.timeout, " ", row.each), func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				b := newBackend("a", "b")
				b.taking = taking
				b.take("a", "b")
				c := b.call(&table, "a", "b").creates(func(context.Context, []int) error { time.Sleep(row.each); return nil })
				c.Timeout = row.timeout
				store := c.src.store
				c.src.store = func(ctx context.Context, at []int, v []flight.Result[string]) []bool {
					time.Sleep(row.each)
					return store(ctx, at, v)
				}
				a := c.start(t.Context())
				time.AfterFunc(row.each, func() { b.giveBack("a", "b") })
				want(t, "A", await(a), "a=a1 b=b1", row.err)
				time.Sleep(time.Hour)
				b.idle(t)
			})
		})
	}
}
