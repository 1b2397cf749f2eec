package flight_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

func TestRunner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// a is fresh, b and c are stale, d is missing. The Runner gets b and c, as one
		// task, and A waits for d alone.
		var table flight.Table
		b := newBackend("a", "b", "c", "d")
		b.set("old", 0, "a")
		b.set("old", time.Hour, "b", "c")
		var tasks []func()
		c := b.call(&table, "a", "b", "c", "d")
		c.Runner = func(task func()) { tasks = append(tasks, task) }
		want(t, "A", c.start(t.Context()), "a=old b=old c=old d=d1", nil)
		if len(tasks) != 1 || b.count("try b")+b.count("try c") != 0 {
			t.Fatalf("%d tasks, traffic %q", len(tasks), b.traffic())
		}
		want(t, "B", b.call(&table, "b", "c").start(t.Context()), "b=old c=old", nil)
		tasks[0]()
		want(t, "C", b.call(&table, "b", "c").start(t.Context()), "b=b1 c=c1", nil)
		tasks[0]() // is done already: does nothing
		if n := b.creators(); n != 2 {
			t.Errorf("%d creations", n)
		}
		b.idle(t)
	})
}

func TestTaskThatIsRunTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k").creates(func(context.Context, []int) error { time.Sleep(time.Second); return nil })
		c.Runner = func(task func()) { go task(); go task() }
		want(t, "A", c.start(t.Context()), "k=old", nil)
		time.Sleep(time.Minute)
		if n := b.creators(); n != 1 || b.value("k") != "k1" {
			t.Errorf("%d creations, stored %q", n, b.value("k"))
		}
		b.idle(t)
	})
}

// TestRunnerThatRunsTheTaskItself: the caller gets the stale values when the Runner
// returns. What is missing does not wait for that.
func TestRunnerThatRunsTheTaskItself(t *testing.T) {
	t.Parallel()
	for name, fails := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				b.set("old", time.Hour, "a")
				began := time.Now()
				c := b.call(&table, "a", "b").creates(func(_ context.Context, at []int) error {
					time.Sleep(time.Second)
					if at[0] == 0 && name != "Goexit" { // which would end the caller
						return fails.do()
					}
					return nil
				})
				c.Runner = func(task func()) { task() }
				want(t, "A", await(c.start(t.Context())), "a=old b=b1", nil)
				if took := time.Since(began); took != time.Second {
					t.Errorf("took %v", took)
				}
				b.idle(t)
			})
		})
	}
}

// await waits until the call has returned.
func await(done chan results) chan results {
	got := <-done
	done <- got
	return done
}

func TestRunnerIsNotAskedForMissingValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		c := b.call(&table, "k")
		c.Runner = func(func()) { t.Error("the Runner was asked") }
		want(t, "A", c.start(t.Context()), "k=k1", nil)
		want(t, "B", c.renewing().start(t.Context()), "k=k2", nil)
		b.idle(t)
	})
}

func TestRunnerDropsTheTask(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"for ever": false, "and runs it when it is too late": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 1. A's Runner drops the task, for a and b.  2. a is deleted.  3. B, which
				// needs a, has the task run at once.  4. The task, should it still be run,
				// does nothing.
				var table flight.Table
				b := newBackend("a", "b")
				b.set("old", time.Hour, "a", "b")
				c := b.call(&table, "a", "b")
				var task func()
				c.Runner = func(f func()) { task = f }
				want(t, "A", c.start(t.Context()), "a=old b=old", nil)
				if n := table.Running(); n != 1 {
					t.Errorf("%d groups while the task waits", n)
				}
				b.delete("a")
				want(t, "B", b.call(&table, "a").start(t.Context()), "a=a1", nil)
				if late {
					task()
				}
				if n := table.Running(); n != 0 || b.creators() != 1 {
					t.Errorf("%d groups, traffic %q", n, b.traffic())
				}
				want(t, "C", b.call(&table, "a", "b").start(t.Context()), "a=a1 b=b1", nil)
				if err := table.Close(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
				b.idle(t)
			})
		})
	}
}

// TestTaskThatWaitsTooLong: a task that nobody runs gives up when its time is over.
func TestTaskThatWaitsTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k")
		c.Timeout = time.Second
		var task func()
		c.Runner = func(f func()) { task = f }
		want(t, "A", c.start(t.Context()), "k=old", nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := table.Running(); n != 0 || table.Busy("k") {
			t.Errorf("%d groups, busy: %v", n, table.Busy("k"))
		}
		task()
		if n := b.creators(); n != 0 {
			t.Errorf("%d creations", n)
		}
		b.idle(t)
	})
}

func TestCloseDropsTasksThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A Runner keeps a task.  2. Close gives up.  3. The task does nothing any
		// more.
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k")
		var task func()
		c.Runner = func(f func()) { task = f }
		want(t, "A", c.start(t.Context()), "k=old", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := table.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		task()
		if got := b.traffic(); got != "read k" || table.Running() != 0 {
			t.Errorf("traffic %q, %d groups left", got, table.Running())
		}
		b.idle(t)
	})
}

func TestRunnerPanics(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){"panic": func() { panic("full") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// Only the caller gets that. There is no flight left that others would join.
				var table flight.Table
				b := newBackend("a", "b", "c")
				b.set("old", time.Hour, "a", "b")
				c := b.call(&table, "a", "b", "c")
				c.Runner = func(func()) { fail() }
				done := make(chan any, 1)
				go func() {
					defer func() { done <- recover() }()
					c.do(t.Context())
				}()
				synctest.Wait()
				if p := <-done; name == "panic" && p != "full" {
					t.Errorf("A panicked with %v", p)
				}
				if n := table.Running(); n != 0 || table.Busy("a") || table.Busy("b") {
					t.Errorf("%d groups left", n)
				}
				want(t, "B", b.call(&table, "a", "b", "c").start(t.Context()), "a=a1 b=b1 c=c1", nil)
				b.idle(t)
			})
		})
	}
}

// TestRunnerPanicsWhileOthersNeedTheValue: 1. A's Runner has the task.  2. The value is
// deleted. B joins the flight, and has it run.  3. The Runner panics, at any moment of
// that: B gets a value all the same. It is found by trying often.
func TestRunnerPanicsWhileOthersNeedTheValue(t *testing.T) {
	for i := range 2000 {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k")
		joined := make(chan results, 1)
		c.Runner = func(func()) {
			b.delete("k")
			var ready atomic.Bool
			go func() {
				ready.Store(true)
				joined <- b.call(&table, "k").do(t.Context())
			}()
			for !ready.Load() {
				runtime.Gosched()
			}
			for range i * 5 {
				ready.Load()
			}
			panic("full")
		}
		func() {
			defer func() { recover() }()
			c.do(t.Context())
		}()
		if got := <-joined; got.err != nil || got.values["k"] != "k1" {
			t.Fatalf("try %d: B got %v, %v", i, got.values, got.err)
		}
		ends(t, &table)
	}
}

func TestRunnerPanicsWhileTheCreatorRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Runner blocks.  2. The value is deleted; B has the flight run, which
		// takes a second.  3. The Runner panics: that ends the flight no more.
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k").creates(func(context.Context, []int) error { time.Sleep(time.Second); return nil })
		c.Runner = func(func()) { time.Sleep(time.Second / 2); panic("full") }
		go func() {
			defer func() { recover() }()
			c.do(t.Context())
		}()
		synctest.Wait()
		b.delete("k")
		callB := b.call(&table, "k").start(t.Context())
		time.Sleep(time.Second)
		want(t, "B", callB, "k=k1", nil)
		b.idle(t)
	})
}

// TestRunnersFailureIsNotTheCallers: nobody gets the error, and the locks are free for
// the next try.
func TestRunnersFailureIsNotTheCallers(t *testing.T) {
	t.Parallel()
	for name, fails := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				b.set("old", time.Hour, "a", "b")
				c := b.call(&table, "a", "b").creates(func(context.Context, []int) error { return fails.do() })
				c.Runner = func(task func()) { go task() }
				want(t, "A", c.start(t.Context()), "a=old b=old", nil)
				if !b.free("a") || !b.free("b") {
					t.Error("a lock is still held")
				}
				c = b.call(&table, "a", "b")
				c.Runner = func(task func()) { go task() }
				want(t, "B", c.start(t.Context()), "a=old b=old", nil)
				want(t, "C", c.start(t.Context()), "a=a1 b=b1", nil)
				b.idle(t)
			})
		})
	}
}

// TestAbandonedAtTheStart: a flight that is abandoned at the very moment when its
// goroutine starts ends all the same. It is found by trying often.
func TestAbandonedAtTheStart(t *testing.T) {
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 5000 {
		var table flight.Table
		var task func()
		c := flight.Call[int]{
			Called: table.Now(), Table: &table, Keys: []string{"k"}, Source: numbers{func() int { return 2 }},
			Runner: func(f func()) { task = f },
		}
		if _, err := c.Do(t.Context(), []flight.Reading[int]{{State: flight.Stale}}); err != nil {
			t.Fatal(err)
		}
		// 1. Close abandons the flight, whose goroutine has not started.  2. It starts at
		// this moment, and finds that it need not.  3. Close must not take it for one that
		// will end by itself.
		var ready atomic.Bool
		var runner sync.WaitGroup
		runner.Go(func() {
			ready.Store(true)
			for range i % 500 {
				ready.Load()
			}
			task()
		})
		for !ready.Load() {
			runtime.Gosched()
		}
		err := table.Close(closed)
		runner.Wait()
		if n := table.Running(); n != 0 {
			t.Fatalf("try %d: %d groups never end; Close = %v", i, n, err)
		}
	}
}

// TestRunnerThatIsFull: 1. A's Runner blocks.  2. The time of the flights is up: others
// can start them anew.  3. The Runner has room, and runs the task: it does nothing.
func TestRunnerThatIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.set("old", time.Hour, "k")
		room := make(chan struct{})
		c := b.call(&table, "k")
		c.Runner = func(task func()) { <-room; task() }
		a := c.start(t.Context())
		for i := range 3 {
			want(t, fmt.Sprint("reader ", i), b.call(&table, "k").start(t.Context()), "k=old", nil)
		}
		time.Sleep(flight.DefaultTimeout)
		waits(t, "A", a)
		want(t, "B", b.call(&table, "k").start(t.Context()), "k=k1", nil)
		close(room)
		want(t, "A", a, "k=old", nil)
		if n := b.creators(); n != 1 {
			t.Errorf("%d creations", n)
		}
		b.idle(t)
	})
}
