package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// longTTL is the lease of a holder that is alive throughout a row.
const longTTL = time.Hour

// try takes the lease on key or returns nil.
func (e *env) try(key string, ttl time.Duration) driver.Lease {
	e.Helper()
	l, err := e.lock.TryLock(e.ctx, key, ttl)
	if err != nil {
		e.Fatalf("TryLock(%s): %v", clip(key), err)
	}
	return l
}

// hold takes the lease on key.
func (e *env) hold(key string, ttl time.Duration) driver.Lease {
	e.Helper()
	l := e.try(key, ttl)
	if l == nil {
		e.Fatalf("TryLock(%s): held, want it free", clip(key))
	}
	return l
}

func (e *env) release(l driver.Lease) {
	e.Helper()
	if err := l.Release(e.ctx); err != nil {
		e.Errorf("Release = %v", err)
	}
}

func (e *env) wantHeld(key string) {
	e.Helper()
	if l := e.try(key, longTTL); l != nil {
		e.Errorf("TryLock(%s): granted, want it held by another", clip(key))
	}
}

func (e *env) wantLost(what string, err error) {
	e.Helper()
	if !errors.Is(err, driver.ErrLeaseLost) {
		e.Errorf("%s = %v, want ErrLeaseLost", what, err)
	}
}

// runOut waits until the lease on key that was taken at start for ttl has run
// out, and fails if that was before ttl or never.
func (e *env) runOut(key string, start time.Time, ttl time.Duration) {
	e.Helper()
	ran := e.until(ttl+e.caps.TTLUnit, func() bool {
		locked, err := e.lock.Locked(e.ctx, key)
		if err != nil {
			e.Fatalf("Locked = %v", err)
		}
		if !locked && time.Since(start) < ttl {
			e.Errorf("the lease ended within %v, before its ttl of %v", time.Since(start), ttl)
		}
		return !locked
	})
	if !ran {
		e.Fatalf("the lease still holds %v after it was taken for %v", time.Since(start), ttl)
	}
}

// extended returns a lease on key that was taken for ttl and extended by
// longTTL. On a slow machine a short lease may be lost in between; then it tries
// a longer one.
func (e *env) extended() (l driver.Lease, key string, ttl time.Duration) {
	e.Helper()
	for ttl = e.tick; ; ttl *= 4 {
		key = e.key("for " + ttl.String())
		l = e.hold(key, ttl)
		err := l.Extend(e.ctx, longTTL)
		if err == nil {
			return l, key, ttl
		}
		if !errors.Is(err, driver.ErrLeaseLost) || e.bubble || ttl > e.patience {
			e.Fatalf("Extend of a lease taken for %v = %v", ttl, err)
		}
	}
}

// lockNeeds is what a row about leases needs. The leases of a backend that
// discards exclude no other.
const lockNeeds = locks | keepsValues

var lockRows = []row{
	{"lock/one of 32 goroutines gets the lease", lockNeeds, func(e *env) {
		for round := range 5 {
			key := e.key(fmt.Sprint("k", round))
			var won atomic.Int64
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range 32 {
				wg.Go(func() {
					<-start
					l, err := e.lock.TryLock(e.ctx, key, longTTL)
					if err != nil {
						e.Errorf("TryLock = %v", err)
					}
					if l != nil {
						won.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if n := won.Load(); n != 1 {
				e.Errorf("%d goroutines hold one lease", n)
			}
		}
	}},
	{"lock/TryLock does not wait", lockNeeds, func(e *env) {
		e.hold(e.key("k"), longTTL)
		ctx, cancel := e.soon(0)
		defer cancel()
		e.returns("TryLock of a held lease", func() {
			if l, err := e.lock.TryLock(ctx, e.key("k"), longTTL); l != nil || err != nil {
				e.Errorf("TryLock of a held lease = %v, %v, want nil, nil", l, err)
			}
		})
	}},
	{"lock/a lease is on one key and not on its value", lockNeeds, func(e *env) {
		k := e.key("k")
		e.set(item(k, "before"))
		e.hold(k, longTTL)
		e.want(k, "before")
		e.hold(e.key("other"), longTTL)
		e.wantHeld(k)
		e.wantMissing(e.key("other"))
	}},
	{"lock/the end of a lease leaves the entry", lockNeeds, func(e *env) {
		k := e.key("k")
		e.set(item(k, "v"))
		e.release(e.hold(k, longTTL))
		e.want(k, "v")
		start := time.Now()
		e.hold(k, e.tick)
		e.runOut(k, start, e.tick)
		e.settle() // two timers of one moment, the lease's and the entry's, fire in either order
		e.want(k, "v")
	}},
	{"lock/a TryLock in vain leaves the holder's lease as it is", lockNeeds, triedInVain},
	{"lock/every legal key can be leased, each by itself", lockNeeds, func(e *env) {
		keys := e.legalKeys()
		leases := make([]driver.Lease, len(keys))
		for i, key := range keys {
			leases[i] = e.hold(key, longTTL)
		}
		for i, l := range leases {
			e.release(l)
			e.hold(keys[i], longTTL)
		}
	}},
	{"lock/Release frees the key and may be repeated", lockNeeds, func(e *env) {
		l := e.hold(e.key("k"), longTTL)
		for range 3 {
			e.release(l)
		}
		e.hold(e.key("k"), longTTL)
		e.release(l)
		e.wantHeld(e.key("k"))
	}},
	{"lock/Release frees no lease but its own", lockNeeds, func(e *env) {
		// 1. A holds the lease and stalls.  2. It runs out, B takes it.
		// 3. A wakes up and releases.       4. B still holds it.
		k, start := e.key("k"), time.Now()
		a := e.hold(k, e.tick)
		e.runOut(k, start, e.tick)
		b := e.hold(k, longTTL)
		e.release(a)
		e.wantHeld(k)
		e.release(b)
		e.hold(k, longTTL)
	}},
	{"lock/a lease ends with its ttl and not before", lockNeeds, func(e *env) {
		start := time.Now()
		l := e.hold(e.key("k"), e.tick)
		e.runOut(e.key("k"), start, e.tick)
		e.wantLost("Extend of a lease that ran out", l.Extend(e.ctx, longTTL))
		e.hold(e.key("k"), longTTL)
	}},
	{"lock/a ttl below the unit is rounded up, not to nothing and not to for ever", lockNeeds, func(e *env) {
		// A ttl this short may pass within the TryLock, so only the end is checked.
		start, ttl := time.Now(), max(e.caps.TTLUnit/1000, 1)
		e.try(e.key("k"), ttl)
		e.runOut(e.key("k"), start, ttl)
	}},
	{"lock/Extend makes the lease last", lockNeeds, func(e *env) {
		l, key, ttl := e.extended()
		e.pass(2*ttl + e.caps.TTLUnit)
		e.wantHeld(key)
		start := time.Now()
		if err := l.Extend(e.ctx, e.tick); err != nil {
			e.Errorf("Extend of an extended lease = %v", err)
		}
		e.runOut(key, start, e.tick)
	}},
	{"lock/Extend of a lease that was lost says so and takes nothing", lockNeeds, func(e *env) {
		lose := map[string]func(k string, l driver.Lease){
			"released":                     func(_ string, l driver.Lease) { e.release(l) },
			"revoked by Delete":            func(k string, _ driver.Lease) { e.delete(k) },
			"revoked by Set":               func(k string, _ driver.Lease) { e.set(item(k, "v")) },
			"used up":                      func(k string, l driver.Lease) { e.set(itemUnder(l, k, "v")) },
			"released and held by another": func(k string, l driver.Lease) { e.release(l); e.hold(k, longTTL) },
		}
		for name, lose := range lose {
			k := e.key(name)
			l := e.hold(k, longTTL)
			lose(k, l)
			e.wantLost("Extend of a lease that was "+name, l.Extend(e.ctx, longTTL))
			if locked, err := e.lock.Locked(e.ctx, k); err != nil || locked != strings.Contains(name, "another") {
				e.Errorf("after Extend of a lease that was %s, Locked = %v, %v", name, locked, err)
			}
		}
	}},
	{"lock/Locked tells whether the lease is held", lockNeeds, func(e *env) {
		locked := func(want bool, when string) {
			e.Helper()
			if got, err := e.lock.Locked(e.ctx, e.key("k")); got != want || err != nil {
				e.Errorf("Locked %s = %v, %v, want %v", when, got, err, want)
			}
		}
		locked(false, "of a key never leased")
		e.set(item(e.key("k"), "v"))
		locked(false, "of a key with a value")
		l := e.hold(e.key("k"), longTTL)
		locked(true, "of a leased key")
		e.release(l)
		locked(false, "after Release")
	}},
	{"lock/a TryLock whose context is done leaves nothing behind that outlives its ttl", lockNeeds, func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		l, err := e.lock.TryLock(ctx, e.key("k"), e.tick)
		switch {
		case err != nil && l != nil:
			e.Errorf("TryLock = %v and %v, want one of them", l, err)
		case err != nil && !errors.Is(err, context.Canceled):
			e.Errorf("TryLock = %v, want context.Canceled or a lease", err)
		}
		if !e.until(e.tick+e.caps.TTLUnit, func() bool { return e.try(e.key("k"), longTTL) != nil }) {
			e.Error("the key stays locked")
		}
	}},
	{"lock/the leases of a backend that discards exclude no other", locks | discards, func(e *env) {
		ctx, cancel := e.soon(0)
		defer cancel()
		for range 3 {
			e.hold(e.key("k"), longTTL)
		}
		e.returns("Wait", func() {
			if err := e.lock.Wait(ctx, e.key("k")); err != nil {
				e.Errorf("Wait = %v", err)
			}
		})
		if locked, err := e.lock.Locked(e.ctx, e.key("k")); locked || err != nil {
			e.Errorf("Locked = %v, %v", locked, err)
		}
	}},
}

// triedInVain tries for a lease that is held, with a ttl that is shorter than the
// holder's and with one that is longer. Neither becomes the holder's ttl.
func triedInVain(e *env) {
	long := e.key("long")
	e.hold(long, longTTL)
	if e.try(long, e.tick) != nil {
		e.Fatal("TryLock of a held lease: granted")
	}
	e.pass(2*e.tick + e.caps.TTLUnit)
	e.wantHeld(long)
	for ttl := e.tick; ; ttl *= 4 {
		k, start := e.key("for "+ttl.String()), time.Now()
		e.hold(k, ttl)
		if e.try(k, longTTL) == nil {
			e.runOut(k, start, ttl)
			return
		}
		// On a slow machine the lease may have run out before the second try; then a
		// longer one is tried.
		if e.bubble || time.Since(start) < ttl || ttl > e.patience {
			e.Fatal("TryLock of a held lease: granted")
		}
	}
}

var waitRows = []row{
	{"wait/it returns on a free key, whichever others are leased", lockNeeds, func(e *env) {
		e.hold(e.key("other"), longTTL)
		ctx, cancel := e.soon(0)
		defer cancel()
		e.returns("Wait", func() {
			if err := e.lock.Wait(ctx, e.key("k")); err != nil {
				e.Errorf("Wait = %v", err)
			}
		})
	}},
	{"wait/it waits while the lease is held, until its context is done", lockNeeds, waitWaits},
	{"wait/it wakes when the lease is released", lockNeeds, wakes(longTTL, func(e *env, _ string, l driver.Lease) { e.release(l) })},
	{"wait/it wakes when Delete revokes the lease", lockNeeds, wakes(longTTL, func(e *env, k string, _ driver.Lease) { e.delete(k) })},
	{"wait/it wakes when Set revokes the lease", lockNeeds, wakes(longTTL, func(e *env, k string, _ driver.Lease) { e.set(item(k, "v")) })},
	{"wait/it wakes when Set uses the lease up", lockNeeds, wakes(longTTL, func(e *env, k string, l driver.Lease) { e.set(itemUnder(l, k, "v")) })},
	{"wait/it wakes when the lease runs out", lockNeeds, wakes(0, func(*env, string, driver.Lease) {})},
}

// waitWaits allows Wait to return early, but not so often that its caller spins.
func waitWaits(e *env) {
	e.hold(e.key("k"), longTTL)
	ctx, cancel := context.WithTimeout(e.ctx, e.tick)
	defer cancel()
	var err error
	early := 0
	e.returns("Wait, whose context is done,", func() {
		for ; err == nil && early < 1000; early++ {
			err = e.lock.Wait(ctx, e.key("k"))
		}
	})
	if err == nil {
		e.Fatalf("Wait returned %d times while the lease was held", early)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Errorf("Wait = %v, want the context's error", err)
	}
	e.wantHeld(e.key("k"))
}

// wakes returns a row in which several goroutines wait for one lease, taken
// for ttl or for a tick, and free ends it.
func wakes(ttl time.Duration, free func(*env, string, driver.Lease)) func(*env) {
	return func(e *env) {
		k, ttl, life := e.key("k"), ttl, time.Duration(0)
		if ttl == 0 {
			ttl, life = e.tick, e.tick+e.caps.TTLUnit
		}
		l := e.hold(k, ttl)
		ctx, cancel := e.soon(life)
		defer cancel()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { e.waitUntilFree(ctx, k) })
		}
		e.settle()
		free(e, k, l)
		wg.Wait()
	}
}

// waitUntilFree waits until the lease on key is free. It may be called in any
// goroutine.
func (e *env) waitUntilFree(ctx context.Context, key string) {
	for {
		if err := e.lock.Wait(ctx, key); err != nil {
			e.Errorf("Wait = %v: it did not wake", err)
			return
		}
		if locked, err := e.lock.Locked(ctx, key); err != nil || !locked {
			return
		}
		e.pass(time.Millisecond) // Wait may return early, but that is no reason to spin here
	}
}
