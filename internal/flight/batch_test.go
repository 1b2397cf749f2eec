package flight_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/flight"
)

type trafficRow struct {
	name    string
	state   string // of a, b and c: - missing, f fresh, s stale
	held    string // keys whose locks another process holds
	change  func(*backend, *call)
	values  string
	err     error
	traffic string // "…" at the end: the locks and the place are given back
}

func rows() []trafficRow {
	const all, won = "read a b c, enter, try a, try b, try c", ", read a b c"
	const stale = "read a b c, enter?, try a, try b, try c"
	fails := func(do func()) func(*backend, *call) {
		return func(_ *backend, c *call) {
			c.creates(func(context.Context, []int) error { do(); return errBroken })
		}
	}
	return []trafficRow{
		{"all fresh", "fff", "abc", nil, "a=old b=old c=old", nil, "read a b c"},
		{"all missing", "---", "", nil, "a=a1 b=b1 c=c1", nil, all + won + ", create a b c, leave, store a b c, …"},
		{"all stale", "sss", "", nil, "a=a1 b=b1 c=c1", nil, stale + won + ", create a b c, leave, store a b c, …"},
		{"one of each", "fs-", "", nil, "a=old b=b1 c=c1", nil, "read a b c, enter, try b, try c, read b c, create b c, leave, store b c, …"},
		{"stale, creator elsewhere", "fss", "bc", nil, "a=old b=old c=old", nil, "read a b c, enter?, try b, try c, …"},
		{"stale, some created elsewhere", "sss", "b", nil, "a=a1 b=old c=c1", nil, stale + ", read a c, create a c, leave, store a c, …"},
		{"stale, deleted before the locks were won", "sss", "", func(b *backend, c *call) {
			c.onEnter(func() { b.delete("a", "b", "c") })
		}, "a=a1 b=b1 c=c1", nil, stale + won + ", create a b c, leave, store a b c, …"},
		{"made elsewhere before the locks were won", "---", "", func(b *backend, c *call) {
			c.onEnter(func() { b.set("theirs", 0, "b") })
		}, "a=a1 b=theirs c=c1", nil, all + won + ", unlock b, create a c, leave, store a c, …"},
		{"all made elsewhere before the locks were won", "--s", "", func(b *backend, c *call) {
			c.onEnter(func() { b.set("theirs", 0, "a", "b", "c") })
		}, "a=theirs b=theirs c=theirs", nil, all + won + ", …"},
		{"creator leaves one out", "---", "", func(_ *backend, c *call) { c.optional().leavesOut("b") }, "a=a1 c=c1", nil, all + won + ", create a b c, leave, unlock b, store a c, …"},
		{"creator leaves all out", "---", "", func(_ *backend, c *call) { c.optional().leavesOut("a", "b", "c") }, "", nil, all + won + ", create a b c, …"},
		{"locks lost before Store", "---", "", func(_ *backend, c *call) {
			c.src.store = func(_ context.Context, at []int, _ []flight.Result[string]) []bool { return make([]bool, len(at)) }
		}, "a=a1 b=b1 c=c1", nil, all + won + ", create a b c, …"},
		{"creator fails", "---", "", fails(func() {}), "", errBroken, all + won + ", …"},
		{"creator fails with stale values", "sss", "", fails(func() {}), "", errBroken, stale + won + ", …"},
		{"creator panics", "---", "", fails(func() { panic(errBroken) }), "", errBroken, all + won + ", …"},
		{"creator calls Goexit", "---", "", fails(runtime.Goexit), "", flight.ErrGoexit, all + won + ", …"},
		{"creator returns too little", "---", "", func(_ *backend, c *call) {
			c.src.create = func(context.Context, []int) ([]flight.Result[string], error) {
				return []flight.Result[string]{{Value: "x", OK: true}}, nil
			}
		}, "", errAny, all + won + ", …"},
		{"Store panics", "---", "", func(_ *backend, c *call) {
			c.src.store = func(context.Context, []int, []flight.Result[string]) []bool { panic(errBroken) }
		}, "", errBroken, all + won + ", create a b c, …"},
		{"Store calls Goexit", "---", "", func(_ *backend, c *call) {
			c.src.store = func(context.Context, []int, []flight.Result[string]) []bool { runtime.Goexit(); return nil }
		}, "", flight.ErrGoexit, all + won + ", create a b c, …"},
		{"read fails after winning", "---", "", func(_ *backend, c *call) { c.failsToReadAgain(func() {}) }, "", errBroken, all + ", …"},
		{"read fails after winning, stale", "sss", "", func(_ *backend, c *call) { c.failsToReadAgain(func() {}) }, "", errBroken, stale + ", …"},
		{"read panics after winning", "---", "", func(_ *backend, c *call) { c.failsToReadAgain(func() { panic(errBroken) }) }, "", errBroken, all + ", …"},
		{"second try fails", "---", "", func(_ *backend, c *call) { c.failsToTry("b", func() {}) }, "", errBroken, "read a b c, enter, try a, …"},
		{"second try panics", "---", "", func(_ *backend, c *call) { c.failsToTry("b", func() { panic(errBroken) }) }, "", errBroken, "read a b c, enter, try a, …"},
		{"second try calls Goexit", "---", "", func(_ *backend, c *call) { c.failsToTry("b", runtime.Goexit) }, "", flight.ErrGoexit, "read a b c, enter, try a, …"},
		{"second try fails alone", "---", "", func(_ *backend, c *call) {
			try := c.src.tryLock
			c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
				if at == 1 {
					return false, &flight.KeyError{Err: errBroken}
				}
				return try(ctx, at)
			}
		}, "", errBroken, "read a b c, enter, try a, try c, read a c, create a c, …"},
		{"one key cannot be read after winning", "---", "", func(_ *backend, c *call) {
			read, first := c.src.read, true
			c.src.read = func(ctx context.Context, at []int) ([]flight.Reading[string], error) {
				readings, err := read(ctx, at)
				if !first {
					readings[1].Err = errBroken
				}
				first = false
				return readings, err
			}
		}, "", errBroken, all + won + ", unlock b, create a c, …"},
		{"no place for stale values", "sfs", "", func(_ *backend, c *call) {
			c.src.enter = func(context.Context, bool) (func(), error) { return nil, nil }
		}, "a=old b=old c=old", nil, "read a b c"},
		{"Enter fails", "---", "", func(_ *backend, c *call) {
			c.src.enter = func(context.Context, bool) (func(), error) { return nil, errBroken }
		}, "", errBroken, "read a b c"},
	}
}

// errAny stands for any error in a row.
var errAny = errors.New("any")

// onEnter has something happen before the call has its place.
func (c *call) onEnter(do func()) {
	enter := c.src.enter
	c.src.enter = func(ctx context.Context, wait bool) (func(), error) { do(); return enter(ctx, wait) }
}

// failsToReadAgain makes every reading but the first fail, after do.
func (c *call) failsToReadAgain(do func()) {
	read, first := c.src.read, true
	c.src.read = func(ctx context.Context, at []int) ([]flight.Reading[string], error) {
		if first {
			first = false
			return read(ctx, at)
		}
		do()
		return nil, errBroken
	}
}

// failsToTry makes the lock of key fail, after do.
func (c *call) failsToTry(key string, do func()) {
	try := c.src.tryLock
	c.src.tryLock = func(ctx context.Context, at int) (bool, error) {
		if c.Keys[at] == key {
			do()
			return false, errBroken
		}
		return try(ctx, at)
	}
}

func TestTraffic(t *testing.T) {
	t.Parallel()
	for _, row := range rows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, row.run)
		})
	}
}

func (row trafficRow) run(t *testing.T) {
	var table flight.Table
	b := newBackend("a", "b", "c")
	for i, key := range []string{"a", "b", "c"} {
		switch row.state[i] {
		case 'f':
			b.set("old", 0, key)
		case 's':
			b.set("old", time.Hour, key)
		}
	}
	for _, key := range row.held {
		b.take(string(key))
	}
	c := b.call(&table, "a", "b", "c")
	if row.change != nil {
		row.change(b, c)
	}
	got := c.do(t.Context())
	if row.err == errAny {
		row.err = got.err
	}
	if !errors.Is(got.err, row.err) || row.err == nil && !maps.Equal(got.values, parse(row.values)) {
		t.Errorf("Do = %v, %v; want %q, %v", got.values, got.err, row.values, row.err)
	}
	for _, key := range row.held {
		b.giveBack(string(key))
	}
	b.idle(t)
	log := b.traffic()
	before, open := strings.CutSuffix(row.traffic, "…")
	rest, same := strings.CutPrefix(log, before)
	switch {
	case !open:
		same = log == row.traffic
	case strings.Count(log, "leave") != 1 || strings.Contains(rest, "read") || strings.Contains(rest, "create"):
		same = false
	}
	if !same {
		t.Errorf("traffic is %q, want %q", log, row.traffic)
	}
}

func TestNoKeys(t *testing.T) {
	t.Parallel()
	got, err := (&flight.Call[int]{Table: new(flight.Table)}).Do(t.Context(), nil)
	if len(got) != 0 || err != nil {
		t.Errorf("Do = %v, %v", got, err)
	}
}

func TestKeysOfOthersAreWaitedFor(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process makes b and d, which takes a second.  2. A wants a to d: it
		// creates a and c, and gives their locks back.  3. b appears, d does not: its
		// creator failed.  4. A creates d.
		var table flight.Table
		b := newBackend("a", "b", "c", "d")
		b.taking = taking
		b.take("b", "d")
		a := b.call(&table, "a", "b", "c", "d").start(t.Context())
		if v := b.value("a") + b.value("c"); v != "a1c1" {
			t.Errorf("%q is stored while A waits", v)
		}
		b.take("a", "c")
		b.giveBack("a", "c")
		time.Sleep(time.Second)
		b.set("theirs", 0, "b")
		b.giveBack("b", "d")
		want(t, "A", a, "a=a1 b=theirs c=c1 d=d1", nil)
		b.idle(t)
	})
}

func TestWaitingTakesNoPlace(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		// 1. Another process makes a and renews b.  2. A wants both. It gives its place
		// back while it waits for a, and has everybody back off from b.
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		b.set("old", time.Hour, "b")
		b.take("a", "b")
		a := b.call(&table, "a", "b").start(t.Context())
		if in, out := b.count("enter"), b.count("leave"); in != 1 || out != 1 {
			t.Errorf("%d times entered, %d times left", in, out)
		}
		if table.BackingOff("a") || !table.BackingOff("b") {
			t.Errorf("backing off: a %v, b %v", table.BackingOff("a"), table.BackingOff("b"))
		}
		b.set("theirs", 0, "a")
		b.giveBack("a")
		want(t, "A", a, "a=theirs b=old", nil)
		b.giveBack("b")
		b.idle(t)
	})
}

func TestOverlappingCallsShareFlights(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a, alone.  2. B wants a, b and c: waits for A's a, creates b and
		// c.  3. C wants c: waits for B's.  4. D wants b and a: waits for both.
		// 5. A is done, then B.
		var table flight.Table
		b := newBackend("a", "b", "c")
		gateA, gateB := make(chan struct{}), make(chan struct{})
		callA := b.call(&table, "a").gated(gateA).start(t.Context())
		callB := b.call(&table, "a", "b", "c").gated(gateB).start(t.Context())
		callC := b.call(&table, "c").start(t.Context())
		callD := b.call(&table, "b", "a").start(t.Context())
		close(gateA)
		want(t, "A", callA, "a=a1", nil)
		waits(t, "C", callC)
		close(gateB)
		want(t, "B", callB, "a=a1 b=b1 c=c1", nil)
		want(t, "C", callC, "c=c1", nil)
		want(t, "D", callD, "a=a1 b=b1", nil)
		if got := b.creations("a", "b", "c"); got != "a1 b1 c1" {
			t.Errorf("creations: %s", got)
		}
		b.idle(t)
	})
}

func TestStaleValuesAreServedDuringTheirCreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A renews a.  2. B wants a and b: it gets a's stale value and creates b,
		// without waiting for A.
		var table flight.Table
		b := newBackend("a", "b")
		b.set("old", time.Hour, "a")
		gate := make(chan struct{})
		a := b.call(&table, "a").gated(gate).start(t.Context())
		want(t, "B", b.call(&table, "a", "b").start(t.Context()), "a=old b=b1", nil)
		close(gate)
		want(t, "A", a, "a=a1", nil)
		b.idle(t)
	})
}

func TestCallerThatLeavesTakesOnlyItselfAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a, B waits for a.  2. A's context ends: A is gone at once, its
		// creation is not.
		var table flight.Table
		b := newBackend("a")
		ctx, cancel := context.WithCancel(t.Context())
		a := b.call(&table, "a").creates(func(ctx context.Context, _ []int) error {
			time.Sleep(time.Second)
			return ctx.Err()
		}).start(ctx)
		waiter := b.call(&table, "a").start(t.Context())
		cancel()
		want(t, "A", a, "", context.Canceled)
		time.Sleep(time.Second)
		want(t, "B", waiter, "a=a1", nil)
		want(t, "C, which has left, for a fresh value", b.call(&table, "a").start(ctx), "a=a1", nil)
		b.delete("a")
		want(t, "C, which has left, for a missing value", b.call(&table, "a").start(ctx), "", context.Canceled)
		if n := b.creations("a"); n != "a1" {
			t.Errorf("creations: %s; one of them for a caller that has left", n)
		}
		b.idle(t)
	})
}

func TestKeysThatWaitMayBeAskedForByTheCreator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process makes b.  2. A wants a and b: its creator is asked for a
		// alone, and may ask for b.
		var table flight.Table
		b := newBackend("a", "b")
		b.take("b")
		a := b.call(&table, "a", "b").creates(func(ctx context.Context, _ []int) error {
			if got := b.call(&table, "b").do(ctx); got.err != nil {
				return fmt.Errorf("b: %w", got.err)
			}
			return nil
		}).start(t.Context())
		b.set("theirs", 0, "b")
		b.giveBack("b")
		want(t, "A", a, "a=a1 b=theirs", nil)
		b.idle(t)
	})
}

// TestHeldLocksAreNotTriedAgain: 1. A waits for a lock, and takes it by that.  2. The
// value is deleted, which revokes the lock, and is forgotten.  3. A goes on without the
// lock: another one would never be given back.
func TestHeldLocksAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table flight.Table
		b := newBackend("k")
		b.taking = true
		b.take("k")
		c := b.call(&table, "k")
		a := c.start(t.Context())
		c.onEnter(func() {
			b.delete("k")
			table.Forget("k")
		})
		b.giveBack("k")
		want(t, "A", a, "k=k1", nil)
		if n := b.count("try k"); n != 1 {
			t.Errorf("%d tries", n)
		}
		b.idle(t)
	})
}

// TestLateCallersOfAReading: 1. A waits for another process.  2. That is done; A's
// flight reads "theirs", slowly.  3. Somebody deletes it.  4. B finds nothing and joins.
// 5. A's reading returns: B must not get "theirs", be it fresh or stale.
func TestLateCallersOfAReading(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"fresh": 0, "stale": time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, taking bool) {
				var table flight.Table
				b := newBackend("k")
				b.taking = taking
				b.take("k")
				c := b.call(&table, "k")
				callA := c.start(t.Context())
				read, gate := c.src.read, make(chan struct{})
				c.src.read = func(ctx context.Context, at []int) ([]flight.Reading[string], error) {
					readings, err := read(ctx, at)
					<-gate
					return readings, err
				}
				b.set("theirs", age, "k")
				b.giveBack("k")
				synctest.Wait()
				b.delete("k")
				callB := b.call(&table, "k").start(t.Context())
				waits(t, "B", callB)
				close(gate)
				synctest.Wait()
				if got := <-callB; got.err != nil || got.values["k"] == "theirs" {
					t.Errorf("B got %v, %v", got.values, got.err)
				}
				if got := <-callA; got.err != nil {
					t.Errorf("A got %v", got.err)
				}
				b.idle(t)
			})
		})
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"creator heeds its context": true, "creator does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var table flight.Table
				b := newBackend("a", "b")
				slow := b.call(&table, "a", "b").creates(func(ctx context.Context, _ []int) error {
					done := ctx.Done()
					if !heeds {
						done = nil
					}
					select {
					case <-done:
						return ctx.Err()
					case <-time.After(time.Minute):
						return nil
					}
				})
				slow.Timeout = time.Second
				a := slow.start(t.Context())
				joinedA, joinedB := b.call(&table, "a").start(t.Context()), b.call(&table, "b").start(t.Context())
				time.Sleep(time.Second)
				want(t, "A", a, "", flight.ErrTimeout)
				want(t, "B", joinedA, "", flight.ErrTimeout)
				want(t, "C", joinedB, "", flight.ErrTimeout)
				want(t, "next", b.call(&table, "a", "b").start(t.Context()), map[bool]string{
					true: "a=a1 b=b1", false: "a=a1 b=b1"}[heeds], nil)
				time.Sleep(time.Hour)
				if v := b.value("a") + b.value("b"); v != "a1b1" {
					t.Errorf("%q is stored at the end", v)
				}
				b.idle(t)
			})
		})
	}
}

func TestWaitingTimesOut(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, taking bool) {
		var table flight.Table
		b := newBackend("a", "b")
		b.taking = taking
		b.take("a", "b")
		c := b.call(&table, "a", "b")
		c.Timeout = time.Second
		a := c.start(t.Context())
		time.Sleep(time.Second)
		want(t, "A", a, "", flight.ErrTimeout)
		if n := table.Running(); n != 0 {
			t.Errorf("%d groups left", n)
		}
		b.giveBack("a", "b")
		b.idle(t)
	})
}
