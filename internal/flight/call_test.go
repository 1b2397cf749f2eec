package flight_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

func TestRenew(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(*backend){
		"fresh":   func(b *backend) { b.set("old", 0, "a", "b") },
		"stale":   func(b *backend) { b.set("old", time.Hour, "a", "b") },
		"missing": func(*backend) {},
		"mixed":   func(b *backend) { b.set("old", 0, "a") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				state(b)
				c := b.call(&table, "a", "b").renewing()
				c.Runner = func(func()) { t.Error("the Runner was asked") }
				want(t, "A", c.start(t.Context()), "a=a1 b=b1", nil)
				if v := b.value("a") + b.value("b"); v != "a1b1" {
					t.Errorf("stored %q", v)
				}
				c.creates(func(context.Context, []int) error { return errBroken })
				want(t, "B", c.start(t.Context()), "", errBroken)
				if v := b.value("a") + b.value("b"); v != "a1b1" {
					t.Errorf("stored %q after a failure", v)
				}
				b.idle(t)
			})
		})
	}
}

func TestRenewersTakeNoCreationThatHasBegun(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. A creates a and b.  2. B and C renew them: both wait, together.  3. A is
		// done.  4. B's flights create.  5. D renews a: that creation has begun, D needs
		// another.
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		gate := make(chan struct{})
		callA := b.call(&table, "a", "b").gated(gate).start(t.Context())
		callB := b.call(&table, "a", "b").renewing().gated(gate).start(t.Context())
		callC := b.call(&table, "b", "a").renewing().gated(gate).start(t.Context())
		gate <- struct{}{}
		want(t, "A", callA, "a=a1 b=b1", nil)
		waits(t, "B", callB)
		callD := b.call(&table, "a").renewing().gated(gate).start(t.Context())
		gate <- struct{}{}
		want(t, "B", callB, "a=a2 b=b2", nil)
		want(t, "C", callC, "a=a2 b=b2", nil)
		waits(t, "D", callD)
		gate <- struct{}{}
		want(t, "D", callD, "a=a3", nil)
		b.idle(t)
	})
}

func TestRenewersDoNotShareWithOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process creates; A waits for it.  2. B wants a new value, and must
		// not join A, whose flight may end with the other's.  3. It does.
		var table flight.Table
		b := newBackend("k")
		b.taking = taking
		b.take("k")
		callA, callB := b.call(&table, "k").start(t.Context()), b.call(&table, "k").renewing().start(t.Context())
		b.set("theirs", 0, "k")
		b.giveBack("k")
		want(t, "B", callB, "k=k1", nil)
		if got := <-callA; got.err != nil || got.values["k"] != "theirs" && got.values["k"] != "k1" {
			t.Errorf("A got %v, %v", got.values, got.err)
		}
		b.idle(t)
	})
}

// TestOneCreatorInAProcess: two flights of one key never create at the same time in
// one process, whatever the Source's locks say; see Table.holders. The rows are pairs
// of callers that do not share a flight.
func TestOneCreatorInAProcess(t *testing.T) {
	t.Parallel()
	plain := func(*backend, *call) {}
	renews := func(_ *backend, c *call) { c.renewing() }
	cannotRead := func(_ *backend, c *call) { c.offline() }
	for _, row := range []struct {
		name          string
		first, second func(*backend, *call)
	}{
		{"two versions", plain, func(b *backend, _ *call) { b.invalidate() }},
		{"a renewer after another caller", plain, renews},
		{"two renewers", renews, renews},
		{"another caller after a renewer", renews, plain},
		{"a caller that cannot read", plain, cannotRead},
		{"a caller that can read", cannotRead, plain},
		{"a renewer and a caller that cannot read", renews, cannotRead},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				// 1. A creates a and b, B creates c.  2. C wants all three, and waits for
				// A and B, although the Source would grant the locks.  3. A is done.  C may
				// create a and b now.  4. B is done.
				var table flight.Table
				b := newBackend("a", "b", "c")
				b.taking = taking
				creators := make(map[string]*most)
				for _, key := range []string{"a", "b", "c"} {
					creators[key] = new(most)
				}
				ungated := func(c *call) *call { // the Source excludes nobody
					c.src.tryLock = func(context.Context, int) (bool, error) { return true, nil }
					c.src.unlock = func(int) {}
					return c.creates(func(_ context.Context, at []int) error {
						for _, i := range at {
							defer creators[c.Keys[i]].enter()()
						}
						time.Sleep(time.Second)
						return nil
					})
				}
				var callers []chan results
				start := func(how func(*backend, *call), keys ...string) {
					c := ungated(b.call(&table, keys...))
					how(b, c)
					callers = append(callers, c.start(t.Context()))
				}
				start(row.first, "a", "b")
				time.Sleep(time.Second / 2)
				start(row.first, "c")
				start(row.second, "c", "b", "a")
				time.Sleep(time.Minute)
				for i, c := range callers {
					if len(c) == 0 {
						t.Errorf("caller %d still waits", i)
					} else if got := <-c; got.err != nil {
						t.Errorf("caller %d: %v", i, got.err)
					}
				}
				for key, m := range creators {
					if m.max.Load() != 1 {
						t.Errorf("%d creators of %s at once", m.max.Load(), key)
					}
				}
				b.idle(t)
			})
		})
	}
}

// TestOneCreatorInAProcessWhereWaitingTakesTheLock: 1. Another process holds the lock;
// A waits for it.  2. The Source breaks down, and from now on grants every lock.
// 3. B, a renewer, takes the lock and creates.  4. A is granted the lock as well: it
// gives it back, and waits until B is done.
func TestOneCreatorInAProcessWhereWaitingTakesTheLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.take("k")
		broken := make(chan struct{})
		var creators most
		breaks := func(c *call) *call {
			try := c.src.tryLock
			c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
				select {
				case <-broken:
					return true, nil
				default:
					return try(ctx, at)
				}
			}
			c.src.wait = func(context.Context, int) (bool, error) {
				<-broken
				time.Sleep(time.Second)
				return true, nil
			}
			return c.creates(func(context.Context, []int) error {
				defer creators.enter()()
				time.Sleep(5 * time.Second)
				return nil
			})
		}
		callA := breaks(b.call(&table, "k")).start(t.Context())
		close(broken)
		callB := breaks(b.call(&table, "k").renewing()).start(t.Context())
		time.Sleep(time.Minute)
		want(t, "B", callB, "k=k1", nil)
		want(t, "A", callA, "k=k2", nil)
		if creators.max.Load() != 1 {
			t.Errorf("%d creators at once", creators.max.Load())
		}
		b.giveBack("k")
		b.idle(t)
	})
}

// TestTheSourcesLockIsGivenBackFirst: a flight that waits within the process finds the
// Source's lock free.
func TestTheSourcesLockIsGivenBackFirst(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"created": nil, "failed": errBroken} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				// 1. A creates, B, a renewer, waits for A.  2. A is done, and gives the lock
				// back, which takes a second.  3. B tries it, once.
				var table flight.Table
				b := newBackend("k")
				b.taking = taking
				gate := make(chan struct{})
				callA := b.call(&table, "k").slowToUnlock().creates(func(context.Context, []int) error { <-gate; return fail }).start(t.Context())
				callB := b.call(&table, "k").renewing().start(t.Context())
				close(gate)
				time.Sleep(time.Second / 2)
				waits(t, "B", callB)
				time.Sleep(time.Second / 2)
				want(t, "B", callB, map[error]string{nil: "k=k2", errBroken: "k=k1"}[fail], nil)
				want(t, "A", callA, "k=k1", fail)
				if tries, waits := b.count("try k"), b.count("wait k"); tries != 2 || waits != 0 {
					t.Errorf("%d tries, %d waits; traffic %q", tries, waits, b.traffic())
				}
				b.idle(t)
			})
		})
	}
}

func TestForgetEndsTheLockWithinTheProcess(t *testing.T) {
	t.Parallel()
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// 1. A creates, and B, of another version, waits for A.  2. Forget, because
				// the value was deleted. The lock at the backend is revoked.  3. B creates; C,
				// which came later, waits for B.  4. A ends: that does not free the lock of B,
				// and D, a renewer, waits too.  5. B is done.  D creates, C reads.
				var table flight.Table
				b := newBackend("k")
				gates := []chan struct{}{make(chan struct{}), make(chan struct{})}
				callA := b.call(&table, "k").gated(gates[0]).start(t.Context())
				b.invalidate()
				callB := b.call(&table, "k").gated(gates[1]).start(t.Context())
				b.delete("k")
				forget(&table)
				synctest.Wait()
				callC := b.call(&table, "k").gated(gates[1]).start(t.Context())
				close(gates[0])
				want(t, "A", callA, "k=k1", nil)
				waits(t, "B", callB)
				waits(t, "C", callC)
				callD := b.call(&table, "k").renewing().start(t.Context())
				waits(t, "D", callD)
				close(gates[1])
				want(t, "B", callB, "k=k2", nil)
				want(t, "D", callD, "k=k3", nil)
				if got := <-callC; got.err != nil || got.values["k"] < "k2" {
					t.Errorf("C got %v, %v", got.values, got.err)
				}
				b.idle(t)
			})
		})
	}
}

// TestForgetWhileStoring: 1. A stores, which hangs.  2. The value is deleted, which takes
// A's lock away, and forgotten.  3. B creates at once.
func TestForgetWhileStoring(t *testing.T) {
	t.Parallel()
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("k")
				gate := make(chan struct{})
				c := b.call(&table, "k")
				c.src.store = func(context.Context, []int, []flight.Result[string]) []bool { <-gate; return []bool{false} }
				callA := c.start(t.Context())
				b.delete("k")
				forget(&table)
				want(t, "B", b.call(&table, "k").start(t.Context()), "k=k2", nil)
				close(gate)
				want(t, "A", callA, "k=k1", nil)
				b.idle(t)
			})
		})
	}
}

func TestVersionsSeparateFlights(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. A starts a flight for version 1.  2. The version becomes 2.  3. B must not
		// join A's flight; C may join B's.  4. A is done: its value is of version 1.
		// 5. B and C get what B makes.
		var table flight.Table
		b := newBackend("k")
		b.taking = taking
		gate := make(chan struct{})
		slow := b.call(&table, "k").gated(gate)
		slow.src.store = func(context.Context, []int, []flight.Result[string]) []bool { return []bool{true} }
		callA := slow.start(t.Context())
		b.invalidate()
		callB, callC := b.call(&table, "k").gated(gate).start(t.Context()), b.call(&table, "k").start(t.Context())
		gate <- struct{}{}
		want(t, "A", callA, "k=k1", nil)
		waits(t, "B", callB)
		gate <- struct{}{}
		want(t, "B", callB, "k=k2", nil)
		want(t, "C", callC, "k=k2", nil)
		b.idle(t)
	})
}

// TestCallersThatCannotReadShareTheNextCreation: one runs, one waits, and all that come
// meanwhile join the one that waits.
func TestCallersThatCannotReadShareTheNextCreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. The backend is gone; A creates.  2. Ten others call.  3. A is done: one of
		// the ten creates.  4. It is done, and all ten have its value.
		var table flight.Table
		b := newBackend("k")
		var creators most
		call := func() *call {
			return b.call(&table, "k").offline().creates(func(context.Context, []int) error {
				defer creators.enter()()
				time.Sleep(time.Second)
				return nil
			})
		}
		a := call().start(t.Context())
		var later []chan results
		for range 10 {
			later = append(later, call().start(t.Context()))
		}
		time.Sleep(time.Second)
		want(t, "A", a, "k=k1", nil)
		for i, c := range later {
			waits(t, fmt.Sprint("caller ", i), c)
		}
		time.Sleep(time.Second)
		for i, c := range later {
			want(t, fmt.Sprint("caller ", i), c, "k=k2", nil)
		}
		if n := b.creators(); n != 2 || creators.max.Load() != 1 {
			t.Errorf("%d creations, %d at once; want 2, one after the other", n, creators.max.Load())
		}
		b.idle(t)
	})
}

// TestCallersThatCannotReadDoNotShareAFailure: of a creation that had begun when they
// called.
func TestCallersThatCannotReadDoNotShareAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates; B, which cannot read, waits for it.  2. A fails, and B creates.
		// 3. C and D call, and cannot read either.  4. B fails: that is no error of C and
		// D.  5. They share a creation of their own.
		var table flight.Table
		b := newBackend("k")
		gate := make(chan struct{})
		fails := func(c *call) *call { return c.creates(func(context.Context, []int) error { <-gate; return errBroken }) }
		callA := fails(b.call(&table, "k")).start(t.Context())
		callB := fails(b.call(&table, "k").offline()).start(t.Context())
		gate <- struct{}{}
		want(t, "A", callA, "", errBroken)
		callC, callD := b.call(&table, "k").offline().start(t.Context()), b.call(&table, "k").offline().start(t.Context())
		waits(t, "C", callC)
		gate <- struct{}{}
		want(t, "B", callB, "", errBroken)
		want(t, "C", callC, "k=k1", nil)
		want(t, "D", callD, "k=k1", nil)
		if n := b.creators(); n != 1 {
			t.Errorf("%d creations, want one for C and D", n)
		}
		b.idle(t)
	})
}

// TestDeletedElsewhereWhileNobodyCanRead: a process that cannot read does not hand out
// a value that was begun before another process's delete returned.
func TestDeletedElsewhereWhileNobodyCanRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A cannot read; its creator reads the origin: "old".  2. The origin changes,
		// and another process deletes the key. That does not reach A.  3. B calls, and
		// cannot read.  4. A ends.  5. B has its own creation.
		var table flight.Table
		b := newBackend("k")
		origin := "old"
		gate := make(chan struct{})
		call := func() *call {
			c := b.call(&table, "k").offline()
			c.src.create = func(context.Context, []int) ([]flight.Result[string], error) {
				v := origin
				<-gate
				return []flight.Result[string]{{Value: v, OK: true}}, nil
			}
			return c
		}
		callA := call().start(t.Context())
		origin = "new"
		callB := call().start(t.Context())
		waits(t, "B", callB)
		close(gate)
		want(t, "A", callA, "k=old", nil)
		want(t, "B", callB, "k=new", nil)
		b.idle(t)
	})
}

// TestCallersThatCannotReadDoNotJoinOthers: not even what has not begun, because it will
// be judged by a version that may have been replaced before the caller called.
func TestCallersThatCannotReadDoNotJoinOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process holds the lock; A and B, of two versions, wait for it.
		// 2. C, which cannot read, creates by itself.  3. The lock is free.
		var table flight.Table
		b := newBackend("k")
		b.taking = taking
		b.take("k")
		callA := b.call(&table, "k").start(t.Context())
		b.invalidate()
		callB := b.call(&table, "k").start(t.Context())
		callC := b.call(&table, "k").offline().start(t.Context())
		want(t, "C", callC, "k=k1", nil)
		b.giveBack("k")
		for _, call := range []chan results{callA, callB} {
			if got := <-call; got.err != nil {
				t.Error(got.err)
			}
		}
		if n := b.count("create k"); n != 2 {
			t.Errorf("%d creations, want one by a caller that can read and one by one that cannot", n)
		}
		b.idle(t)
	})
}

// TestCallersThatCanReadDoNotJoinOthers: they know of a version, and the others of
// none.
func TestCallersThatCanReadDoNotJoinOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		gate := make(chan struct{})
		callA := b.call(&table, "k").offline().gated(gate).start(t.Context())
		callB, callC := b.call(&table, "k").start(t.Context()), b.call(&table, "k").start(t.Context())
		close(gate)
		want(t, "A", callA, "k=k1", nil)
		want(t, "B", callB, "k=k2", nil)
		want(t, "C", callC, "k=k2", nil)
		b.idle(t)
	})
}

// TestLeftOut: a creator may leave a key out, and what that means to the callers.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		late     bool // B calls when A's creator has begun
		optional bool // B can do without the key
		finds    bool // B's own creator has it
		values   string
		creators int // at most
	}{
		{"in time, optional", false, true, true, "", 1},
		{"in time, not optional", false, false, true, "b=b2", 2},
		{"late, optional", true, true, true, "b=b2", 2},
		{"late, optional, its own creator leaves it out too", true, true, false, "", 3},
		{"late, not optional", true, false, true, "b=b2", 2},
		{"not optional, its own creator leaves it out too", false, false, false, "", 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				// 1. Another process holds the locks; A, which wants a and b, waits.
				// 2. B and C call for b, or later.  3. The locks are free; A creates, and
				// leaves b out.  4. B and C call for b, if they have not.  5. A is done.
				var table flight.Table
				b := newBackend("a", "b")
				b.taking = taking
				b.take("a", "b")
				gate := make(chan struct{})
				callA := b.call(&table, "a", "b").optional().leavesOut("b").gated(gate).start(t.Context())
				var callB, callC chan results
				call := func() {
					c := b.call(&table, "b")
					c.Optional = row.optional
					if !row.finds {
						c.leavesOut("b")
					}
					callB, callC = c.start(t.Context()), c.start(t.Context())
				}
				if !row.late {
					call()
				}
				b.giveBack("a", "b")
				time.Sleep(time.Second)
				if row.late {
					call()
				}
				close(gate)
				want(t, "A", callA, "a=a1", nil)
				want(t, "B", callB, row.values, nil)
				want(t, "C", callC, row.values, nil)
				if n := b.creators(); n > row.creators {
					t.Errorf("%d creations, want at most %d", n, row.creators)
				}
				b.idle(t)
			})
		})
	}
}

// TestUnshared: nobody shares the creation of a caller that shares nothing, and it waits for
// nobody in its process.
func TestUnshared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k", "j")
		gate := make(chan struct{})
		call := func(unshared bool) *call {
			c := b.call(&table, "k", "j").gated(gate)
			c.Unshared = unshared
			c.src.tryLock = func(context.Context, int) (bool, error) { return true, nil }
			c.src.store = func(_ context.Context, at []int, _ []flight.Result[string]) []bool { return slicesOf(true, len(at)) }
			return c
		}
		var callers []chan results
		for i := range 4 {
			callers = append(callers, call(i != 1).start(t.Context()))
		}
		joined := call(false).start(t.Context())
		if n := b.creators(); n != 0 || table.Running() != 4 {
			t.Errorf("%d groups, want 4", table.Running())
		}
		close(gate)
		seen := make(map[string]bool)
		synctest.Wait()
		for i, c := range callers {
			got := <-c
			if got.err != nil || len(got.values) != 2 {
				t.Errorf("caller %d: %v, %v", i, got.values, got.err)
			}
			seen[got.values["k"]+got.values["j"]] = true
		}
		if got := <-joined; len(seen) != 4 || !seen[got.values["k"]+got.values["j"]] {
			t.Errorf("%d values, want 4; the caller that has joined got %v", len(seen), got.values)
		}
		b.idle(t)
	})
}

func TestUnsharedIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A is unshared, and creates.  2. Close gives up: A is freed.  3. B comes.
		var table flight.Table
		b := newBackend("k")
		c := b.call(&table, "k").creates(func(ctx context.Context, _ []int) error { <-ctx.Done(); return ctx.Err() })
		c.Unshared = true
		a := c.start(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := table.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		want(t, "A", a, "", flight.ErrClosed)
		want(t, "B", c.start(t.Context()), "", flight.ErrClosed)
		b.idle(t)
	})
}

func TestRecursion(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		state string // of a and b: - missing, f fresh, s stale
		asks  func(b *backend, table *flight.Table) *call
		err   error
	}{
		{"itself", "--", func(b *backend, table *flight.Table) *call { return b.call(table, "a") }, flight.ErrRecursive},
		{"itself among others", "--", func(b *backend, table *flight.Table) *call { return b.call(table, "c", "b") }, flight.ErrRecursive},
		{"itself, to renew", "--", func(b *backend, table *flight.Table) *call { return b.call(table, "a").renewing() }, flight.ErrRecursive},
		{"itself, while it is stale", "ss", func(b *backend, table *flight.Table) *call { return b.call(table, "a") }, flight.ErrRecursive},
		{"itself, while it is fresh", "ff", func(b *backend, table *flight.Table) *call { return b.call(table, "a") }, nil},
		{"another", "--", func(b *backend, table *flight.Table) *call { return b.call(table, "c") }, nil},
		{"itself, through another", "--", func(b *backend, table *flight.Table) *call {
			return b.call(table, "c").creates(func(ctx context.Context, _ []int) error { return b.call(table, "b").do(ctx).err })
		}, flight.ErrRecursive},
		{"its key in another table", "--", func(b *backend, _ *flight.Table) *call {
			c := b.call(new(flight.Table), "a")
			c.src.tryLock = func(context.Context, int) (bool, error) { return true, nil }
			return c
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b", "c")
				for i, key := range []string{"a", "b"} {
					switch row.state[i] {
					case 'f':
						b.set("old", 0, key)
					case 's':
						b.set("old", time.Hour, key)
					}
				}
				c := b.call(&table, "a", "b").creates(func(ctx context.Context, _ []int) error { return row.asks(b, &table).do(ctx).err })
				c.Renew = strings.Contains(row.state, "f")
				if got := c.do(t.Context()); !errors.Is(got.err, row.err) {
					t.Errorf("Do = %v, want %v", got.err, row.err)
				}
				b.idle(t)
			})
		})
	}
}

// TestRecursionStartsNothing: a caller that gets ErrRecursive, or whose context has
// ended, has not started a flight that others could have joined.
func TestRecursionStartsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("a", "b", "c")
		a := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
			return b.call(&table, "a", "b", "c").do(ctx).err
		}).start(t.Context())
		want(t, "A", a, "", flight.ErrRecursive)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		want(t, "B", b.call(&table, "a", "b").start(ctx), "", context.Canceled)
		if n := b.creators(); n != 0 || b.count("try a") != 0 {
			t.Errorf("traffic %q", b.traffic())
		}
		b.idle(t)
	})
}

// TestRecursionEndsWithTheWaiting: a creation that a Runner makes in the background is
// no part of the creation that found the stale value.
func TestRecursionEndsWithTheWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A's creator, for a, reads b, which is stale: it gets the stale value, and
		// b's creation goes on in the background.  2. A is done.  3. a is deleted.
		// 4. b's creator reads a: it may, since a does not wait for b.
		var table flight.Table
		b := newBackend("a", "b")
		b.set("old", time.Hour, "b")
		gate := make(chan struct{})
		var inner error
		renewB := b.call(&table, "b").creates(func(ctx context.Context, _ []int) error {
			<-gate
			inner = b.call(&table, "a").do(ctx).err
			return inner
		})
		renewB.Runner = func(task func()) { go task() }
		a := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error { return renewB.do(ctx).err }).start(t.Context())
		want(t, "A", a, "a=a1", nil)
		b.delete("a")
		close(gate)
		synctest.Wait()
		if inner != nil || b.value("b") != "b1" {
			t.Errorf("b's creator got %v; b is %q", inner, b.value("b"))
		}
		b.idle(t)
	})
}

// TestNobodyGetsAnothersStaleValue: 1. A finds a stale value and tries the lock, which
// another process has; the answer takes a second.  2. Meanwhile the value is deleted.
// 3. B finds nothing and joins.  4. The lock is refused: A goes on with the stale
// value, B must not.
func TestNobodyGetsAnothersStaleValue(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		var table flight.Table
		b := newBackend("k")
		b.taking = taking
		b.set("old", time.Hour, "k")
		c := b.call(&table, "k")
		try := c.src.tryLock
		c.src.tryLock = func(ctx context.Context, at int) (bool, error) { time.Sleep(time.Second); return try(ctx, at) }
		callA := c.start(t.Context())
		b.delete("k")
		b.take("k")
		callB := b.call(&table, "k").start(t.Context())
		time.Sleep(time.Second)
		want(t, "A", callA, "k=old", nil)
		time.Sleep(time.Second)
		waits(t, "B", callB)
		b.giveBack("k")
		want(t, "B", callB, "k=k1", nil)
		b.idle(t)
	})
}

// TestStaleAfterWaiting: 1. Another process holds the lock; A and B wait for its value.
// 2. It gives the lock back: there is a value, but it is stale already.  3. B, which
// joined A's flight, returns it. A is the one to renew it.
func TestStaleAfterWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.take("k")
		callA, callB := b.call(&table, "k").start(t.Context()), b.call(&table, "k").start(t.Context())
		b.set("theirs", time.Hour, "k")
		b.giveBack("k")
		want(t, "A", callA, "k=k1", nil)
		want(t, "B", callB, "k=theirs", nil)
		b.idle(t)
	})
}
