package lock_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/lock"
)

// TestStaleReadersDoNotWait: a thousand readers during a creation of two seconds.
func TestStaleReadersDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(2 * time.Second); return s.create(ctx) }
		leader := async(l.Do, t.Context())
		before, began := runtime.NumGoroutine(), time.Now()
		for i := range 1000 {
			if v, err := l.Do(t.Context()); v != "old" || err != nil {
				t.Fatalf("reader %d: %q, %v", i, v, err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("readers took %v", d)
		}
		// The runtime has goroutines of its own, which come and go.
		if after := runtime.NumGoroutine(); after > before+100 {
			t.Errorf("goroutines: %d before, %d after", before, after)
		}
		waits(t, "leader", leader)
		time.Sleep(2 * time.Second)
		want(t, "leader", leader, "new1", nil)
		if tries := s.count("try"); tries != 1 {
			t.Errorf("%d tries for the lock", tries)
		}
	})
}

// TestBackoff: another process creates for a second. Callers here try for its mutex
// only once in a while.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		s.set("old", time.Hour)
		m := newMutex(s)
		l := s.lock(m)
		m.try()
		for range 1000 {
			if v, err := l.Do(t.Context()); v != "old" || err != nil {
				t.Fatalf("Do = %q, %v", v, err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := s.count("try"); n < 2 || n > 12 {
			t.Errorf("%d tries within a second", n)
		}
		m.free()
		time.Sleep(100 * time.Millisecond)
		if v, err := l.Do(t.Context()); v != "new1" || err != nil {
			t.Errorf("once it is free: %q, %v", v, err)
		}
	})
}

func TestCancelledLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A starts the creation, B joins.  2. A's context ends: A gets its
		// error at once.  3. The creator goes on, with A's values and without A's
		// cancellation.  4. B gets the value.
		type key struct{}
		s := new(site)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) {
			time.Sleep(time.Second)
			if ctx.Err() != nil || ctx.Value(key{}) != "A" {
				t.Errorf("creator's context: %v, value %v", ctx.Err(), ctx.Value(key{}))
			}
			return s.create(ctx)
		}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "A"))
		a, b := async(l.Do, ctx), async(l.Do, t.Context())
		cancel()
		want(t, "A", a, "", context.Canceled)
		waits(t, "B", b)
		time.Sleep(time.Second)
		want(t, "B", b, "new1", nil)
		if s.value() != "new1" {
			t.Errorf("%q was stored", s.value())
		}
	})
}

func TestFollowersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
		a := async(l.Do, t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 123*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := l.Do(ctx)
		if d := time.Since(began); d != 123*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("B: %v after %v", err, d)
		}
		time.Sleep(time.Second)
		want(t, "A", a, "new1", nil)
	})
}

func TestCallerWhoseContextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Do(ctx); !errors.Is(err, context.Canceled) || s.count("create") != 0 {
			t.Errorf("missing: %v after %v", err, s.log)
		}
		s.set("old", time.Hour)
		if _, err := l.Do(ctx); !errors.Is(err, context.Canceled) || s.count("try") != 0 {
			t.Errorf("stale: %v after %v", err, s.log)
		}
		s.set("old", 0)
		if v, err := l.Do(ctx); v != "old" || err != nil {
			t.Errorf("fresh: %q, %v", v, err)
		}
	})
}

// timeoutRow is what is slow, and when the callers are freed from that.
type timeoutRow struct {
	name    string
	timeout time.Duration
	held    time.Duration // by another
	create  time.Duration
	heeds   bool // the creator heeds its context
	freed   time.Duration
	err     error
}

func TestTimeouts(t *testing.T) {
	for _, row := range []timeoutRow{
		{"creation", time.Second, 0, time.Minute, false, time.Second, lock.ErrTimeout},
		{"creation that heeds its context", time.Second, 0, time.Minute, true, time.Second, lock.ErrTimeout},
		{"creation, by default", 0, 0, time.Hour, false, lock.DefaultTimeout, lock.ErrTimeout},
		{"waiting", time.Second, time.Minute, 0, false, time.Second, lock.ErrTimeout},
		{"waiting, by default", 0, time.Hour, 0, false, lock.DefaultTimeout, lock.ErrTimeout},
		{"each has its own: waiting and creation", time.Second, 900 * time.Millisecond, time.Minute, false, 1900 * time.Millisecond, lock.ErrTimeout},
		{"in time", time.Second, 900 * time.Millisecond, 900 * time.Millisecond, true, 1800 * time.Millisecond, nil},
		{"never", lock.Never, 24 * time.Hour, 24 * time.Hour, true, 48 * time.Hour, nil},
	} {
		for name, change := range map[string]func(*lock.Lock[string]){"mutex": func(*lock.Lock[string]) {}, "waiter": canWait} {
			t.Run(row.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { row.run(t, change) })
			})
		}
	}
}

func (row timeoutRow) run(t *testing.T, change func(*lock.Lock[string])) {
	s := new(site)
	m := newMutex(s)
	l := s.lock(m)
	change(l)
	l.Timeout = row.timeout
	l.Create = func(ctx context.Context) (string, error) {
		done := ctx.Done()
		if !row.heeds {
			done = nil
		}
		select {
		case <-time.After(row.create):
			return "late", nil
		case <-done:
			return "", ctx.Err()
		}
	}
	if row.held > 0 {
		m.try()
		time.AfterFunc(row.held, m.free)
	}
	began := time.Now()
	follower := make(chan result, 1)
	go func() {
		v, err := l.Do(t.Context())
		follower <- result{v, err}
	}()
	v, err := l.Do(t.Context())
	if d := time.Since(began); d != row.freed || !errors.Is(err, row.err) {
		t.Errorf("freed after %v with %v, want %v with %v", d, err, row.freed, row.err)
	}
	want(t, "follower", follower, v, row.err)
	if row.held <= row.freed && row.err != nil && !m.try() {
		t.Error("the mutex is held after the time-out")
	} else if row.held <= row.freed && row.err != nil {
		m.free()
	}
	time.Sleep(2 * time.Hour)
	if row.err != nil && s.count("store") != 0 {
		t.Error("the late value was stored")
	}
	if !m.try() {
		t.Error("the mutex is still held")
	}
}

func TestTimedOutCreatorLearnsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		l.Timeout = time.Second
		var cause error
		l.Create = func(ctx context.Context) (string, error) { <-ctx.Done(); cause = context.Cause(ctx); return "", nil }
		l.Do(t.Context())
		synctest.Wait()
		if cause != lock.ErrTimeout {
			t.Errorf("cause is %v", cause)
		}
	})
}

// TestStoreHangs: the wait of callers is also bounded if Store does not return.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		l := s.lock(newMutex(s))
		gate := make(chan struct{})
		defer close(gate)
		l.Store = func(context.Context, string) bool { <-gate; return true }
		c := async(l.Do, t.Context())
		time.Sleep(2*lock.DefaultTimeout + time.Second)
		synctest.Wait()
		if len(c) == 0 {
			t.Errorf("caller still waits %v after it came", 2*lock.DefaultTimeout+time.Second)
		}
	})
}

func TestCallersStartOverWhenTheLockIsLost(t *testing.T) {
	for _, row := range []struct {
		losses, creations int
		err               error
	}{{1, 2, nil}, {3, 4, nil}, {4, 4, lock.ErrLost}, {100, 4, lock.ErrLost}} {
		t.Run(fmt.Sprint(row.losses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				l := s.lock(newMutex(s))
				l.Create = func(ctx context.Context) (string, error) {
					v, _ := s.create(ctx)
					time.Sleep(time.Second)
					if s.count("create") <= row.losses {
						return "", fmt.Errorf("gone: %w", lock.ErrLost)
					}
					return v, nil
				}
				a, b := async(l.Do, t.Context()), async(l.Do, t.Context())
				time.Sleep(time.Minute)
				want(t, "A", a, fmt.Sprint("new", row.creations), row.err)
				want(t, "B", b, fmt.Sprint("new", row.creations), row.err)
				if n := s.count("create"); n != row.creations {
					t.Errorf("%d creations, want %d", n, row.creations)
				}
			})
		})
	}
}

func TestStartedOverFindsWhatTheOtherMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's creator loses the lock and fails for it.  2. Another process has
		// made the value by then.  3. A reads that.
		s := new(site)
		l := s.lock(newMutex(s))
		l.Create = func(ctx context.Context) (string, error) {
			s.note("create")
			s.set("theirs", 0)
			return "", lock.ErrLost
		}
		if v, err := l.Do(t.Context()); v != "theirs" || err != nil || s.count("create") != 1 {
			t.Errorf("Do = %q, %v after %v", v, err, s.log)
		}
	})
}

// TestLateJoiners: a value whose lock was lost goes to callers that came before the
// lock was won and the last reading done, and to nobody else.
func TestLateJoiners(t *testing.T) {
	for name, lost := range map[string]bool{"lost": true, "held": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// 1. Another process holds the lock; A waits for it, and B with A.
				// 2. The lock is free; A reads and creates.  3. C joins.
				// 4. lost: somebody deletes the value, which takes the lock away.
				// 5. The creator is done.  6. A and B get what it made. C gets it if
				// the lock held, and starts over if not.
				s := new(site)
				m := newMutex(s)
				l := s.lock(m)
				gate := make(chan struct{})
				l.Create = func(ctx context.Context) (string, error) { <-gate; return s.create(ctx) }
				l.Store = func(ctx context.Context, v string) bool {
					if lost && v == "new1" {
						return false
					}
					return s.store(ctx, v)
				}
				m.try()
				a, b := async(l.Do, t.Context()), async(l.Do, t.Context())
				m.free()
				synctest.Wait()
				c := async(l.Do, t.Context())
				close(gate)
				want(t, "A", a, "new1", nil)
				want(t, "B", b, "new1", nil)
				if lost {
					want(t, "C", c, "new2", nil)
				} else {
					want(t, "C", c, "new1", nil)
				}
			})
		})
	}
}

func TestLateJoinerOfAReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A waits for another's creation.  2. That is done; A reads "theirs",
		// slowly.  3. Somebody deletes it.  4. B finds nothing and joins.
		// 5. A's read returns: A gets "theirs", B must not.
		s := new(site)
		m := newMutex(s)
		l := s.lock(m)
		gate := make(chan struct{})
		slow := true
		l.Read = func(ctx context.Context) (string, time.Time, error) {
			v, made, err := s.read(ctx)
			if v != "" && slow {
				slow = false
				<-gate
			}
			return v, made, err
		}
		m.try()
		a := async(l.Do, t.Context())
		s.set("theirs", 0)
		m.free()
		synctest.Wait()
		s.clear()
		b := async(l.Do, t.Context())
		close(gate)
		want(t, "A", a, "theirs", nil)
		want(t, "B", b, "new1", nil)
	})
}

func TestNobodyGetsAnothersStaleValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A finds a stale value and tries the lock, which another process has;
		// the answer takes a second.  2. Meanwhile the value is deleted.  3. B finds
		// nothing and joins.  4. The lock is refused: A goes on with the stale value,
		// B must not.
		s := new(site)
		s.set("old", time.Hour)
		m := newMutex(s)
		l := s.lock(tardy{m})
		m.try()
		a := async(l.Do, t.Context())
		s.clear()
		b := async(l.Do, t.Context())
		time.Sleep(time.Second)
		want(t, "A", a, "old", nil)
		time.Sleep(time.Second)
		waits(t, "B", b)
		m.free()
		want(t, "B", b, "new1", nil)
	})
}

// tardy is a mutex that takes a second to answer.
type tardy struct{ *mutex }

func (m tardy) TryLock(ctx context.Context) (bool, error) {
	time.Sleep(time.Second)
	return m.mutex.TryLock(ctx)
}

func TestNobodyJoinsOnceStoreHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's Store has stored "new1" and is about to return.  2. Somebody
		// deletes it.  3. B finds nothing. It must not be given "new1": it starts a
		// creation of its own, which waits for the lock.  4. A's Store returns.
		s := new(site)
		l := s.lock(newMutex(s))
		gate := make(chan struct{})
		l.Store = func(ctx context.Context, v string) bool {
			s.store(ctx, v)
			if v == "new1" {
				<-gate
			}
			return true
		}
		a := async(l.Do, t.Context())
		s.clear()
		b := async(l.Do, t.Context())
		waits(t, "B", b)
		close(gate)
		want(t, "A", a, "new1", nil)
		want(t, "B", b, "new2", nil)
	})
}

// TestCrowdReadsBeforeItTries: with a Waiter, callers that waited find the value
// without taking the lock one by one.
func TestCrowdReadsBeforeItTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(site)
		m := newMutex(s)
		m.try()
		var calls []chan result
		for range 20 { // processes
			calls = append(calls, async(s.lock(waiter{m}).Do, t.Context()))
		}
		s.set("theirs", 0)
		m.free()
		for _, c := range calls {
			want(t, "process", c, "theirs", nil)
		}
		if n := s.count("try"); n != 20 {
			t.Errorf("%d tries, want one from each process", n)
		}
	})
}

func TestManyProcessesOneCreation(t *testing.T) {
	for _, name := range []string{"mutex", "waiter"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(site)
				m := newMutex(s)
				var wg sync.WaitGroup
				for range 5 {
					l := s.lock(m)
					if name == "waiter" {
						canWait(l)
					}
					l.Create = func(ctx context.Context) (string, error) { time.Sleep(time.Second); return s.create(ctx) }
					for range 10 {
						wg.Go(func() {
							if v, err := l.Do(t.Context()); v != "new1" || err != nil {
								t.Errorf("Do = %q, %v", v, err)
							}
						})
					}
				}
				wg.Wait()
				if n := s.count("create"); n != 1 {
					t.Errorf("%d creations", n)
				}
			})
		})
	}
}

func TestMutexThatIsTakenAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A waits for a mutex that does not heed its context.  2. The time is up, A
		// is freed.  3. The mutex is taken all the same: it is given back, and no
		// creator runs.
		s := new(site)
		m := newMutex(s)
		l := s.lock(deaf{m})
		l.Timeout = time.Second
		m.try()
		_, err := l.Do(t.Context())
		if !errors.Is(err, lock.ErrTimeout) {
			t.Errorf("Do = %v", err)
		}
		m.free()
		synctest.Wait()
		if !m.try() {
			t.Error("the mutex is held for ever")
		}
		if slices.Contains(s.log, "create") {
			t.Error("the creator ran for nobody")
		}
	})
}

// deaf is a mutex that does not heed contexts.
type deaf struct{ *mutex }

func (d deaf) Lock(context.Context) error {
	return d.mutex.Lock(context.WithoutCancel(context.Background()))
}

// TestTimeIsUpAtTheLastMoment: 1. The timer of a creation fires.  2. Before that
// takes effect, the lock is won, or the creator done.  3. Either way the creator
// and Store run only while the lock is held, and a value that nobody gets is not
// stored. It is found by trying often.
func TestTimeIsUpAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 300 {
			s := new(site)
			m := newMutex(s)
			l := s.lock(m)
			l.Timeout = time.Second
			held := func(what string) {
				if m.try() {
					t.Fatalf("try %d: %s runs without the lock", i, what)
				}
			}
			l.Create = func(ctx context.Context) (string, error) {
				held("creator")
				time.Sleep(time.Second)
				return s.create(ctx)
			}
			l.Store = func(ctx context.Context, v string) bool { held("Store"); return s.store(ctx, v) }
			m.try()
			time.AfterFunc(time.Second, m.free)
			v, err := l.Do(t.Context())
			time.Sleep(time.Minute)
			if stored := s.value(); stored != v || (err == nil) != (v == "new1") || err != nil && !errors.Is(err, lock.ErrTimeout) {
				t.Fatalf("try %d: Do = %q, %v; stored %q", i, v, err, stored)
			}
		}
	})
}
