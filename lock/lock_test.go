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

// reading is what one Read finds; an age below 0 stands for nothing.
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
		{"fresh", true, []reading{fresh}, nil, "fresh", nil, "read"},
		{"first read fails", false, []reading{broken}, nil, "", errBroken, "read"},
		{"stale, creator elsewhere", true, []reading{stale}, nil, "stale", nil, "read try"},
		{"stale, lock won", false, []reading{stale}, nil, "new1", nil, "read try read create store unlock"},
		{"stale, made elsewhere before the lock was won", false, []reading{stale, fresh}, nil, "fresh", nil, "read try read unlock"},
		{"stale, deleted before the lock was won", false, []reading{stale, nothing}, nil, "new1", nil, "read try read create store unlock"},
		{"missing, lock free", false, []reading{nothing}, nil, "new1", nil, "read try read create store unlock"},
		{"missing, waited, made elsewhere", true, []reading{nothing, fresh}, nil, "fresh", nil, "read try lock read unlock"},
		{"missing, waited, still missing", true, []reading{nothing}, nil, "new1", nil, "read try lock read create store unlock"},
		{"missing, waited, stale by then", true, []reading{nothing, stale}, nil, "new1", nil, "read try lock read create store unlock"},
		{"Waiter, made elsewhere", true, []reading{nothing, fresh}, canWait, "fresh", nil, "read try wait read"},
		{"Waiter, still missing", true, []reading{nothing}, canWait, "new1", nil, "read try wait read try read create store unlock"},
		{"Waiter, made elsewhere before the lock was won", true, []reading{nothing, nothing, fresh}, canWait, "fresh", nil, "read try wait read try read unlock"},
		{"Waiter, read fails after waiting", true, []reading{nothing, broken}, canWait, "", errBroken, "read try wait read"},
		{"no Store", false, []reading{nothing}, stores(nil), "new1", nil, "read try read create unlock"},
		{"no Mutex", false, []reading{nothing}, func(l *lock.Lock[string]) { l.Mutex = nil }, "new1", nil, "read read create store"},
		{"creator fails", false, []reading{nothing}, creates(broke), "", errBroken, "read try read unlock"},
		{"creator fails with a stale value", false, []reading{stale}, creates(broke), "", errBroken, "read try read unlock"},
		{"creator panics", false, []reading{nothing}, creates(panics), "", errBroken, "read try read unlock"},
		{"creator calls Goexit", false, []reading{nothing}, creates(exits), "", lock.ErrGoexit, "read try read unlock"},
		{"Store panics", false, []reading{nothing}, stores(storePanics), "", errBroken, "read try read create unlock"},
		{"Store calls Goexit", false, []reading{nothing}, stores(storeExits), "", lock.ErrGoexit, "read try read create unlock"},
		{"read fails after winning", false, []reading{nothing, broken}, nil, "", errBroken, "read try read unlock"},
		{"read fails after winning, stale", false, []reading{stale, broken}, nil, "", errBroken, "read try read unlock"},
		{"try fails", false, []reading{nothing}, fails(func(s *site) lock.Mutex { return failing{s} }), "", errBroken, "read try"},
		{"waiting fails", false, []reading{nothing}, fails(func(s *site) lock.Mutex { return refusing{failing{s}} }), "", errBroken, "read try lock"},
		{"lock lost before Store", false, []reading{nothing}, stores(func(context.Context, string) bool { return false }), "new1", nil, "read try read create unlock"},
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
		age        time.Duration
		fresh      bool
	}{
		{"no expiration", 0, 1000 * time.Hour, true},
		{"never", lock.Never, 1000 * time.Hour, true},
		{"exactly as old", time.Second, time.Second, true},
		{"a nanosecond older", time.Second, time.Second + 1, false},
		{"half a second", 500 * time.Millisecond, 501 * time.Millisecond, false},
		{"a nanosecond", 1, 2, false},
		{"from the near future", time.Minute, -time.Second, true},
		{"from the far future", time.Minute, -time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				s.set("old", row.age)
				l := s.lock(nil)
				l.Expiration = row.expiration
				v, err := l.Do(t.Context())
				if wantV := map[bool]string{true: "old", false: "new1"}[row.fresh]; v != wantV || err != nil {
					t.Errorf("Do = %q, %v; want %q", v, err, wantV)
				}
			})
		})
	}
}

func TestZeroLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No Mutex, no Store, no Expiration, no Runner.
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

// TestFailureIsSharedOnce: twenty callers wait, the creator runs once, and they do
// not try one after another.
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

// TestRunner: the Runner gets the task, the caller gets the stale value.
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
		if v, err := l.Do(ctx); v != "old" || err != nil {
			t.Errorf("caller that has left: %q, %v", v, err) // needs nothing that takes time
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
	})
}

func TestMissingWaitsForTheRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A finds a stale value, the Runner creates.  2. The value is deleted.
		// 3. B finds nothing and waits for the same creation.
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

// TestRunnersFailureIsNotTheCallers: nobody gets the error, and the mutex is free for
// the next try.
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
		// 1. A's Runner blocks.  2. The value is deleted; B joins the creation and has
		// it run at once.  3. The Runner panics: only A gets that.
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

func TestRunnerPanicsWhileTheCreatorRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Runner blocks.  2. The value is deleted; B has the creation run, which
		// takes a second.  3. The Runner panics: that ends the creation no more.
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
				// 1. A's task is dropped.  2. B finds nothing, joins the creation and has it
				// run at once.  3. The task, should it still be run, does nothing.
				s := new(site)
				s.set("old", time.Hour)
				l := s.lock(newMutex(s))
				l.Timeout = time.Second
				var task func()
				l.Runner = func(f func()) { task = f }
				want(t, "A", async(l.Do, t.Context()), "old", nil)
				s.clear()
				b := async(l.Do, t.Context())
				want(t, "B", b, "new1", nil)
				if late {
					task()
				}
				if s.count("create") != 1 {
					t.Errorf("traffic %v", s.log)
				}
				want(t, "C", async(l.Do, t.Context()), "new1", nil)
			})
		})
	}
}

func TestRecursion(t *testing.T) {
	var a, b *lock.Lock[string]
	read := func(context.Context) (string, time.Time, error) { return "", time.Time{}, nil }
	constant := func(context.Context) (string, error) { return "b", nil }
	askA := func(ctx context.Context) (string, error) { return a.Do(ctx) }
	askB := func(ctx context.Context) (string, error) { return b.Do(ctx) }
	for _, row := range []struct {
		name string
		a, b func(context.Context) (string, error)
		v    string
		err  error
	}{
		{"itself", askA, nil, "", lock.ErrRecursive},
		{"another", askB, constant, "b", nil},
		{"itself, through another", askB, askA, "", lock.ErrRecursive},
		{"itself, in a context with values of its own", func(ctx context.Context) (string, error) {
			ctx, cancel := context.WithTimeout(context.WithValue(ctx, &a, 1), time.Minute)
			defer cancel()
			return a.Do(ctx)
		}, nil, "", lock.ErrRecursive},
	} {
		t.Run(row.name, func(t *testing.T) {
			a = &lock.Lock[string]{Read: read, Create: row.a}
			b = &lock.Lock[string]{Read: read, Create: row.b}
			if v, err := a.Do(t.Context()); v != row.v || !errors.Is(err, row.err) {
				t.Errorf("Do = %q, %v; want %q, %v", v, err, row.v, row.err)
			}
		})
	}
}

// TestRecursionWithAStaleValue: the stale value that a creator would get from its own
// creation does not hide that it asks for itself.
func TestRecursionWithAStaleValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) { return l.Do(ctx) }
		if v, err := l.Do(t.Context()); err != lock.ErrRecursive {
			t.Errorf("Do = %q, %v", v, err)
		}
	})
}
