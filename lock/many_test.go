package lock_test

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

	"github.com/dogpile-go/dogpile/lock"
)

type manyRow struct {
	name    string
	state   string // of a, b and c: - missing, f fresh, s stale
	held    string // keys whose locks another holds
	change  func(*shelf, *lock.Many[string])
	vals    string
	err     error
	traffic string // "…" at the end: the locks are given back
}

func manyRows() []manyRow {
	const all, won = "read a b c, enter, try a, try b, try c", ", read a b c"
	fails := func(v any) func(*shelf, *lock.Many[string]) {
		return func(_ *shelf, m *lock.Many[string]) {
			m.Create = func(context.Context, []int) ([]string, []bool, error) {
				switch v := v.(type) {
				case error:
					return nil, nil, v
				case string:
					panic(errBroken)
				}
				runtime.Goexit()
				return nil, nil, nil
			}
		}
	}
	return []manyRow{
		{"all fresh", "fff", "abc", nil, "a=old b=old c=old", nil, "read a b c"},
		{"all missing", "---", "", nil, "a=a1 b=b1 c=c1", nil, all + won + ", create a b c, leave, store a b c, …"},
		{"all stale", "sss", "", nil, "a=a1 b=b1 c=c1", nil, "read a b c, enter?, try a, try b, try c" + won + ", create a b c, leave, store a b c, …"},
		{"one of each", "fs-", "", nil, "a=old b=b1 c=c1", nil, "read a b c, enter, try b, try c, read b c, create b c, leave, store b c, …"},
		{"stale, creator elsewhere", "fss", "bc", nil, "a=old b=old c=old", nil, "read a b c, enter?, try b, try c, …"},
		{"stale, some created elsewhere", "sss", "b", nil, "a=a1 b=old c=c1", nil, "read a b c, enter?, try a, try b, try c, read a c, create a c, leave, store a c, …"},
		{"made elsewhere before the locks were won", "---", "", func(sh *shelf, m *lock.Many[string]) { madeElsewhere(sh, m, "ac") }, "a=theirs b=b1 c=theirs", nil, all + won + ", unlock a, unlock c, create b, leave, store b, …"},
		{"all made elsewhere before the locks were won", "s-s", "", func(sh *shelf, m *lock.Many[string]) { madeElsewhere(sh, m, "abc") }, "a=theirs b=theirs c=theirs", nil, all + won + ", …"},
		{"creator leaves some out", "---", "", func(_ *shelf, m *lock.Many[string]) { leavesOut(m, 1) }, "a=a1 c=c1", nil, all + won + ", create a b c, leave, store a c, …"},
		{"creator leaves all out", "---", "", func(_ *shelf, m *lock.Many[string]) { leavesOut(m, 0, 1, 2) }, "", nil, all + won + ", create a b c, …"},
		{"locks lost before Store", "---", "", func(sh *shelf, m *lock.Many[string]) { storeLoses(m) }, "a=a1 b=b1 c=c1", nil, all + won + ", create a b c, …"},
		{"creator fails", "---", "", fails(errBroken), "", errBroken, all + won + ", …"},
		{"creator fails with stale values", "sss", "", fails(errBroken), "", errBroken, "read a b c, enter?, try a, try b, try c" + won + ", …"},
		{"creator panics", "---", "", fails("panic"), "", errBroken, all + won + ", …"},
		{"creator calls Goexit", "---", "", fails(nil), "", lock.ErrGoexit, all + won + ", …"},
		{"creator returns too little", "---", "", func(_ *shelf, m *lock.Many[string]) {
			m.Create = func(context.Context, []int) ([]string, []bool, error) { return []string{"x"}, []bool{true}, nil }
		}, "", errAny, all + won + ", …"},
		{"Store panics", "---", "", func(_ *shelf, m *lock.Many[string]) {
			m.Store = func(context.Context, []int, []string) []bool { panic(errBroken) }
		}, "", errBroken, all + won + ", create a b c, …"},
		{"read fails after winning", "---", "", func(_ *shelf, m *lock.Many[string]) { readFails(m, errBroken) }, "", errBroken, all + ", …"},
		{"read panics after winning", "---", "", func(_ *shelf, m *lock.Many[string]) { readFails(m, nil) }, "", errBroken, all + ", …"},
		{"second try fails", "---", "", func(sh *shelf, m *lock.Many[string]) { m.Locks[1].Mutex = failing{&sh.site} }, "", errBroken, "read a b c, enter, try a, try, …"},
		{"second try panics", "---", "", func(sh *shelf, m *lock.Many[string]) { m.Locks[1].Mutex = bursting{} }, "", errBroken, "read a b c, enter, try a, …"},
		{"Enter refuses stale values", "sfs", "", func(sh *shelf, m *lock.Many[string]) {
			m.Enter = func(context.Context, bool) (func(), error) { return nil, nil }
		}, "a=old b=old c=old", nil, "read a b c"},
		{"Enter fails", "---", "", func(_ *shelf, m *lock.Many[string]) {
			m.Enter = func(context.Context, bool) (func(), error) { return nil, errBroken }
		}, "", errBroken, "read a b c"},
		{"no Enter", "---", "", func(_ *shelf, m *lock.Many[string]) { m.Enter = nil }, "a=a1 b=b1 c=c1", nil, "read a b c, try a, try b, try c, read a b c, create a b c, store a b c, unlock a, unlock b, unlock c"},
		{"no Mutex", "---", "", func(_ *shelf, m *lock.Many[string]) {
			for _, l := range m.Locks {
				l.Mutex = nil
			}
		}, "a=a1 b=b1 c=c1", nil, "read a b c, enter, read a b c, create a b c, leave, store a b c"},
	}
}

// bursting is a mutex that panics.
type bursting struct{ lock.Mutex }

func (bursting) TryLock(context.Context) (bool, error) { panic(errBroken) }

// errAny stands for any error in a row.
var errAny = errors.New("any")

// madeElsewhere makes the values of keys appear once Enter is called.
func madeElsewhere(sh *shelf, m *lock.Many[string], keys string) {
	enter := m.Enter
	m.Enter = func(ctx context.Context, _ bool) (func(), error) {
		for _, key := range keys {
			sh.vals[string(key)].set("theirs", 0)
		}
		return enter(ctx, true)
	}
}

func leavesOut(m *lock.Many[string], out ...int) {
	create := m.Create
	m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
		v, made, err := create(ctx, at)
		for _, i := range out {
			made[i] = false
		}
		return v, made, err
	}
}

func storeLoses(m *lock.Many[string]) {
	m.Store = func(_ context.Context, at []int, _ []string) []bool { return make([]bool, len(at)) }
}

// readFails makes every Read but the first return err, or panic.
func readFails(m *lock.Many[string], err error) {
	read, first := m.Read, true
	m.Read = func(ctx context.Context, at []int) ([]string, []time.Time, error) {
		if first {
			first = false
			return read(ctx, at)
		}
		if err == nil {
			panic(errBroken)
		}
		return nil, nil, err
	}
}

func TestManyTraffic(t *testing.T) {
	for _, row := range manyRows() {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, row.run)
		})
	}
}

func (row manyRow) run(t *testing.T) {
	sh := newShelf("a", "b", "c")
	for i, key := range []string{"a", "b", "c"} {
		switch row.state[i] {
		case 'f':
			sh.vals[key].set("old", 0)
		case 's':
			sh.vals[key].set("old", time.Hour)
		}
	}
	for _, key := range row.held {
		sh.take(t, string(key))
	}
	m := sh.many(new(lock.Flights), "a", "b", "c")
	if row.change != nil {
		row.change(sh, m)
	}
	got := doMany(t.Context(), m)
	if row.err == errAny {
		row.err = got.err
	}
	if !errors.Is(got.err, row.err) || row.err == nil && !maps.Equal(got.v, vals(row.vals)) {
		t.Errorf("Do = %v, %v; want %q, %v", got.v, got.err, row.vals, row.err)
	}
	for _, key := range row.held {
		sh.free(string(key))
	}
	sh.idle(t)
	log := strings.Join(sh.log, ", ")
	if before, found := strings.CutSuffix(row.traffic, "…"); found {
		rest, same := strings.CutPrefix(log, before)
		if !same || strings.Count(log, "leave") != 1 || strings.Contains(rest, "read") || strings.Contains(rest, "create") {
			t.Errorf("traffic is %q, want %q", log, row.traffic)
		}
	} else if log != row.traffic {
		t.Errorf("traffic is %q, want %q", log, row.traffic)
	}
}

func TestManyOfNothing(t *testing.T) {
	v, ok, err := new(lock.Many[int]).Do(t.Context(), nil, nil)
	if len(v) != 0 || len(ok) != 0 || err != nil {
		t.Errorf("Do = %v, %v, %v", v, ok, err)
	}
}

func TestManyWaitsForOthers(t *testing.T) {
	for name, can := range map[string]bool{"mutex": false, "waiter": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. Another process makes b and d, which takes a second.  2. A wants a to
				// d: it creates a and c, and gives their locks back.  3. b appears, d does
				// not: its creator failed.  4. A creates d.
				sh := newShelf("a", "b", "c", "d")
				sh.can = can
				sh.take(t, "b", "d")
				a := asyncMany(doMany, t.Context(), sh.many(new(lock.Flights), "a", "b", "c", "d"))
				if v := sh.vals["a"].value() + sh.vals["c"].value(); v != "a1c1" {
					t.Errorf("%q is stored while A waits", v)
				}
				sh.take(t, "a", "c")
				sh.free("a", "c")
				time.Sleep(time.Second)
				sh.vals["b"].set("theirs", 0)
				sh.free("b", "d")
				wantMany(t, "A", a, "a=a1 b=theirs c=c1 d=d1", nil)
				sh.idle(t)
			})
		})
	}
}

func TestManyWaitsWithoutAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process makes a and renews b.  2. A wants both. It gives its
		// place back while it waits for a, and tells everybody that b is in hand.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["b"].set("old", time.Hour)
		sh.take(t, "a", "b")
		a := asyncMany(doMany, t.Context(), sh.many(&fs, "a", "b"))
		if in, out := sh.count("enter"), sh.count("leave"); in != 1 || out != 1 {
			t.Errorf("%d times entered, %d times left", in, out)
		}
		if fs.Resting("a") || !fs.Resting("b") {
			t.Errorf("resting: a %v, b %v", fs.Resting("a"), fs.Resting("b"))
		}
		sh.vals["a"].set("theirs", 0)
		sh.free("a")
		wantMany(t, "A", a, "a=theirs b=old", nil)
		sh.free("b")
		sh.idle(t)
	})
}

func TestManyAndSingleShareFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a, alone.  2. B wants a, b and c: waits for A's a, creates b
		// and c.  3. C wants c: waits for B's.  4. D wants b and a: waits for both.
		// 5. A is done, then B.
		var fs lock.Flights
		sh := newShelf("a", "b", "c")
		gateA, gateB := make(chan struct{}), make(chan struct{})
		la := sh.single(&fs, "a")
		la.Create = func(context.Context) (string, error) { <-gateA; return sh.next("a"), nil }
		m := sh.many(&fs, "a", "b", "c")
		create := m.Create
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) { <-gateB; return create(ctx, at) }
		a := async(la.Do, t.Context())
		b := asyncMany(doMany, t.Context(), m)
		c := async(sh.single(&fs, "c").Do, t.Context())
		d := asyncMany(doMany, t.Context(), sh.many(&fs, "b", "a"))
		close(gateA)
		want(t, "A", a, "a1", nil)
		waits(t, "C", c)
		close(gateB)
		wantMany(t, "B", b, "a=a1 b=b1 c=c1", nil)
		want(t, "C", c, "c1", nil)
		wantMany(t, "D", d, "a=a1 b=b1", nil)
		if got := sh.creations("a", "b", "c"); got != "a1 b1 c1" {
			t.Errorf("creations: %s", got)
		}
		sh.idle(t)
	})
}

func TestManyServesStaleBesideACreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A renews a.  2. B wants a and b: it gets a's stale value and creates b,
		// without waiting for A.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["a"].set("old", time.Hour)
		gate := make(chan struct{})
		la := sh.single(&fs, "a")
		la.Create = func(context.Context) (string, error) { <-gate; return sh.next("a"), nil }
		a := async(la.Do, t.Context())
		wantMany(t, "B", asyncMany(doMany, t.Context(), sh.many(&fs, "a", "b")), "a=old b=b1", nil)
		close(gate)
		want(t, "A", a, "a1", nil)
		sh.idle(t)
	})
}

func TestManyLeavesOutWhatOthersWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a and b.  2. B and C join for b, with a Lock and a Many.
		// 3. A's creator leaves b out: A does without.  4. B creates it, C joins.
		var fs lock.Flights
		sh := newShelf("a", "b")
		gate := make(chan struct{})
		m := sh.many(&fs, "a", "b")
		leavesOut(m, 1)
		create := m.Create
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) { <-gate; return create(ctx, at) }
		a := asyncMany(doMany, t.Context(), m)
		b := async(sh.single(&fs, "b").Do, t.Context())
		c := asyncMany(doMany, t.Context(), sh.many(&fs, "b"))
		close(gate)
		wantMany(t, "A", a, "a=a1", nil)
		want(t, "B", b, "b2", nil)
		wantMany(t, "C", c, "b=b2", nil)
		sh.idle(t)
	})
}

func TestManyCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a, B waits for a.  2. A's context ends: A is gone at once,
		// its creation is not.
		var fs lock.Flights
		sh := newShelf("a")
		m := sh.many(&fs, "a")
		create := m.Create
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
			time.Sleep(time.Second)
			if ctx.Err() != nil {
				t.Errorf("the creator's context: %v", ctx.Err())
			}
			return create(ctx, at)
		}
		ctx, cancel := context.WithCancel(t.Context())
		a := asyncMany(doMany, ctx, m)
		b := async(sh.single(&fs, "a").Do, t.Context())
		cancel()
		wantMany(t, "A", a, "", context.Canceled)
		time.Sleep(time.Second)
		want(t, "B", b, "a1", nil)
		if got := doMany(ctx, sh.many(&fs, "a")); got.err != nil || got.v["a"] != "a1" {
			t.Errorf("fresh values for one who has left: %v, %v", got.v, got.err)
		}
		sh.vals["a"].clear()
		if got := doMany(ctx, sh.many(&fs, "a")); !errors.Is(got.err, context.Canceled) {
			t.Errorf("missing values for one who has left: %v, %v", got.v, got.err)
		}
		synctest.Wait()
		if n := sh.creations("a"); n != "a1" {
			t.Errorf("creations: %s; one of them for one who has left", n)
		}
		sh.idle(t)
	})
}

func TestManyRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// a is fresh, b and c are stale, d is missing. The Runner gets b and c, as
		// one task, and A waits for d alone.
		var fs lock.Flights
		sh := newShelf("a", "b", "c", "d")
		sh.vals["a"].set("old", 0)
		sh.vals["b"].set("old", time.Hour)
		sh.vals["c"].set("old", time.Hour)
		var tasks []func()
		m := sh.many(&fs, "a", "b", "c", "d")
		m.Runner = func(task func()) { tasks = append(tasks, task) }
		wantMany(t, "A", asyncMany(doMany, t.Context(), m), "a=old b=old c=old d=d1", nil)
		if len(tasks) != 1 {
			t.Fatalf("%d tasks", len(tasks))
		}
		wantMany(t, "B", asyncMany(doMany, t.Context(), sh.many(&fs, "b", "c")), "b=old c=old", nil)
		tasks[0]()
		wantMany(t, "C", asyncMany(doMany, t.Context(), sh.many(&fs, "b", "c")), "b=b1 c=c1", nil)
		sh.idle(t)
	})
}

func TestManyRunnerDropsTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Runner drops the task, for a and b.  2. a is deleted.  3. B, who
		// needs a, has the task run, and so does C, with a Many.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["a"].set("old", time.Hour)
		sh.vals["b"].set("old", time.Hour)
		m := sh.many(&fs, "a", "b")
		m.Runner = func(func()) {}
		wantMany(t, "A", asyncMany(doMany, t.Context(), m), "a=old b=old", nil)
		sh.vals["a"].clear()
		want(t, "B", async(sh.single(&fs, "a").Do, t.Context()), "a1", nil)
		sh.vals["a"].set("old", time.Hour)
		sh.vals["b"].set("old", time.Hour)
		m = sh.many(&fs, "a", "b")
		m.Runner = func(func()) {}
		wantMany(t, "A", asyncMany(doMany, t.Context(), m), "a=old b=old", nil)
		sh.vals["b"].clear()
		wantMany(t, "C", asyncMany(doMany, t.Context(), sh.many(&fs, "b")), "b=b2", nil)
		if got := sh.creations("a", "b"); got != "a2 b2" {
			t.Errorf("creations: %s", got)
		}
		sh.idle(t)
	})
}

func TestManyRunnerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["a"].set("old", time.Hour)
		m := sh.many(&fs, "a", "b")
		m.Runner = func(func()) { panic("full") }
		func() {
			defer func() {
				if p := recover(); p != "full" {
					t.Errorf("panic %v", p)
				}
			}()
			doMany(t.Context(), m)
		}()
		synctest.Wait()
		if n := fs.Running(); n != 0 {
			t.Errorf("%d flights left", n)
		}
		wantMany(t, "next", asyncMany(doMany, t.Context(), sh.many(&fs, "a", "b")), "a=a1 b=b1", nil)
		sh.idle(t)
	})
}

func TestManyRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A renews a (fresh), b (stale) and c (missing).  2. That is under way: B,
		// who renews a, must have a creation of its own, after A's.
		var fs lock.Flights
		sh := newShelf("a", "b", "c")
		sh.vals["a"].set("old", 0)
		sh.vals["b"].set("old", time.Hour)
		gate := make(chan struct{})
		m := sh.many(&fs, "a", "b", "c")
		create := m.Create
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) { <-gate; return create(ctx, at) }
		a := asyncMany(renewMany, t.Context(), m)
		b := async(sh.single(&fs, "a").Renew, t.Context())
		waits(t, "B", b)
		close(gate)
		wantMany(t, "A", a, "a=a1 b=b1 c=c1", nil)
		want(t, "B", b, "a2", nil)
		sh.idle(t)
	})
}

func TestManyRecursion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b", "c")
		asks := func(keys ...string) *lock.Many[string] {
			m := sh.many(&fs, "a", "b")
			create := m.Create
			m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
				if got := doMany(ctx, sh.many(&fs, keys...)); got.err != nil {
					return nil, nil, got.err
				}
				if _, err := sh.single(&fs, keys[0]).Do(ctx); err != nil {
					return nil, nil, err
				}
				return create(ctx, at)
			}
			return m
		}
		wantMany(t, "creator that asks for itself", asyncMany(doMany, t.Context(), asks("c", "b")), "", lock.ErrRecursive)
		wantMany(t, "creator that asks for another", asyncMany(doMany, t.Context(), asks("c")), "a=a1 b=b1", nil)
		sh.idle(t)
	})
}

// TestManyMayAskForWhatItWaitsFor: 1. Another process makes b.  2. A wants a and
// b: its creator is asked for a, and may ask for b.
func TestManyMayAskForWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.take(t, "b")
		m := sh.many(&fs, "a", "b")
		create := m.Create
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
			if _, err := sh.single(&fs, "b").Do(ctx); err != nil {
				return nil, nil, fmt.Errorf("b: %w", err)
			}
			return create(ctx, at)
		}
		a := asyncMany(doMany, t.Context(), m)
		sh.vals["b"].set("theirs", 0)
		sh.free("b")
		wantMany(t, "A", a, "a=a1 b=theirs", nil)
		sh.idle(t)
	})
}

func TestManyTimeouts(t *testing.T) {
	for name, heeds := range map[string]bool{"creator heeds its context": true, "creator does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fs lock.Flights
				sh := newShelf("a", "b")
				m := sh.many(&fs, "a", "b")
				m.Timeout = time.Second
				create := m.Create
				m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
					done := ctx.Done()
					if !heeds {
						done = nil
					}
					select {
					case <-done:
						return nil, nil, ctx.Err()
					case <-time.After(time.Minute):
						return create(ctx, at)
					}
				}
				a := asyncMany(doMany, t.Context(), m)
				b, c := async(sh.single(&fs, "a").Do, t.Context()), async(sh.single(&fs, "b").Do, t.Context())
				time.Sleep(time.Second)
				wantMany(t, "A", a, "", lock.ErrTimeout)
				want(t, "B", b, "", lock.ErrTimeout)
				want(t, "C", c, "", lock.ErrTimeout)
				wantMany(t, "next", asyncMany(doMany, t.Context(), sh.many(&fs, "a", "b")), "a=a1 b=b1", nil)
				time.Sleep(time.Hour)
				if v := sh.vals["a"].value() + sh.vals["b"].value(); v != "a1b1" {
					t.Errorf("%q is stored at the end", v)
				}
				sh.idle(t)
			})
		})
	}
}

func TestManyWaitsNoLongerThanItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.take(t, "a", "b")
		m := sh.many(&fs, "a", "b")
		m.Timeout = time.Second
		a := asyncMany(doMany, t.Context(), m)
		time.Sleep(2*time.Second + 1)
		wantMany(t, "A", a, "", lock.ErrTimeout)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := fs.Running(); n != 0 {
			t.Errorf("%d flights left", n)
		}
		sh.free("a", "b")
		sh.idle(t)
	})
}
