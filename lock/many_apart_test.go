package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// What happens to some of a Many's values is no business of those who want
// others.

func TestManyThatHangsHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process makes b.  2. A wants a and b: its creator, for a, hangs
		// and does not heed its context.  3. B joins for b.  4. The other has made b,
		// long before A's time is up: B gets it.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.take(t, "b")
		gate := make(chan struct{})
		m := sh.many(&fs, "a", "b")
		m.Create = func(context.Context, []int) ([]string, []bool, error) { <-gate; return nil, nil, errBroken }
		a := asyncMany(doMany, t.Context(), m)
		b := async(sh.single(&fs, "b").Do, t.Context())
		time.Sleep(time.Second)
		sh.vals["b"].set("theirs", 0)
		sh.free("b")
		want(t, "B", b, "theirs", nil)
		time.Sleep(lock.DefaultTimeout)
		wantMany(t, "A", a, "", lock.ErrTimeout)
		close(gate)
		sh.idle(t)
	})
}

func TestManyThatFailsFailsItsOwnKeysOnly(t *testing.T) {
	for name, fail := range map[string]func(context.Context) (string, error){"error": broke, "panic": panics, "Goexit": exits} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. Another process makes b.  2. A wants a and b, B joins for b, C for a.
				// 3. A's creator, for a, fails: that is A's error and C's.  4. B still gets
				// b.
				var fs lock.Flights
				sh := newShelf("a", "b")
				sh.take(t, "b")
				gate := make(chan struct{})
				m := sh.many(&fs, "a", "b")
				m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
					<-gate
					_, err := fail(ctx)
					return nil, nil, err
				}
				a := asyncMany(doMany, t.Context(), m)
				b, c := async(sh.single(&fs, "b").Do, t.Context()), async(sh.single(&fs, "a").Do, t.Context())
				close(gate)
				failed := map[bool]error{true: lock.ErrGoexit, false: errBroken}[name == "Goexit"]
				want(t, "C", c, "", failed)
				waits(t, "B", b)
				sh.vals["b"].set("theirs", 0)
				sh.free("b")
				want(t, "B", b, "theirs", nil)
				wantMany(t, "A", a, "", failed)
				sh.idle(t)
			})
		})
	}
}

func TestManyWaitsForEachByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process makes a and b.  2. A wants both; B wants b, C wants a.
		// 3. b is there first: B gets it.  4. Then a, without b's: C gets it, then A
		// has both.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.take(t, "a", "b")
		a := asyncMany(doMany, t.Context(), sh.many(&fs, "a", "b"))
		b, c := async(sh.single(&fs, "b").Do, t.Context()), async(sh.single(&fs, "a").Do, t.Context())
		sh.vals["b"].set("theirs", 0)
		sh.free("b")
		want(t, "B", b, "theirs", nil)
		waits(t, "C", c)
		sh.vals["a"].set("theirs", 0)
		sh.free("a")
		want(t, "C", c, "theirs", nil)
		wantMany(t, "A", a, "a=theirs b=theirs", nil)
		sh.idle(t)
	})
}

func TestManyFollowersOfWaitersTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b", "c")
		sh.take(t, "a", "b", "c")
		m := sh.many(&fs, "a", "b", "c")
		m.Timeout = time.Second
		a := asyncMany(doMany, t.Context(), m)
		var followers []chan result
		for _, key := range []string{"a", "b", "c"} {
			followers = append(followers, async(sh.single(&fs, key).Do, t.Context()))
		}
		time.Sleep(time.Second)
		wantMany(t, "A", a, "", lock.ErrTimeout)
		for i, f := range followers {
			want(t, fmt.Sprint("follower ", i), f, "", lock.ErrTimeout)
		}
		sh.free("a", "b", "c")
		sh.idle(t)
	})
}

func TestManyIsClosed(t *testing.T) {
	for name, held := range map[string]bool{"creating": false, "waiting": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. A creates, or waits for, a and b; B waits for a, C for b.  2. Close,
				// which waits for nobody: all get ErrClosed.  An Unlock that takes its time
				// does not mix that up.
				var fs lock.Flights
				sh := newShelf("a", "b")
				m := sh.many(&fs, "a", "b")
				for _, l := range m.Locks {
					l.Mutex = slow{sh.mxs[l.Key]}
				}
				m.Create = func(ctx context.Context, _ []int) ([]string, []bool, error) { <-ctx.Done(); return nil, nil, ctx.Err() }
				if held {
					sh.take(t, "a", "b")
				}
				a := asyncMany(doMany, t.Context(), m)
				b, c := async(sh.single(&fs, "a").Do, t.Context()), async(sh.single(&fs, "b").Do, t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := fs.Close(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Close = %v", err)
				}
				wantMany(t, "A", a, "", lock.ErrClosed)
				want(t, "B", b, "", lock.ErrClosed)
				want(t, "C", c, "", lock.ErrClosed)
				if held {
					sh.free("a", "b")
				}
				time.Sleep(time.Minute)
				sh.idle(t)
				if err := fs.Close(t.Context()); err != nil || fs.Running() != 0 {
					t.Errorf("second Close = %v, %d flights left", err, fs.Running())
				}
			})
		})
	}
}

// slow is a mutex that takes a second to unlock.
type slow struct{ *mutex }

func (s slow) Unlock() { time.Sleep(time.Second); s.mutex.Unlock() }

func TestManyStartsOverWhenLocksAreLost(t *testing.T) {
	for _, row := range []struct {
		losses int
		err    error
	}{{0, nil}, {1, nil}, {3, nil}, {4, lock.ErrLost}} {
		t.Run(fmt.Sprint(row.losses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := []string{"a", "b", "c", "d", "e", "f"}
				sh := newShelf(keys...)
				m := sh.many(new(lock.Flights), keys...)
				losses := 0
				create := m.Create
				m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
					if losses++; losses <= row.losses {
						return nil, nil, fmt.Errorf("gone: %w", lock.ErrLost)
					}
					return create(ctx, at)
				}
				wantMany(t, "A", asyncMany(doMany, t.Context(), m), "a=a1 b=b1 c=c1 d=d1 e=e1 f=f1", row.err)
				sh.idle(t)
			})
		})
	}
}

func TestManyLateJoiners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates a and b; B joins for a, C for b.  2. a is deleted, which takes
		// its lock away.  3. A's creator is done.  4. A gets its values; C, whose lock
		// held, gets b; B starts over.
		var fs lock.Flights
		sh := newShelf("a", "b")
		gate := make(chan struct{})
		m := sh.many(&fs, "a", "b")
		create, store := m.Create, m.Store
		m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) { <-gate; return create(ctx, at) }
		m.Store = func(ctx context.Context, at []int, v []string) []bool {
			held := store(ctx, at, v)
			sh.vals["a"].clear()
			held[0] = false
			return held
		}
		a := asyncMany(doMany, t.Context(), m)
		b, c := async(sh.single(&fs, "a").Do, t.Context()), async(sh.single(&fs, "b").Do, t.Context())
		close(gate)
		wantMany(t, "A", a, "a=a1 b=b1", nil)
		want(t, "B", b, "a2", nil)
		want(t, "C", c, "b1", nil)
		sh.idle(t)
	})
}

func TestNobodyJoinsAManyOnceStoreHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Store has stored a.  2. Somebody deletes it.  3. B finds nothing; it
		// must wait for the lock, not for A.  4. A's Store returns.
		var fs lock.Flights
		sh := newShelf("a")
		gate := make(chan struct{})
		m := sh.many(&fs, "a")
		store := m.Store
		m.Store = func(ctx context.Context, at []int, v []string) []bool { held := store(ctx, at, v); <-gate; return held }
		a := asyncMany(doMany, t.Context(), m)
		sh.vals["a"].clear()
		b := async(sh.single(&fs, "a").Do, t.Context())
		close(gate)
		wantMany(t, "A", a, "a=a1", nil)
		want(t, "B", b, "a2", nil)
		sh.idle(t)
	})
}

func TestManysLeaderLeavesBeforeItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A looks at a: missing, A is about to create it.  2. B joins for a, if
		// it can.  3. A looks at b, and its context ends.  4. A gets its error, B the
		// value.
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["b"].set("old", 0)
		ctx, cancel := context.WithCancel(t.Context())
		m := sh.many(&fs, "a", "b")
		var b chan result
		m.Locks[1].Stale = func(string, time.Time) bool {
			if b == nil {
				c := make(chan result, 1)
				b = c
				go func() { v, err := sh.single(&fs, "a").Do(t.Context()); c <- result{v, err} }()
				time.Sleep(time.Second)
				cancel()
			}
			return true
		}
		if got := doMany(ctx, m); !errors.Is(got.err, context.Canceled) {
			t.Errorf("A got %v, %v", got.v, got.err)
		}
		time.Sleep(time.Minute)
		want(t, "B", b, "a1", nil)
		sh.idle(t)
	})
}

func TestManysLeaderIsRecursive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's creator, for b, asks for a and b.  2. While it looks at b, B joins
		// for a, if it can.  3. A gets ErrRecursive, B the value.
		var fs lock.Flights
		sh := newShelf("a", "b")
		lb := sh.single(&fs, "b")
		var b chan result
		lb.Create = func(ctx context.Context) (string, error) {
			m := sh.many(&fs, "a", "b")
			sh.vals["b"].set("old", 0)
			m.Locks[1].Stale = func(string, time.Time) bool {
				c := make(chan result, 1)
				b = c
				go func() { v, err := sh.single(&fs, "a").Do(t.Context()); c <- result{v, err} }()
				time.Sleep(time.Second)
				return true
			}
			got := doMany(ctx, m)
			return "", got.err
		}
		if _, err := lb.Do(t.Context()); !errors.Is(err, lock.ErrRecursive) {
			t.Errorf("A got %v", err)
		}
		time.Sleep(time.Minute)
		want(t, "B", b, "a1", nil)
		sh.idle(t)
	})
}

func TestManyWhoseStalePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		sh := newShelf("a", "b")
		sh.vals["b"].set("old", 0)
		m := sh.many(&fs, "a", "b")
		m.Locks[1].Stale = func(string, time.Time) bool { panic(errBroken) }
		func() {
			defer func() {
				if p := recover(); p != any(errBroken) {
					t.Errorf("panic %v", p)
				}
			}()
			doMany(t.Context(), m)
		}()
		synctest.Wait()
		if n := fs.Running(); n != 0 {
			t.Errorf("%d flights for ever in the air", n)
		}
		want(t, "next", async(sh.single(&fs, "a").Do, t.Context()), "a1", nil)
	})
}

func TestManyCrosswise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two processes want the same keys in opposite order. Each key is created
		// once and nobody waits in a circle.
		var one, two lock.Flights
		sh := newShelf("a", "b", "c", "d")
		slowly := func(m *lock.Many[string]) *lock.Many[string] {
			create, locks := m.Create, m.Locks
			for _, l := range locks {
				l.Mutex = yielding{l.Mutex.(*mutex)}
			}
			m.Create = func(ctx context.Context, at []int) ([]string, []bool, error) {
				time.Sleep(time.Second)
				return create(ctx, at)
			}
			return m
		}
		a := asyncMany(doMany, t.Context(), slowly(sh.many(&one, "a", "b", "c", "d")))
		b := asyncMany(doMany, t.Context(), slowly(sh.many(&two, "d", "c", "b", "a")))
		time.Sleep(5 * time.Second)
		wantMany(t, "A", a, "a=a1 b=b1 c=c1 d=d1", nil)
		wantMany(t, "B", b, "a=a1 b=b1 c=c1 d=d1", nil)
		sh.idle(t)
	})
}

// yielding is a mutex after which the others get a turn.
type yielding struct{ *mutex }

func (y yielding) TryLock(ctx context.Context) (bool, error) {
	held, err := y.mutex.TryLock(ctx)
	time.Sleep(time.Millisecond)
	return held, err
}

// TestManyIsUrgedFromAllSides: 1. A's Runner keeps the task, for a hundred keys.  2. All
// are deleted.  3. At the same moment others, who need them, set the task going,
// and so does the Runner at last.  It flies once, with everybody aboard. It is
// found by trying often.
func TestManyIsUrgedFromAllSides(t *testing.T) {
	keys := crowdOfKeys()
	for i := range 100 {
		var fs lock.Flights
		sh := newShelf(keys...)
		for _, key := range keys {
			sh.vals[key].set("old", time.Hour)
		}
		var task func()
		m := sh.many(&fs, keys...)
		m.Runner = func(f func()) { task = f }
		if got := doMany(t.Context(), m); got.err != nil || len(got.v) != len(keys) {
			t.Fatalf("A got %v, %v", got.v, got.err)
		}
		for _, key := range keys {
			sh.vals[key].clear()
		}
		var wg sync.WaitGroup
		for _, key := range keys {
			wg.Go(func() {
				if v, err := sh.single(&fs, key).Do(t.Context()); v != key+"1" || err != nil {
					t.Errorf("try %d: %s = %q, %v", i, key, v, err)
				}
			})
		}
		task()
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// TestManyIsUrgedOnDeparture: 1. A wants a hundred values and is about to start.
// 2. Others come for some of them at that moment.  3. All get theirs. It is found
// by trying often.
func TestManyIsUrgedOnDeparture(t *testing.T) {
	keys := crowdOfKeys()
	for i := range 100 {
		var fs lock.Flights
		sh := newShelf(keys...)
		ready := make(chan struct{})
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				<-ready
				key := keys[n*n]
				if v, err := sh.single(&fs, key).Do(t.Context()); v != key+"1" || err != nil {
					t.Errorf("try %d: %s = %q, %v", i, key, v, err)
				}
			})
		}
		close(ready)
		if got := doMany(t.Context(), sh.many(&fs, keys...)); got.err != nil || len(got.v) != len(keys) {
			t.Errorf("try %d: A got %v, %v", i, got.v, got.err)
		}
		wg.Wait()
		landed(t, &fs)
		if t.Failed() {
			return
		}
	}
}

func crowdOfKeys() []string {
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i, ":")
	}
	return keys
}

func TestManyTriesLocksAbreast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint(i))
		}
		var fs lock.Flights
		sh := newShelf(keys...)
		m := sh.many(&fs, keys...)
		for _, l := range m.Locks {
			l.Mutex = distant{l.Mutex}
		}
		began := time.Now()
		if got := doMany(t.Context(), m); got.err != nil || len(got.v) != 100 {
			t.Errorf("%d values, %v", len(got.v), got.err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("100 locks that take 1 ms each took %v", took)
		}
		sh.idle(t)
	})
}

func TestManyGivesBackWhatItHasWonAbreast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint(i))
		}
		var fs lock.Flights
		sh := newShelf(keys...)
		m := sh.many(&fs, keys...)
		m.Locks[50].Mutex = failing{&sh.site}
		if got := doMany(t.Context(), m); !errors.Is(got.err, errBroken) {
			t.Errorf("error %v, want %v", got.err, errBroken)
		}
		sh.idle(t)
	})
}

// distant is a mutex a round trip away.
type distant struct{ lock.Mutex }

func (d distant) TryLock(ctx context.Context) (bool, error) {
	time.Sleep(time.Millisecond)
	return d.Mutex.TryLock(ctx)
}
