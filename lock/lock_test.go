package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// reading is what one Read finds.
type reading struct {
	v   string
	age time.Duration
	err error
}

var (
	nothing = reading{age: -1}
	fresh   = reading{v: "fresh", age: time.Minute}
	stale   = reading{v: "stale", age: time.Minute + 1}
	broken  = reading{err: errBroken}
)

type trafficRow struct {
	name    string
	held    bool // by another, for a second
	finds   []reading
	change  func(*lock.Lock[string])
	v       string
	err     error
	traffic string
}

func broke(context.Context) (string, error)    { return "", errBroken }
func panics(context.Context) (string, error)   { panic(errBroken) }
func exits(context.Context) (string, error)    { runtime.Goexit(); return "", nil }
func storePanics(context.Context, string) bool { panic(errBroken) }
func storeExits(context.Context, string) bool  { runtime.Goexit(); return false }
func creates(f func(context.Context) (string, error)) func(*lock.Lock[string]) {
	return func(l *lock.Lock[string]) { l.Create = f }
}

func stores(f func(context.Context, string) bool) func(*lock.Lock[string]) {
	return func(l *lock.Lock[string]) { l.Store = f }
}

func canWait(l *lock.Lock[string]) { l.Mutex = waiter{l.Mutex.(*mutex)} }

// failing is a mutex whose methods fail.
type failing struct{ s *site }

func (f failing) TryLock(context.Context) (bool, error) { f.s.note("try"); return false, errBroken }
func (f failing) Lock(context.Context) error            { f.s.note("lock"); return errBroken }
func (f failing) Unlock()                               { panic("unlock of a mutex that was never taken") }

// refusing is a mutex that is held for ever and whose waiting fails.
type refusing struct{ failing }

func (r refusing) TryLock(context.Context) (bool, error) { r.s.note("try"); return false, nil }

func traffic() []trafficRow {
	fails := func(m func(*site) lock.Mutex) func(*lock.Lock[string]) {
		return func(l *lock.Lock[string]) { l.Mutex = m(l.Mutex.(*mutex).s) }
	}
	return []trafficRow{
		{"L1 fresh", true, []reading{fresh}, nil, "fresh", nil, "read"},
		{"L1 first read fails", false, []reading{broken}, nil, "", errBroken, "read"},
		{"L2 stale, creator elsewhere", true, []reading{stale}, nil, "stale", nil, "read try"},
		{"L3 stale, lock won", false, []reading{stale}, nil, "new1", nil, "read try read create store unlock"},
		{"L5 stale, made elsewhere before the lock was won", false, []reading{stale, fresh}, nil, "fresh", nil, "read try read unlock"},
		{"stale, deleted before the lock was won", false, []reading{stale, nothing}, nil, "new1", nil, "read try read create store unlock"},
		{"L7 missing, lock free", false, []reading{nothing}, nil, "new1", nil, "read try read create store unlock"},
		{"L6 L7 missing, waited, made elsewhere", true, []reading{nothing, fresh}, nil, "fresh", nil, "read try lock read unlock"},
		{"L6 L7 missing, waited, still missing", true, []reading{nothing}, nil, "new1", nil, "read try lock read create store unlock"},
		{"L7 missing, waited, stale by then", true, []reading{nothing, stale}, nil, "new1", nil, "read try lock read create store unlock"},
		{"Waiter, made elsewhere", true, []reading{nothing, fresh}, canWait, "fresh", nil, "read try wait read"},
		{"Waiter, still missing", true, []reading{nothing}, canWait, "new1", nil, "read try wait read try read create store unlock"},
		{"Waiter, made elsewhere before the lock was won", true, []reading{nothing, nothing, fresh}, canWait, "fresh", nil, "read try wait read try read unlock"},
		{"Waiter, read fails after waiting", true, []reading{nothing, broken}, canWait, "", errBroken, "read try wait read"},
		{"no Store", false, []reading{nothing}, stores(nil), "new1", nil, "read try read create unlock"},
		{"no Mutex", false, []reading{nothing}, func(l *lock.Lock[string]) { l.Mutex = nil }, "new1", nil, "read read create store"},
		{"L8 L9 creator fails", false, []reading{nothing}, creates(broke), "", errBroken, "read try read unlock"},
		{"L9 creator fails with a stale value", false, []reading{stale}, creates(broke), "", errBroken, "read try read unlock"},
		{"L8 creator panics", false, []reading{nothing}, creates(panics), "", errBroken, "read try read unlock"},
		{"L8 creator calls Goexit", false, []reading{nothing}, creates(exits), "", lock.ErrGoexit, "read try read unlock"},
		{"L8 Store panics", false, []reading{nothing}, stores(storePanics), "", errBroken, "read try read create unlock"},
		{"L8 Store calls Goexit", false, []reading{nothing}, stores(storeExits), "", lock.ErrGoexit, "read try read create unlock"},
		{"L8 read fails after winning", false, []reading{nothing, broken}, nil, "", errBroken, "read try read unlock"},
		{"L8 read fails after winning, stale", false, []reading{stale, broken}, nil, "", errBroken, "read try read unlock"},
		{"L11 try fails", false, []reading{nothing}, fails(func(s *site) lock.Mutex { return failing{s} }), "", errBroken, "read try"},
		{"L11 waiting fails", false, []reading{nothing}, fails(func(s *site) lock.Mutex { return refusing{failing{s}} }), "", errBroken, "read try lock"},
		{"L10 lock lost before Store", false, []reading{nothing}, stores(func(context.Context, string) bool { return false }), "new1", nil, "read try read create unlock"},
	}
}

func TestTraffic(t *testing.T) {
	for _, row := range traffic() {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				m := newMutex(s)
				l := s.lock(m)
				l.Read = func(context.Context) (string, time.Time, error) {
					n := s.count("read")
					s.note("read")
					r := row.finds[min(n, len(row.finds)-1)]
					if r.age < 0 || r.err != nil {
						return "", time.Time{}, r.err
					}
					return r.v, time.Now().Add(-r.age), nil
				}
				if row.change != nil {
					row.change(l)
				}
				if row.held {
					m.try()
					time.AfterFunc(time.Second, m.free)
				}
				v, err := l.Do(t.Context())
				if v != row.v && row.err == nil || !errors.Is(err, row.err) {
					t.Errorf("Do = %q, %v; want %q, %v", v, err, row.v, row.err)
				}
				time.Sleep(time.Minute)
				if got := strings.Join(s.log, " "); got != row.traffic {
					t.Errorf("traffic is %q, want %q", got, row.traffic)
				}
				if !m.try() {
					t.Error("the mutex is still held")
				}
			})
		})
	}
}

func TestExpiration(t *testing.T) {
	for _, row := range []struct {
		name       string
		expiration time.Duration
		stale      func(string, time.Time) bool
		age        time.Duration
		fresh      bool
	}{
		{"no expiration", 0, nil, 1000 * time.Hour, true},
		{"never", lock.Never, nil, 1000 * time.Hour, true},
		{"exactly as old", time.Second, nil, time.Second, true},
		{"a nanosecond older", time.Second, nil, time.Second + 1, false},
		{"half a second", 500 * time.Millisecond, nil, 501 * time.Millisecond, false},
		{"a nanosecond", 1, nil, 2, false},
		{"from the near future", time.Minute, nil, -time.Second, true},
		{"from the far future", time.Minute, nil, -time.Hour, false},
		{"Stale says yes", 0, func(string, time.Time) bool { return true }, 0, false},
		{"Stale says no", 1, func(string, time.Time) bool { return false }, time.Hour, true},
		{"Stale sees value and time", 0, func(v string, at time.Time) bool { return v != "old" || time.Since(at) != time.Hour }, time.Hour, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				s.set("old", row.age)
				l := s.lock(nil)
				l.Expiration, l.Stale = row.expiration, row.stale
				v, err := l.Do(t.Context())
				if wantV := map[bool]string{true: "old", false: "new1"}[row.fresh]; v != wantV || err != nil {
					t.Errorf("Do = %q, %v; want %q", v, err, wantV)
				}
			})
		})
	}
}

func TestZeroTimeIsMissingWhateverStaleSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(nil)
		l.Stale = func(string, time.Time) bool { t.Error("Stale was asked about nothing"); return false }
		l.Store = nil
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("Do = %q, %v", v, err)
		}
	})
}

func TestDoReadTakesTheCallersReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		if v, err := l.DoRead(t.Context(), "mine", time.Now()); v != "mine" || err != nil || len(s.log) != 0 {
			t.Errorf("fresh: %q, %v after %v", v, err, s.log)
		}
		if v, err := l.DoRead(t.Context(), "", time.Time{}); v != "new1" || err != nil || s.count("read") != 1 {
			t.Errorf("missing: %q, %v after %v", v, err, s.log)
		}
	})
}

func TestZeroLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No Key, no Flights, no Mutex, no Store, no Expiration.
		gate := make(chan struct{})
		var created int
		l := &lock.Lock[int]{
			Read:   func(context.Context) (int, time.Time, error) { return 0, time.Time{}, nil },
			Create: func(context.Context) (int, error) { created++; <-gate; return 7, nil },
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if v, err := l.Do(t.Context()); v != 7 || err != nil {
					t.Errorf("Do = %d, %v", v, err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if created != 1 {
			t.Errorf("%d creations", created)
		}
	})
}

func TestInterfaceHoldingNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := &lock.Lock[error]{
			Read:   func(context.Context) (error, time.Time, error) { return nil, time.Time{}, nil },
			Create: func(context.Context) (error, error) { calls++; return nil, nil },
		}
		if v, err := l.Do(t.Context()); v != nil || err != nil || calls != 1 {
			t.Errorf("Do = %v, %v after %d creations", v, err, calls)
		}
		stamp := time.Now()
		l.Read = func(context.Context) (error, time.Time, error) { return nil, stamp, nil }
		if v, err := l.Do(t.Context()); v != nil || err != nil || calls != 1 {
			t.Errorf("a nil that is there: %v, %v after %d creations", v, err, calls)
		}
	})
}

// TestFailureIsSharedOnce: L9 with its defect mended. Twenty wait, the creator
// runs once, and nobody tries in turn.
func TestFailureIsSharedOnce(t *testing.T) {
	for name, fail := range map[string]func(context.Context) (string, error){"error": broke, "panic": panics, "Goexit": exits} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				m := newMutex(s)
				l := s.lock(m)
				gate := make(chan struct{})
				l.Create = func(ctx context.Context) (string, error) { s.note("create"); <-gate; return fail(ctx) }
				var calls []chan result
				for range 20 {
					calls = append(calls, async(l.Do, t.Context()))
				}
				close(gate)
				wantErr := errBroken
				if name == "Goexit" {
					wantErr = lock.ErrGoexit
				}
				for i, c := range calls {
					want(t, fmt.Sprint("caller ", i), c, "", wantErr)
				}
				if n := s.count("create"); n != 1 {
					t.Errorf("%d calls of the creator", n)
				}
				l.Create = s.create
				if v, err := l.Do(t.Context()); v != "new2" || err != nil {
					t.Errorf("next call: %q, %v", v, err)
				}
			})
		})
	}
}

func TestErrorIsPassedOnUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		l.Create = broke
		if _, err := l.Do(t.Context()); err != errBroken {
			t.Errorf("Do = %#v, want the creator's own", err)
		}
		l.Create = panics
		_, err := l.Do(t.Context())
		var p *lock.PanicError
		if !errors.As(err, &p) || p.Value != any(errBroken) || !strings.Contains(string(p.Stack), "lock_test.panics") {
			t.Errorf("Do = %#v", err)
		}
		if want := "creator panicked: broken"; err.Error() != want || errors.Unwrap(err) != errBroken {
			t.Errorf("%q wraps %v", err, errors.Unwrap(err))
		}
		if errors.Unwrap(&lock.PanicError{Value: "text"}) != nil {
			t.Error("a panic with a text wraps an error")
		}
	})
}

// TestRunner: L4. The task is the Runner's, the stale value the caller's.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		var tasks []func()
		l.Runner = func(task func()) { tasks = append(tasks, task) }
		for range 3 {
			if v, err := l.Do(t.Context()); v != "old" || err != nil {
				t.Errorf("Do = %q, %v", v, err)
			}
		}
		if len(tasks) != 1 || s.count("try") != 0 {
			t.Fatalf("%d tasks, traffic %v", len(tasks), s.log)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Do(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("caller who has left: %v", err)
		}
		tasks[0]()
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("afterwards: %q, %v", v, err)
		}
		tasks[0]() // is done already: does nothing
		if got, want := strings.Join(s.log, " "), "read read read read try read create store unlock read"; got != want {
			t.Errorf("traffic is %q, want %q", got, want)
		}
	})
}

func TestTaskThatIsRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(nil)
		l.Runner = func(task func()) { go task(); go task() }
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
		want(t, "A", async(l.Do, t.Context()), "old", nil)
		time.Sleep(time.Minute)
		if n := s.count("create"); n != 1 || s.value() != "new1" {
			t.Errorf("%d creations, stored %q", n, s.value())
		}
	})
}

func TestRunnerIsNotAskedForMissingValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		l.Runner = func(func()) { t.Error("the Runner was asked") }
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("Do = %q, %v", v, err)
		}
		if v, err := l.Renew(t.Context()); v != "new2" || err != nil {
			t.Errorf("Renew = %q, %v", v, err)
		}
	})
}

// TestMissingWaitsForTheRunner: 1. A finds a stale value, the Runner creates.
// 2. The value is deleted.  3. B finds nothing and waits for the same flight.
func TestMissingWaitsForTheRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Runner = func(task func()) { go task() }
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
		want(t, "A", async(l.Do, t.Context()), "old", nil)
		s.clear()
		b := async(l.Do, t.Context())
		waits(t, "B", b)
		time.Sleep(time.Second)
		want(t, "B", b, "new1", nil)
	})
}

// TestRunnersFailureIsNotTheCallers: nobody gets the error, and the lock is
// free for the next try.
func TestRunnersFailureIsNotTheCallers(t *testing.T) {
	for name, fail := range map[string]func(context.Context) (string, error){"error": broke, "panic": panics, "Goexit": exits} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				s.set("old", time.Hour)
				m := newMutex(s)
				l := s.lock(m)
				l.Runner = func(task func()) { go task() }
				l.Create = fail
				want(t, "A", async(l.Do, t.Context()), "old", nil)
				if !m.try() {
					t.Fatal("the mutex is still held")
				}
				m.free()
				l.Create = s.create
				want(t, "B", async(l.Do, t.Context()), "old", nil)
				want(t, "C", async(l.Do, t.Context()), "new1", nil)
			})
		})
	}
}

func TestRunnerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Runner blocks.  2. The value is deleted; B joins the flight and has
		// it run at once.  3. The Runner panics: that is A's alone.
		s := new(site)
		s.set("old", time.Hour)
		m := newMutex(s)
		l := s.lock(m)
		gate := make(chan struct{})
		l.Runner = func(func()) { <-gate; panic("full") }
		a := make(chan any, 1)
		go func() {
			defer func() { a <- recover() }()
			l.Do(t.Context())
		}()
		synctest.Wait()
		s.clear()
		b := async(l.Do, t.Context())
		close(gate)
		if p := <-a; p != "full" {
			t.Errorf("A panicked with %v", p)
		}
		synctest.Wait()
		want(t, "B", b, "new1", nil)
		want(t, "C", async(l.Do, t.Context()), "new1", nil)
	})
}

func TestRunnerPanicsWhileSomebodyElseFlies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Runner blocks.  2. The value is deleted; B has the flight run, which
		// takes a second.  3. The Runner panics: the flight is not its any more.
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Runner = func(func()) { time.Sleep(time.Second / 2); panic("full") }
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
		go func() {
			defer func() {
				if p := recover(); p != "full" {
					t.Errorf("A panicked with %v", p)
				}
			}()
			l.Do(t.Context())
		}()
		synctest.Wait()
		s.clear()
		b := async(l.Do, t.Context())
		time.Sleep(time.Second)
		want(t, "B", b, "new1", nil)
	})
}

func TestRunnerDropsTheTask(t *testing.T) {
	for name, late := range map[string]bool{"for ever": false, "and runs it when it is too late": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. A's task goes nowhere.  2. B finds nothing, joins the flight and has
				// it run at once.  3. The task, should it still be run, does nothing.
				var fs lock.Flights
				s := new(site)
				s.set("old", time.Hour)
				l := s.lock(newMutex(s))
				l.Flights = &fs
				l.Timeout = time.Second
				var task func()
				l.Runner = func(f func()) { task = f }
				want(t, "A", async(l.Do, t.Context()), "old", nil)
				if n := fs.Running(); n != 1 {
					t.Errorf("%d flights while the task waits", n)
				}
				s.clear()
				b := async(l.Do, t.Context())
				want(t, "B", b, "new1", nil)
				if late {
					task()
				}
				if n := fs.Running(); n != 0 || s.count("create") != 1 {
					t.Errorf("%d flights, traffic %v", n, s.log)
				}
				want(t, "C", async(l.Do, t.Context()), "new1", nil)
				if err := fs.Close(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
			})
		})
	}
}

func TestRenew(t *testing.T) {
	for name, state := range map[string]func(*site){
		"fresh": func(s *site) { s.set("old", 0) }, "stale": func(s *site) { s.set("old", time.Hour) }, "missing": (*site).clear,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				state(s)
				l := s.lock(newMutex(s))
				l.Runner = func(func()) { t.Error("the Runner was asked") }
				if v, err := l.Renew(t.Context()); v != "new1" || err != nil || s.value() != "new1" {
					t.Errorf("Renew = %q, %v; stored %q", v, err, s.value())
				}
				l.Create = broke
				if _, err := l.Renew(t.Context()); err != errBroken || s.value() != "new1" {
					t.Errorf("failing Renew = %v; stored %q", err, s.value())
				}
			})
		})
	}
}

func TestRenewTakesNoCreationThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates.  2. B and C renew: both wait for the lock, together.
		// 3. A is done.  4. B's flight creates.  5. D renews: that creation has
		// begun, D needs another.
		s := new(site)
		l := s.lock(newMutex(s))
		gate := make(chan struct{})
		l.Create = func(ctx context.Context) (string, error) { v, err := s.create(ctx); <-gate; return v, err }
		a := async(l.Do, t.Context())
		b, c := async(l.Renew, t.Context()), async(l.Renew, t.Context())
		waits(t, "B", b)
		gate <- struct{}{}
		want(t, "A", a, "new1", nil)
		d := async(l.Renew, t.Context())
		gate <- struct{}{}
		want(t, "B", b, "new2", nil)
		want(t, "C", c, "new2", nil)
		waits(t, "D", d)
		gate <- struct{}{}
		want(t, "D", d, "new3", nil)
	})
}

func TestRenewDoesNotShareWithDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. Another process creates; A waits for it.  2. B wants a new value, and
		// must not join A, whose flight may end with the other's.  3. It does.
		s := new(site)
		m := newMutex(s)
		l := s.lock(m)
		m.try()
		a, b := async(l.Do, t.Context()), async(l.Renew, t.Context())
		s.set("theirs", 0)
		m.free()
		want(t, "B", b, "new1", nil)
		synctest.Wait()
		if got := <-a; got.err != nil || got.v != "theirs" && got.v != "new1" {
			t.Errorf("A got %q, %v", got.v, got.err)
		}
	})
}

func TestVersionSeparatesFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A starts a flight for version 1.  2. The version becomes 2.  3. B must
		// not join A's flight; C may join B's.  4. A is done, then B.
		s := new(site)
		l := s.lock(newMutex(s))
		version := "1"
		l.Version = func(string) string { return version }
		gate := make(chan struct{})
		l.Create = func(ctx context.Context) (string, error) { v, err := s.create(ctx); <-gate; return v, err }
		l.Store = func(ctx context.Context, v string) bool { s.note("store"); return true } // it is of another version: missing
		a := async(l.Do, t.Context())
		version = "2"
		b, c := async(l.Do, t.Context()), async(l.Do, t.Context())
		gate <- struct{}{}
		want(t, "A", a, "new1", nil)
		waits(t, "B", b)
		gate <- struct{}{}
		want(t, "B", b, "new2", nil)
		want(t, "C", c, "new2", nil)
	})
}

// TestAnyVersion: those who could not read join whatever is in the air. Where
// the one who began could not read either, they take its value even if they came
// late and its lock was lost.
func TestAnyVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A, who could not read, creates; B, who could not either, joins; C, who
		// could, does not.  2. A's lock is lost.  3. A is done.  4. B takes the value.
		// C creates.
		var fs lock.Flights
		s := new(site)
		m := newMutex(s)
		newLock := func(version string) *lock.Lock[string] {
			l := s.lock(m)
			l.Flights = &fs
			l.Version = func(string) string { return version }
			return l
		}
		gate := make(chan struct{})
		l := newLock(lock.AnyVersion)
		l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
		l.Store = func(context.Context, string) bool { return false }
		a := async(l.Do, t.Context())
		b, c := async(newLock(lock.AnyVersion).Do, t.Context()), async(newLock("1").Do, t.Context())
		close(gate)
		want(t, "A", a, "new1", nil)
		want(t, "B", b, "new1", nil)
		want(t, "C", c, "new2", nil)
	})
}

func TestAnyVersionJoinsEveryFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A creates for version 1.  2. B, who could not read, joins.  3. A's lock is
		// lost; A is done.  4. B, who came late, starts over.  With the lock held, B
		// takes A's value.
		for _, held := range []bool{true, false} {
			s := new(site)
			l := s.lock(newMutex(s))
			version := "1"
			l.Version = func(string) string { return version }
			gate := make(chan struct{})
			l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
			l.Store = func(context.Context, string) bool { return held }
			a := async(l.Do, t.Context())
			version = lock.AnyVersion
			b := async(l.Do, t.Context())
			if n := s.count("lock"); n != 0 {
				t.Errorf("B has a flight of its own: %v", s.log)
			}
			close(gate)
			want(t, "A", a, "new1", nil)
			want(t, "B", b, map[bool]string{true: "new1", false: "new2"}[held], nil)
		}
	})
}

func TestVersionIsAskedAboutTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(nil)
		var asked []string
		l.Version = func(v string) string { asked = append(asked, v); return v }
		if _, err := l.Do(t.Context()); err != nil || len(asked) != 1 || asked[0] != "old" {
			t.Errorf("asked about %q, %v", asked, err)
		}
	})
}

// TestRecursion: L12 with its defect mended.
func TestRecursion(t *testing.T) {
	var fs lock.Flights
	var a, b *lock.Lock[string]
	read := func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil }
	a = &lock.Lock[string]{Key: "a", Flights: &fs, Read: read}
	b = &lock.Lock[string]{Key: "b", Flights: &fs, Read: read}
	constant := func(context.Context) (string, error) { return "b", nil }
	own := &lock.Lock[string]{Key: "a", Read: read, Create: constant}
	for _, row := range []struct {
		name    string
		a, b    func(context.Context) (string, error)
		v       string
		err     error
		creates string
	}{
		{"itself", func(ctx context.Context) (string, error) { return a.Do(ctx) }, nil, "", lock.ErrRecursive, ""},
		{"itself, to renew", func(ctx context.Context) (string, error) { return a.Renew(ctx) }, nil, "", lock.ErrRecursive, ""},
		{"another", func(ctx context.Context) (string, error) { return b.Do(ctx) }, constant, "b", nil, ""},
		{"itself, through another", func(ctx context.Context) (string, error) { return b.Do(ctx) }, func(ctx context.Context) (string, error) { return a.Do(ctx) }, "", lock.ErrRecursive, ""},
		{"its key in other Flights", func(ctx context.Context) (string, error) { return own.Do(ctx) }, nil, "b", nil, ""},
		{"itself, in a context with values of its own", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(context.WithValue(ctx, &fs, 1), time.Minute)
			defer cancel()
			return a.Do(ctx)
		}, nil, "", lock.ErrRecursive, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a.Create, b.Create = row.a, row.b
			if v, err := a.Do(t.Context()); v != row.v || !errors.Is(err, row.err) {
				t.Errorf("Do = %q, %v; want %q, %v", v, err, row.v, row.err)
			}
		})
	}
}

func TestRecursionOfAFreshValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A creator that renews may read the value that is there.
		s := new(site)
		s.set("old", 0)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) { v, err := l.Do(ctx); return v + "er", err }
		if v, err := l.Renew(t.Context()); v != "older" || err != nil {
			t.Errorf("Renew = %q, %v", v, err)
		}
	})
}

// TestCreatorsThatWaitForEachOther cannot be told from slow ones; their time
// runs out.
func TestCreatorsThatWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fs lock.Flights
		locks := make([]*lock.Lock[string], 2)
		for i := range locks {
			locks[i] = &lock.Lock[string]{
				Key: fmt.Sprint(i), Flights: &fs, Timeout: time.Second,
				Read:   func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil },
				Create: func(ctx context.Context) (string, error) { time.Sleep(time.Millisecond); return locks[1-i].Do(ctx) },
			}
		}
		a, b := async(locks[0].Do, t.Context()), async(locks[1].Do, t.Context())
		time.Sleep(time.Minute)
		for _, c := range []chan result{a, b} {
			if got := <-c; got.err == nil {
				t.Errorf("got %q", got.v)
			}
		}
		if n := fs.Running(); n != 0 {
			t.Errorf("%d flights left", n)
		}
	})
}
