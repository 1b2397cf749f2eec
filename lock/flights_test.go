package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// forgets are the ways to forget the key "k".
var forgets = map[string]func(*lock.Flights){
	"Forget":    func(fs *lock.Flights) { fs.Forget("other", "k") },
	"ForgetAll": func(fs *lock.Flights) { fs.ForgetAll(context.Background()) },
}

func TestForgetDuringACreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  B comes during that, and waits.  2. Forget.  3. C comes: it
		// does not join but waits for the lock.  4. A's creator is done, and A has
		// its value.  5. C reads it.
		var fs lock.Flights
		s := new(site)
		l := s.lock(newMutex(s))
		l.Key, l.Flights = "k", &fs
		gate := make(chan struct{})
		l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
		a, b := async(l.Do, t.Context()), async(l.Do, t.Context())
		fs.Forget("other", "k")
		if n := s.count("unlock"); n != 0 {
			t.Error("Forget has unlocked")
		}
		c := async(l.Do, t.Context())
		if n := s.count("lock"); n != 1 {
			t.Errorf("C does not wait for the lock: %v", s.log)
		}
		close(gate)
		for i, call := range []chan result{a, b, c} {
			want(t, fmt.Sprint("caller ", i), call, "new1", nil)
		}
		if creates, unlocks := s.count("create"), s.count("unlock"); creates != 1 || unlocks != 2 {
			t.Errorf("%d creations, %d unlocks", creates, unlocks)
		}
	})
}

func TestForgetAllDuringACreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  B comes during that, and waits.  2. ForgetAll: when it
		// returns, the mutex is free.  3. C starts a flight of its own, and creates.
		// 4. A's creator is done; its Store finds the mutex lost.  5. A still gets its
		// value, and does not unlock for C at its end.  B joins C.  6. C is done.
		var fs lock.Flights
		s := new(site)
		m := newMutex(s)
		l := s.lock(m)
		l.Key, l.Flights = "k", &fs
		gates := map[string]chan struct{}{"new1": make(chan struct{}), "new2": make(chan struct{})}
		l.Create = func(ctx context.Context) (string, error) { v, err := s.create(ctx); <-gates[v]; return v, err }
		l.Store = func(ctx context.Context, v string) bool { return v != "new1" && s.store(ctx, v) }
		a, b := async(l.Do, t.Context()), async(l.Do, t.Context())
		fs.ForgetAll(t.Context())
		if n := s.count("unlock"); n != 1 {
			t.Errorf("%d unlocks", n)
		}
		c := async(l.Do, t.Context())
		close(gates["new1"])
		want(t, "A", a, "new1", nil)
		waits(t, "B", b)
		waits(t, "C", c)
		if m.try() {
			t.Error("A unlocked what C holds")
		}
		close(gates["new2"])
		want(t, "B", b, "new2", nil)
		want(t, "C", c, "new2", nil)
		if v, n := s.value(), s.count("unlock"); v != "new2" || n != 2 {
			t.Errorf("stored %q after %d unlocks", v, n)
		}
	})
}

func TestForgetAllGoesOnBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  2. ForgetAll has to unlock, which takes a second.  3. Its
		// context ends before: it returns.  4. A second after it began the mutex is
		// free.
		var fs lock.Flights
		s := new(site)
		m := newMutex(s)
		l := s.lock(slow{m})
		l.Key, l.Flights = "k", &fs
		gate := make(chan struct{})
		l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
		a := async(l.Do, t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		began := time.Now()
		fs.ForgetAll(ctx)
		if d := time.Since(began); d != time.Second/2 {
			t.Errorf("returned after %v", d)
		}
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if !m.try() {
			t.Error("the mutex is still held")
		}
		close(gate)
		want(t, "A", a, "new1", nil)
	})
}

func TestForgetAllWaitsForWhoeverUnlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's creator fails; its flight unlocks, which takes a second.  2. ForgetAll
		// comes half a second later.  3. When it returns, the mutex is free.
		var fs lock.Flights
		s := new(site)
		m := newMutex(s)
		l := s.lock(slow{m})
		l.Key, l.Flights, l.Create = "k", &fs, broke
		a := async(l.Do, t.Context())
		time.Sleep(time.Second / 2)
		fs.ForgetAll(t.Context())
		if !m.try() {
			t.Error("the mutex is still held")
		}
		want(t, "A", a, "", errBroken)
	})
}

func TestForgetWhileWaiting(t *testing.T) {
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. Another process holds the lock, A's flight waits.  2. Forget.
				// 3. B starts a flight of its own and waits too.  4. The lock is free:
				// one of them creates, under it, and the other reads.
				var fs lock.Flights
				s := new(site)
				m := newMutex(s)
				l := s.lock(m)
				l.Key, l.Flights = "k", &fs
				m.try()
				a := async(l.Do, t.Context())
				forget(&fs)
				b := async(l.Do, t.Context())
				if n := s.count("lock"); n != 2 {
					t.Errorf("%d flights wait for the lock", n)
				}
				m.free()
				want(t, "A", a, "new1", nil)
				want(t, "B", b, "new1", nil)
				if n := s.count("create"); n != 1 {
					t.Errorf("%d creations", n)
				}
			})
		})
	}
}

func TestForgetReachesEveryVersion(t *testing.T) {
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. Five callers create, each for a version of its own.  2. Forget.
				// 3. Five more come, and create for themselves.
				var fs lock.Flights
				gate := make(chan struct{})
				var creations, unlocked atomic.Int64
				callers := func() {
					for i := range 5 {
						l := &lock.Lock[int]{
							Key: "k", Flights: &fs,
							Version: func(int) string { return fmt.Sprint(i) },
							Mutex:   anyone{&unlocked},
							Read:    func(context.Context) (int, time.Time, error) { return 0, time.Time{}, nil },
							Create:  func(context.Context) (int, error) { creations.Add(1); <-gate; return i, nil },
						}
						for range 2 {
							go l.Do(t.Context())
						}
					}
					synctest.Wait()
				}
				callers()
				forget(&fs)
				if n, forgotten := unlocked.Load(), map[string]int64{"Forget": 0, "ForgetAll": 5}[name]; n != forgotten {
					t.Errorf("%d are unlocked, want %d", n, forgotten)
				}
				callers()
				if n := creations.Load(); n != 10 {
					t.Errorf("%d creations, want 10", n)
				}
				close(gate)
				synctest.Wait()
				if n, left := unlocked.Load(), fs.Running(); n != 10 || left != 0 {
					t.Errorf("%d unlocks, %d flights at the end", n, left)
				}
			})
		})
	}
}

// anyone is a mutex that excludes nobody.
type anyone struct{ unlocked *atomic.Int64 }

func (anyone) TryLock(context.Context) (bool, error) { return true, nil }
func (anyone) Lock(context.Context) error            { return nil }
func (a anyone) Unlock()                             { a.unlocked.Add(1) }

func TestForgetLeavesOtherKeysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		s := new(site)
		l := s.lock(newMutex(s))
		l.Key, l.Flights = "k", &fs
		gate := make(chan struct{})
		l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
		a := async(l.Do, t.Context())
		fs.Rest("k", time.Minute)
		fs.Forget()
		fs.Forget("j", "kk", "")
		b := async(l.Do, t.Context())
		if !fs.Resting("k") || s.count("unlock") != 0 {
			t.Error("the key's rest or lock is gone")
		}
		close(gate)
		want(t, "A", a, "new1", nil)
		want(t, "B", b, "new1", nil)
	})
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Key, l.Flights = "k", &fs
		rests := func(d time.Duration) {
			t.Helper()
			fs.Rest("k", time.Second)
			time.Sleep(d)
			if v, err := l.Do(t.Context()); v != "old" || err != nil || !fs.Resting("k") || fs.Resting("j") {
				t.Errorf("after %v: %q, %v; resting: %v", d, v, err, fs.Resting("k"))
			}
		}
		rests(0)
		rests(time.Second - 1)
		rests(time.Second - 1) // the second call counted anew
		if len(s.log) != 3 {
			t.Errorf("traffic is %q", s.log)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if fs.Resting("k") {
			t.Error("the rest has no end")
		}
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("afterwards: %q, %v", v, err)
		}
		fs.Rest("k", time.Hour)
		s.clear()
		if v, err := l.Do(t.Context()); v != "new2" || err != nil {
			t.Errorf("nothing to rest on: %q, %v", v, err)
		}
	})
}

func TestForgetEndsTheRest(t *testing.T) {
	for name, forget := range forgets {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fs lock.Flights
				fs.Rest("k", time.Second)
				forget(&fs)
				if fs.Resting("k") {
					t.Error("still resting")
				}
				// 1. The timer of a rest that was ended must not end the next one.
				time.Sleep(time.Second / 2)
				fs.Rest("k", time.Second)
				time.Sleep(time.Second / 2)
				synctest.Wait()
				if !fs.Resting("k") {
					t.Error("the old rest's timer ended the new one")
				}
				time.Sleep(time.Second / 2)
			})
		})
	}
}

func TestFlightsAreSharedByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates "k" with a Lock of strings.  2. B comes with a Lock of its
		// own, and the same key: it joins.  3. C asks for the same key as an int:
		// it waits, cannot use what A made, and creates.  4. D's key is another: it
		// does not wait.
		var fs lock.Flights
		s := new(site)
		m := newMutex(s)
		gate := make(chan struct{})
		make1 := func(key string) *lock.Lock[string] {
			l := s.lock(m)
			l.Key, l.Flights = key, &fs
			l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
			return l
		}
		a := async(make1("k").Do, t.Context())
		b := async(make1("k").Do, t.Context())
		number := &lock.Lock[int]{
			Key: "k", Flights: &fs,
			Read:   func(context.Context) (int, time.Time, error) { return 0, time.Time{}, nil },
			Create: func(context.Context) (int, error) { return 42, nil },
		}
		c := async(func(ctx context.Context) (string, error) { n, err := number.Do(ctx); return fmt.Sprint(n), err }, t.Context())
		waits(t, "C", c)
		d := make1("d")
		d.Mutex, d.Create, d.Store = nil, s.create, nil
		want(t, "D", async(d.Do, t.Context()), "new1", nil)
		close(gate)
		want(t, "A", a, "new2", nil)
		want(t, "B", b, "new2", nil)
		want(t, "C", c, "42", nil)
	})
}

func TestCreating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs, others lock.Flights
		s := new(site)
		l := s.lock(nil)
		l.Key, l.Flights = "k", &fs
		l.Create = func(ctx context.Context) (string, error) {
			if !fs.Creating(ctx) || others.Creating(ctx) || fs.Creating(context.Background()) {
				t.Errorf("Creating: %v; of others: %v; without: %v", fs.Creating(ctx), others.Creating(ctx), fs.Creating(context.Background()))
			}
			return "", nil
		}
		if _, err := l.Do(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		s := new(site)
		l := s.lock(newMutex(s))
		l.Flights = &fs
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
		a := async(l.Do, t.Context())
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := fs.Close(t.Context()); err != nil || time.Since(began) != time.Second {
					t.Errorf("Close = %v after %v", err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		if b := async(l.Do, t.Context()); len(b) == 1 {
			t.Errorf("B: %v", <-b) // may join, must not fail
		}
		wg.Wait()
		want(t, "A", a, "new1", nil)
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("fresh after Close: %q, %v", v, err)
		}
		s.clear()
		if _, err := l.Do(t.Context()); err != lock.ErrClosed || s.count("create") != 1 {
			t.Errorf("missing after Close: %v", err)
		}
	})
}

func TestCloseGivesUp(t *testing.T) {
	for name, heeds := range map[string]bool{"creator heeds its context": true, "creator does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. A creates, B waits for another key's lock.  2. Close waits for a
				// second.  3. Its context ends: everybody is freed with ErrClosed, the
				// creator is cancelled, the locks are given back.
				var fs lock.Flights
				s, other := new(site), new(site)
				m, held := newMutex(s), newMutex(other)
				la, lb := s.lock(m), other.lock(held)
				la.Key, la.Flights, lb.Key, lb.Flights = "a", &fs, "b", &fs
				held.try()
				gate := make(chan struct{})
				var cause error
				la.Create = func(ctx context.Context) (string, error) {
					if heeds {
						<-ctx.Done()
					} else {
						<-gate
					}
					cause = context.Cause(ctx)
					return "late", ctx.Err()
				}
				a, b := async(la.Do, t.Context()), async(lb.Do, t.Context())
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := fs.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close = %v", err)
				}
				want(t, "A", a, "", lock.ErrClosed)
				want(t, "B", b, "", lock.ErrClosed)
				if !m.try() {
					t.Error("A's mutex is still held")
				}
				close(gate)
				if err := fs.Close(t.Context()); err != nil || fs.Running() != 0 {
					t.Errorf("second Close = %v, %d flights left", err, fs.Running())
				}
				if s.count("store") != 0 || cause != lock.ErrClosed {
					t.Errorf("cause %v, traffic %v", cause, s.log)
				}
			})
		})
	}
}

func TestCloseOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var fs lock.Flights
		for range 2 {
			if err := fs.Close(ctx); err != nil {
				t.Errorf("Close = %v", err) // nothing to wait for, no need to look at ctx
			}
		}
	})
}

func TestCloseDropsTasksThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A Runner keeps a task.  2. Close gives up.  3. The task does nothing
		// any more.
		var fs lock.Flights
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Flights = &fs
		var task func()
		l.Runner = func(f func()) { task = f }
		want(t, "A", async(l.Do, t.Context()), "old", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := fs.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v", err)
		}
		task()
		if got := strings.Join(s.log, " "); got != "read" || fs.Running() != 0 {
			t.Errorf("traffic %q, %d flights left", got, fs.Running())
		}
	})
}

// TestAbandonedOnDeparture: a flight that is abandoned at the very moment when
// its goroutine starts ends all the same. It is found by trying often.
func TestAbandonedOnDeparture(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 10000 {
		var fs lock.Flights
		var task func()
		l := &lock.Lock[int]{
			Flights: &fs, Expiration: 1,
			Read:   func(context.Context) (int, time.Time, error) { return 1, time.Unix(1, 0), nil },
			Create: func(context.Context) (int, error) { return 2, nil },
			Runner: func(f func()) { task = f },
		}
		if _, err := l.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		// 1. Close abandons the flight, whose goroutine has not started.  2. It
		// starts at this moment, and finds that it need not.  3. Close must not take
		// it for one that will end by itself.
		var ready atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !ready.Load() {
			}
			for range i % 500 {
				ready.Load()
			}
			task()
		})
		ready.Store(true)
		err := fs.Close(ctx)
		wg.Wait()
		if n := fs.Running(); n != 0 {
			t.Fatalf("try %d: %d flights never end; Close = %v", i, n, err)
		}
	}
}

// landed waits until no flight is in the air.
func landed(t *testing.T, fs *lock.Flights) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); fs.Running() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d flights never end", fs.Running())
		}
	}
}

// keep is a value with its mutex that several Flights share, as processes share
// a backend.
type keep struct {
	mutex
	creators tally
	mu       sync.Mutex
	made     time.Time
	n        int
}

func (k *keep) read(context.Context) (int, time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n, k.made, nil
}

// lock returns a Lock that somebody uses once.
func (k *keep) lock(rnd *rand.Rand, key string, fs *lock.Flights) *lock.Lock[int] {
	l := &lock.Lock[int]{Key: key, Flights: fs, Mutex: &k.mutex, Read: k.read, Expiration: 200 * time.Microsecond}
	l.Create = func(ctx context.Context) (int, error) {
		defer k.creators.enter()()
		switch rnd := rand.IntN(20); rnd {
		case 0:
			return 0, errBroken
		case 1:
			panic(errBroken)
		case 2:
			runtime.Goexit()
		default:
			for range rnd * 10 {
				runtime.Gosched()
			}
		}
		return 1, nil
	}
	l.Store = func(_ context.Context, n int) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.n, k.made = k.n+n, time.Now()
		return true
	}
	if rnd.IntN(2) == 0 {
		l.Mutex = waiter{&k.mutex}
	}
	if rnd.IntN(2) == 0 {
		l.Runner = func(task func()) { go task() }
	}
	return l
}

// TestStress: three processes, real time. Never two creators of one key at
// once, and everything comes to an end.
func TestStress(t *testing.T) {
	var sites [3]lock.Flights
	keeps := make([]*keep, 4)
	for i := range keeps {
		keeps[i] = &keep{mutex: mutex{s: new(site)}}
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var calls atomic.Int64
	for w := range 32 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for ctx.Err() == nil {
				n := rnd.IntN(len(keeps))
				l := keeps[n].lock(rnd, fmt.Sprint(n), &sites[rnd.IntN(len(sites))])
				cctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(2000))*time.Microsecond)
				do := l.Do
				if rnd.IntN(10) == 0 {
					do = l.Renew
				}
				_, err := do(cctx)
				cancel()
				if err != nil && !errors.Is(err, errBroken) && err != lock.ErrGoexit && cctx.Err() == nil {
					t.Errorf("call: %v", err)
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	for i := range sites {
		landed(t, &sites[i])
	}
	made := 0
	for i, k := range keeps {
		made += k.n
		if most := k.creators.most.Load(); most != 1 {
			t.Errorf("key %d: %d creators at once", i, most)
		}
		if !k.try() {
			t.Errorf("key %d: the mutex is still held", i)
		}
	}
	settled(t, before)
	t.Logf("%d calls, %d creations", calls.Load(), made)
}

// settled waits until there are no more goroutines than before.
func settled(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}
