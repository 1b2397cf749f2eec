package dogpile_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/lock"
)

// lateMutex grants its first Lock two seconds after it was asked for, whether or not
// the context has ended by then: the answer was on its way.
type lateMutex struct{ locks, unlocks atomic.Int64 }

func (m *lateMutex) TryLock(context.Context) (bool, error) { return m.locks.Load() > 0, nil }
func (m *lateMutex) Unlock()                               { m.unlocks.Add(1) }
func (m *lateMutex) Lock(context.Context) error {
	pass(2 * time.Second)
	m.locks.Add(1)
	return nil
}

// TestLockGrantedAfterTheTimeout:
//
//  1. A flight waits in Mutex.Lock. After 1 s it times out, and its locks are given
//     back: it has none.
//  2. Mutex.Lock grants the mutex. The flight is over: the mutex is given back.
//  3. The flight takes the lock within the process, which nobody gives back: release
//     finds that the mutex was given back, and takes that for all.
//
// From then on every call waits for that lock, and times out.
func TestLockGrantedAfterTheTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := new(lateMutex)
		l := &lock.Lock[int]{
			Read:    func(context.Context) (int, time.Time, error) { return 0, time.Time{}, nil },
			Create:  func(context.Context) (int, error) { return 7, nil },
			Mutex:   m,
			Timeout: time.Second,
		}
		_, err := l.Do(bg)
		wantErr(t, "the first call", err, lock.ErrTimeout)
		later(5 * time.Second)
		if m.unlocks.Load() != 1 {
			t.Errorf("%d unlocks after one late grant", m.unlocks.Load())
		}
		r := <-start(func() (int, error) { return l.Do(bg) })
		wantValue(t, "a call when the mutex is free", r.v, r.err, 7)
	})
}

// TestNestedCallersAndMaxCreators:
//
//  1. The creator of "a" has the only place.
//  2. A caller from outside starts a flight for "k", which waits for the place.
//  3. The creator of "a" asks for "k", cannot read (or refreshes), and joins the
//     flight: it waits for a place that it has itself.
func TestNestedCallersAndMaxCreators(t *testing.T) {
	for _, row := range []struct {
		name       string
		unreadable bool
		renew      bool
	}{{"the nested caller cannot read", true, false}, {"both refresh", false, true}} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{MaxCreators: 1}), nil)
				wantErr(t, "Set", c.Set(bg, "warm", 1), nil)
				ask := c.GetOrCreate
				if row.renew {
					ask = c.Refresh
				}
				outer := start(get(c, "a", func(ctx context.Context) (int, error) {
					pass(time.Second)
					if row.unreadable {
						b.in(failing("get"))
					}
					return ask(ctx, "k", constant(1).create)
				}))
				other := start(func() (int, error) { return ask(bg, "k", constant(2).create) })
				r := <-outer
				if r.err != nil || r.took > 2*time.Second {
					t.Errorf("the creator that asks for another key: %v, %v after %v; want a value after 1s", r.v, r.err, r.took)
				}
				if r := <-other; r.err != nil {
					t.Errorf("the caller from outside: %v", r.err)
				}
			})
		})
	}
}

// A value that was created well reaches its caller, also if the backend hangs when it
// is to be stored, for longer than CreateTimeout.
func TestStoreThatHangsLosesNoValue(t *testing.T) {
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newFake(t, like{})
				c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{CreateTimeout: time.Second}), nil)
				wantErr(t, "Set", c.Set(bg, "warm", 1), nil)
				b.in(hanging("set"))
				r := <-start(get(c, "k", constant(7).create))
				wantValue(t, "GetOrCreate", r.v, r.err, 7)
			})
		})
	}
}

// A backend without a version token whose locks hang: that costs the callers one
// time-out or two, not one for each key.
func TestAbsentTokenAndManyKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		rec := new(recorder)
		c := dogpile.NewCache[int](newRegion(t, b, &dogpile.Options{Hooks: rec.hooks()}), nil)
		b.in(hanging("lock"))
		var keys []string
		for i := range 50 {
			keys = append(keys, fmt.Sprint(i))
		}
		r := <-start(func() (map[string]int, error) {
			return c.GetOrCreateMulti(bg, keys, many(0, new([][]string)))
		})
		if r.err != nil || r.took > 10*time.Second {
			t.Errorf("%d values, %v after %v; want it in 10s", len(r.v), r.err, r.took)
		}
		if n := rec.counts(); n["error"] > 5 {
			t.Errorf("one failure of the backend is told %d times", n["error"])
		}
	})
}

// A creation in the background is not inside the creator that found the entry stale.
func TestBackgroundCreationOfANestedCallerTakesAPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{MaxCreators: 1, Runner: dogpile.Background, Expiration: time.Second, StaleFor: time.Hour})
		for i := range 3 {
			wantErr(t, "Set", c.Set(bg, fmt.Sprint(i), 1), nil)
		}
		pass(2 * time.Second)
		cr := counting(2 * time.Second)
		outer := <-start(get(c, "outer", func(ctx context.Context) (int, error) {
			for i := range 3 {
				if _, err := c.GetOrCreate(ctx, fmt.Sprint(i), cr.create); err != nil {
					return 0, err
				}
			}
			return 1, nil
		}))
		wantErr(t, "outer", outer.err, nil)
		pass(10 * time.Second)
		if cr.most.Load() > 1 {
			t.Errorf("%d creators at once, none inside another; MaxCreators is 1", cr.most.Load())
		}
	})
}

// TestLeaseOfACreationThatCouldNotRead:
//
//  1. P takes the lease. The reading under it fails, once: P creates without the
//     backend, which it takes for unreachable. It does not renew the lease.
//  2. The lease runs out. Q, which reaches the backend, creates as well.
func TestLeaseOfACreationThatCouldNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newFake(t, like{})
		_, cs := processes[int](t, 2, b, nil)
		wantErr(t, "Set", cs[0].Set(bg, "warm", 1), nil)
		var gets atomic.Int64
		b.in(func(_ context.Context, op string, _ []string) error {
			if op == "get" && gets.Add(1) == 2 {
				return errBackend
			}
			return nil
		})
		cr := counting(25 * time.Second)
		p := start(get(cs[0], "k", cr.create))
		q := start(get(cs[1], "k", cr.create))
		<-p
		<-q
		if cr.most.Load() > 1 {
			t.Errorf("%d creators at once", cr.most.Load())
		}
	})
}

// A key that was left alone because all places were taken is renewed soon after one is
// free: how long its last creation took says nothing about that.
func TestStaleKeyAfterAPlaceIsFree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCache[int](t, &dogpile.Options{MaxCreators: 1, Expiration: time.Minute, StaleFor: time.Hour})
		_, err := c.GetOrCreate(bg, "k", counting(2*time.Second).create)
		wantErr(t, "GetOrCreate", err, nil)
		pass(90 * time.Second)
		x := start(get(c, "x", counting(100*time.Millisecond).create)) // has the place
		v, err := c.GetOrCreate(bg, "k", constant(2).create)
		wantValue(t, "while there is no place", v, err, 1)
		<-x
		pass(100 * time.Millisecond)
		v, err = c.GetOrCreate(bg, "k", constant(3).create)
		wantValue(t, "100 ms after the place is free", v, err, 3)
	})
}
