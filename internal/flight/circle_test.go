package flight_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

// ring is calls whose creators ask for the next one's key, the last for the first one's,
// once all of them run.
type ring struct {
	b     *backend
	table func(i int) int // that call i is made in, of tables
	asked func(i int) int // that its creator asks in
	asks  func(ctx context.Context, c *call) error
	keys  [][]string // of each call

	tables [2]flight.Table
}

func (r *ring) call(i int, all *sync.WaitGroup) *call {
	c := r.b.call(&r.tables[r.table(i)], r.keys[i]...)
	c.Timeout, c.Space = flight.Never, r.b
	all.Add(1)
	return c.creates(func(ctx context.Context, _ []int) error {
		all.Done()
		all.Wait()
		next := r.b.call(&r.tables[r.asked(i)], r.keys[(i+1)%len(r.keys)]...)
		next.Timeout, next.Space = flight.Never, r.b
		return r.asks(ctx, next)
	})
}

// TestCircles: creators that wait for each other get ErrRecursive at once, with the keys.
func TestCircles(t *testing.T) {
	t.Parallel()
	ask := func(ctx context.Context, c *call) error { return c.do(ctx).err }
	first := func(int) int { return 0 }
	second := func(int) int { return 1 }
	even := func(i int) int { return i % 2 }
	odd := func(i int) int { return (i + 1) % 2 }
	for _, row := range []struct {
		name         string
		table, asked func(i int) int
		asks         func(ctx context.Context, c *call) error
		keys         string
	}{
		{"two", first, first, ask, "a|b"},
		{"three", first, first, ask, "a|b|c"},
		{"batches", first, first, ask, "a x|b y|c z"},
		{"the next one in another table", even, odd, ask, "a|b"},
		{"locks that a creation in another table has", first, second, ask, "a|b"},
		{"three such locks", first, second, ask, "a|b|c"},
		{"batches and such locks", first, second, ask, "a x|b y"},
		{"a lock of its own in another table", first, second, ask, "a"},
		{"renewing", first, first, func(ctx context.Context, c *call) error { return c.renewing().do(ctx).err }, "a|b"},
		{"in a class of their own", first, first, func(ctx context.Context, c *call) error {
			c.Class = "nested"
			return c.do(ctx).err
		}, "a|b"},
		{"in goroutines", first, first, func(ctx context.Context, c *call) error {
			errs := make(chan error, 2)
			go func() { errs <- c.do(ctx).err }()
			go func() { errs <- c.src.b.call(c.Table, "other").do(ctx).err }()
			return errors.Join(<-errs, <-errs)
		}, "a|b|c"},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				b := newBackend("a", "b", "c", "x", "y", "z", "other")
				b.taking = taking
				r := &ring{b: b, table: row.table, asked: row.asked, asks: row.asks}
				for keys := range strings.SplitSeq(row.keys, "|") {
					r.keys = append(r.keys, strings.Fields(keys))
				}
				var all sync.WaitGroup
				var calls []*call
				for i := range r.keys {
					calls = append(calls, r.call(i, &all))
				}
				began := time.Now()
				var done []chan results
				for _, c := range calls {
					done = append(done, c.start(t.Context()))
				}
				// Those that are left may go on, and create what the one that was told has not.
				told := 0
				for i, d := range done {
					got := <-d
					if errors.Is(got.err, flight.ErrRecursive) {
						told++
					} else if got.err != nil {
						t.Errorf("call %d: %v", i, got.err)
					}
				}
				if told == 0 {
					t.Error("nobody was told of the circle")
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("took %v", took)
				}
				b.idle(t)
				if n := b.entries["a"].creates; n > 0 && told == len(calls) {
					t.Errorf("a was created %d times for nobody", n)
				}
			})
		})
	}
}

// TestCircleNamesItsKeys in the order in which they wait for each other.
func TestCircleNamesItsKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b", "c")
		next := map[string]string{"a": "b", "b": "c", "c": "a"}
		var asks func(key string) *call
		asks = func(key string) *call {
			return b.call(&table, key).creates(func(ctx context.Context, _ []int) error { return asks(next[key]).do(ctx).err })
		}
		// Alone it is recursion that the context tells of.
		want(t, "one caller", asks("a").start(t.Context()), "", flight.ErrRecursive)
		gate := make(chan struct{})
		var done []chan results
		for _, key := range []string{"a", "b", "c"} {
			c := b.call(&table, key).creates(func(ctx context.Context, _ []int) error {
				<-gate
				return b.call(&table, next[key]).do(ctx).err
			})
			done = append(done, c.start(t.Context()))
		}
		for range done { // one after the other: c's creator closes the circle
			gate <- struct{}{}
			synctest.Wait()
		}
		for _, d := range done {
			err := (<-d).err
			got := fmt.Sprint(err)
			text := strings.TrimPrefix(got, "creators wait for each other: ")
			if !errors.Is(err, flight.ErrRecursive) || !strings.Contains("a, b, c, a, b, c", text) || strings.Count(text, ",") != 3 {
				t.Errorf("error %q", got)
			}
		}
		b.idle(t)
	})
}

// TestOthersInACircle: 1. A creates a, B creates b, and C waits for b.  2. A's creator asks
// for b, and B's for a: one of the two gets ErrRecursive, and does without.  3. All three
// get values.
func TestOthersInACircle(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		gate := make(chan struct{})
		circles := 0
		without := func(key, other string) *call {
			return b.call(&table, key).creates(func(ctx context.Context, _ []int) error {
				<-gate
				if got := b.call(&table, other).do(ctx); got.err != nil {
					if circles++; !errors.Is(got.err, flight.ErrRecursive) {
						return got.err
					}
				}
				return nil
			})
		}
		callA, callB := without("a", "b").start(t.Context()), without("b", "a").start(t.Context())
		callC := b.call(&table, "b").start(t.Context())
		gate <- struct{}{}
		synctest.Wait()
		gate <- struct{}{}
		want(t, "A", callA, "a=a1", nil)
		want(t, "B", callB, "b=b1", nil)
		want(t, "C", callC, "b=b1", nil)
		if circles != 1 {
			t.Errorf("%d callers were told of a circle, want 1", circles)
		}
		b.idle(t)
	})
}

// TestCircleThroughAnother: the flight that closes the circle is that of a caller outside
// of it. 1. B creates b.  2. C renews b, and waits for B's lock.  3. A creates a, and its
// creator renews b, with C.  4. B's creator asks for a. The last of these may be any.
func TestCircleThroughAnother(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"A", "B", "C"} {
		t.Run(last+" waits last", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				gateA, gateB, gateC := make(chan struct{}), make(chan struct{}), make(chan struct{})
				var errA, errB error
				callA := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error {
					<-gateA
					errA = b.call(&table, "b").renewing().do(ctx).err
					return nil
				}).start(t.Context())
				callB := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
					<-gateB
					errB = b.call(&table, "a").do(ctx).err
					return nil
				}).start(t.Context())
				c := b.call(&table, "b").renewing()
				enter := c.src.enter
				c.src.enter = func(ctx context.Context, wait bool) (func(), error) {
					<-gateC
					return enter(ctx, wait)
				}
				callC := c.start(t.Context())
				gates := map[string]chan struct{}{"A": gateA, "B": gateB, "C": gateC}
				for name, gate := range gates {
					if name != last {
						close(gate)
						synctest.Wait()
					}
				}
				close(gates[last])
				want(t, "A", callA, "a=a1", nil)
				want(t, "B", callB, "b=b1", nil)
				want(t, "C", callC, "b=b2", nil)
				if one, other := errors.Is(errA, flight.ErrRecursive), errors.Is(errB, flight.ErrRecursive); one == other {
					t.Errorf("A's creator got %v, B's %v", errA, errB)
				}
				b.idle(t)
			})
		})
	}
}

// TestCircleAfterALock: 1. B waits for the lock of b, which another process has, and A's
// creator for B.  2. B gets the lock.  3. Its creator asks for a.
func TestCircleAfterALock(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		b.take("b")
		callB := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
			return b.call(&table, "a").do(ctx).err
		}).start(t.Context())
		callA := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error {
			return b.call(&table, "b").do(ctx).err
		}).start(t.Context())
		waits(t, "A", callA)
		b.giveBack("b")
		want(t, "A", callA, "", flight.ErrRecursive)
		want(t, "B", callB, "", flight.ErrRecursive)
		b.idle(t)
	})
}

// TestNoCircle: waiting that has an end is left alone.
func TestNoCircle(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T, b *backend, table *flight.Table){
		// 1. A's creator asks for b, with a context that ends.  2. B's creator asks for a.
		"a caller that has left": func(t *testing.T, b *backend, table *flight.Table) {
			gate := make(chan struct{})
			callB := b.call(table, "b").creates(func(ctx context.Context, _ []int) error {
				time.Sleep(2 * time.Second)
				return b.call(table, "a").do(ctx).err
			}).start(t.Context())
			callA := b.call(table, "a").creates(func(ctx context.Context, _ []int) error {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if got := b.call(table, "b").do(ctx); !errors.Is(got.err, context.DeadlineExceeded) {
					t.Errorf("the creator got %v, %v", got.values, got.err)
				}
				<-gate
				return nil
			}).start(t.Context())
			time.Sleep(3 * time.Second)
			close(gate)
			want(t, "A", callA, "a=a1", nil)
			want(t, "B", callB, "b=b1", nil)
		},
		// 1. A creates a and c.  2. B wants b, which another process creates, and c.  3. A's
		// creator asks for b: of B's keys that one does not wait for A.
		"another key of a batch": func(t *testing.T, b *backend, table *flight.Table) {
			other := new(flight.Table)
			b.take("b")
			gate := make(chan struct{})
			callA := b.call(table, "a", "c")
			callA.Space = b
			doneA := callA.creates(func(ctx context.Context, _ []int) error {
				<-gate
				c := b.call(other, "b")
				c.Space = b
				return c.do(ctx).err
			}).start(t.Context())
			callB := b.call(other, "b", "c")
			callB.Space = b
			doneB := callB.start(t.Context())
			gate <- struct{}{}
			waits(t, "A", doneA)
			b.set("theirs", 0, "b")
			b.giveBack("b")
			want(t, "A", await(doneA), "a=a1 c=c1", nil)
			want(t, "B", await(doneB), "b=theirs c=c1", nil)
		},
		// 1. B waits for the locks of b and c, which others have.  2. A's creator asks for b,
		// and for x, which another process creates.  3. That of b stores: B goes on with c
		// alone, and its creator asks for a.
		"a flight that has ended": func(t *testing.T, b *backend, table *flight.Table) {
			b.take("b")
			b.take("c")
			b.take("x")
			callB := b.call(table, "b", "c").creates(func(ctx context.Context, _ []int) error {
				return b.call(table, "a").do(ctx).err
			}).start(t.Context())
			callA := b.call(table, "a").creates(func(ctx context.Context, _ []int) error {
				return b.call(table, "b", "x").do(ctx).err
			}).start(t.Context())
			b.set("theirs", 0, "b")
			b.giveBack("b")
			b.giveBack("c")
			time.Sleep(time.Second)
			waits(t, "A", callA)
			waits(t, "B", callB)
			b.set("theirs", 0, "x")
			b.giveBack("x")
			want(t, "A", await(callA), "a=a1", nil)
			want(t, "B", await(callB), "b=theirs c=c1", nil)
		},
		// 1. A's creator asks for b, which is stale, and is given that.  2. A goroutine
		// creates b, and asks for a.
		"a Runner that starts a goroutine": func(t *testing.T, b *backend, table *flight.Table) {
			b.set("old", time.Hour, "b")
			gate := make(chan struct{})
			callA := b.call(table, "a").creates(func(ctx context.Context, _ []int) error {
				c := b.call(table, "b").creates(func(ctx context.Context, _ []int) error {
					return b.call(table, "a").do(ctx).err
				})
				c.Runner = func(task func()) {
					go task()
					time.Sleep(time.Millisecond) // the task is ahead of this goroutine
				}
				got := c.do(ctx)
				<-gate
				return got.err
			}).start(t.Context())
			time.Sleep(time.Second)
			gate <- struct{}{}
			want(t, "A", callA, "a=a1", nil)
			time.Sleep(time.Second)
			if v := b.value("b"); v != "b1" {
				t.Errorf("the goroutine has made %q", v)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				b := newBackend("a", "b", "c", "x")
				b.taking = taking
				test(t, b, new(flight.Table))
				b.idle(t)
			})
		})
	}
}

// TestCircleThroughARunner: the Runner of a stale value runs its creation inside the
// creator that asked, and that creation asks for the creator's own key.
func TestCircleThroughARunner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b")
		b.set("old", time.Hour, "b")
		var inner error
		began := time.Now()
		callA := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error {
			c := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
				inner = b.call(&table, "a").do(ctx).err
				return inner
			})
			c.Runner = func(task func()) { task() }
			got := c.do(ctx)
			if got.values["b"] != "old" {
				t.Errorf("A's creator got %v, %v", got.values, got.err)
			}
			return got.err
		}).start(t.Context())
		want(t, "A", await(callA), "a=a1", nil)
		if took := time.Since(began); took > 100*time.Millisecond || !errors.Is(inner, flight.ErrRecursive) {
			t.Errorf("after %v the creator of b got %v", took, inner)
		}
		b.idle(t)
	})
}

// TestCirclesAtTheSameMoment runs this schedule on as many processors as there are:
//
//  1. Creators of a and b run.
//  2. That of a asks for b. At the same time that of b asks for a.
//  3. Whichever notes second that it waits finds the other one. Never does neither.
//
// A circle that is overlooked has no end here, and the test none either.
func TestCirclesAtTheSameMoment(t *testing.T) {
	t.Parallel()
	for range 300 {
		one := func(int) int { return 0 }
		r := &ring{b: newBackend("a", "b"), table: one, asked: one, keys: [][]string{{"a"}, {"b"}}}
		r.asks = func(ctx context.Context, c *call) error { return c.do(ctx).err }
		var all, done sync.WaitGroup
		for _, c := range []*call{r.call(0, &all), r.call(1, &all)} {
			done.Go(func() {
				if got := c.do(t.Context()); !errors.Is(got.err, flight.ErrRecursive) {
					t.Errorf("%s: got %v, %v", c.Keys[0], got.values, got.err)
				}
			})
		}
		done.Wait()
	}
}
