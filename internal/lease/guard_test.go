package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lease"
)

var _ driver.Locker = (*lease.Guard)(nil)

// store is what a Guard protects in these tests. Writing waits while gate is
// closed to it, as slow I/O would.
type store struct {
	lease.Guard
	gate chan struct{} // nil: never waits

	mu      sync.Mutex
	entries map[string]string
	fail    func(key string) error
}

func (s *store) set(ctx context.Context, items ...driver.Item) error {
	return s.Guard.Set(ctx, items, func(items []driver.Item) error {
		if s.gate != nil {
			<-s.gate
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range items {
			if s.fail != nil {
				if items[i].Err = s.fail(items[i].Key); items[i].Err != nil {
					continue
				}
			}
			if s.entries == nil {
				s.entries = map[string]string{}
			}
			s.entries[items[i].Key] = string(items[i].Data)
		}
		return nil
	})
}

func (s *store) delete(ctx context.Context, keys ...string) error {
	return s.Guard.Delete(ctx, keys, func(keys []string) error {
		if s.gate != nil {
			<-s.gate
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, key := range keys {
			delete(s.entries, key)
		}
		return nil
	})
}

func (s *store) get(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key]
}

func item(key, data string, l driver.Lease) driver.Item {
	return driver.Item{Key: key, Data: []byte(data), Lease: l}
}

func try(t *testing.T, g interface {
	TryLock(context.Context, string, time.Duration) (driver.Lease, error)
}, key string) driver.Lease {
	t.Helper()
	l, err := g.TryLock(t.Context(), key, time.Minute)
	if err != nil {
		t.Fatalf("TryLock(%q) = %v", key, err)
	}
	return l
}

func must(t *testing.T, g interface {
	TryLock(context.Context, string, time.Duration) (driver.Lease, error)
}, key string) driver.Lease {
	t.Helper()
	l := try(t, g, key)
	if l == nil {
		t.Fatalf("TryLock(%q): held by another", key)
	}
	return l
}

func TestTryLockExcludesTheSameKeyOnly(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	a := must(t, &g, "a")
	if l := try(t, &g, "a"); l != nil {
		t.Error("a second lease on a was granted")
	}
	must(t, &g, "b")
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("Release = %v", err)
	}
	must(t, &g, "a")
}

func TestNonPositiveTTLIsAnError(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	for _, ttl := range []time.Duration{0, -1, -time.Hour} {
		if l, err := g.TryLock(t.Context(), "k", ttl); l != nil || err == nil {
			t.Errorf("TryLock with ttl %v = %v, %v", ttl, l, err)
		}
	}
	l := must(t, &g, "k")
	if err := l.Extend(t.Context(), 0); err == nil || errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("Extend by 0 = %v", err)
	}
	if locked, _ := g.Locked(t.Context(), "k"); !locked {
		t.Error("a refused Extend lost the lease")
	}
}

func TestReleaseFreesOnlyItsOwnLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A takes the lease and stalls.  2. It runs out; B takes it.
		// 3. A releases.                     4. B still holds it.
		var g lease.Guard
		a := must(t, &g, "k")
		time.Sleep(time.Minute)
		b := must(t, &g, "k")
		if err := a.Release(t.Context()); err != nil {
			t.Errorf("Release of a lost lease = %v", err)
		}
		if l := try(t, &g, "k"); l != nil {
			t.Error("A's release freed B's lease")
		}
		for range 2 {
			if err := b.Release(t.Context()); err != nil {
				t.Errorf("Release = %v", err)
			}
		}
	})
}

func TestReleaseWorksUnderADeadContext(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	l := must(t, &g, "k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Release(ctx); err != nil {
		t.Errorf("Release = %v", err)
	}
	must(t, &g, "k")
}

func TestLeaseLastsForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g lease.Guard
		l := must(t, &g, "k")
		time.Sleep(time.Minute - 1)
		if locked, _ := g.Locked(t.Context(), "k"); !locked {
			t.Error("lease ended early")
		}
		if err := l.Extend(t.Context(), time.Minute); err != nil {
			t.Errorf("Extend = %v", err)
		}
		time.Sleep(time.Minute - 1)
		if l := try(t, &g, "k"); l != nil {
			t.Error("the extended lease ended early")
		}
		time.Sleep(time.Nanosecond)
		if err := l.Extend(t.Context(), time.Minute); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("Extend of a lease that ran out = %v", err)
		}
		if locked, _ := g.Locked(t.Context(), "k"); locked {
			t.Error("lease outlived its ttl")
		}
		synctest.Wait()
		if n := lease.Size(&g); n != 0 {
			t.Errorf("%d keys kept, want 0", n)
		}
	})
}

func TestExtendCanShortenALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g lease.Guard
		if err := must(t, &g, "k").Extend(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := g.Wait(t.Context(), "k"); err != nil || time.Since(start) != time.Second {
			t.Errorf("Wait = %v after %v", err, time.Since(start))
		}
	})
}

func TestLongestTTL(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	l, err := g.TryLock(t.Context(), "k", 1<<63-1)
	if err != nil || l == nil {
		t.Fatalf("TryLock = %v, %v", l, err)
	}
	if locked, _ := g.Locked(t.Context(), "k"); !locked {
		t.Error("the deadline overflowed into the past")
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWaitWakesAllWaiters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		free  func(context.Context, *store, driver.Lease) error
		after time.Duration
	}{
		{"on release", func(ctx context.Context, _ *store, l driver.Lease) error { return l.Release(ctx) }, 0},
		{"on expiry", func(context.Context, *store, driver.Lease) error { return nil }, time.Minute},
		{"on expiry of an extended lease", func(ctx context.Context, _ *store, l driver.Lease) error { return l.Extend(ctx, time.Hour) }, time.Hour},
		{"on Delete", func(ctx context.Context, s *store, _ driver.Lease) error { return s.delete(ctx, "k") }, 0},
		{"on an unconditional Set", func(ctx context.Context, s *store, _ driver.Lease) error { return s.set(ctx, item("k", "v", nil)) }, 0},
		{"on the holder's Set", func(ctx context.Context, s *store, l driver.Lease) error { return s.set(ctx, item("k", "v", l)) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s store
				l := must(t, &s, "k")
				start := time.Now()
				var woken atomic.Int64
				for range 100 {
					go func() {
						if err := s.Wait(t.Context(), "k"); err != nil {
							t.Errorf("Wait = %v", err)
						}
						if d := time.Since(start); d != tt.after {
							t.Errorf("woke after %v, want %v", d, tt.after)
						}
						woken.Add(1)
					}()
				}
				synctest.Wait()
				if n := woken.Load(); n != 0 {
					t.Fatalf("%d waiters did not wait", n)
				}
				if err := tt.free(t.Context(), &s, l); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.after)
				synctest.Wait()
				if n := woken.Load(); n != 100 {
					t.Errorf("%d of 100 waiters woke", n)
				}
			})
		})
	}
}

func TestWaitOnAFreeKeyReturnsAtOnce(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	if err := g.Wait(t.Context(), "k"); err != nil {
		t.Errorf("Wait = %v", err)
	}
}

func TestWaitHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g lease.Guard
		must(t, &g, "k")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Wait(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait = %v", err)
		}
		if locked, _ := g.Locked(t.Context(), "k"); !locked {
			t.Error("a waiter that left took the lease with it")
		}
	})
}

func TestDeadContexts(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var s store
	l := must(t, &s, "k")
	_, tryErr := s.TryLock(ctx, "other", time.Minute)
	_, lockedErr := s.Locked(ctx, "k")
	for name, err := range map[string]error{
		"TryLock": tryErr, "Locked": lockedErr, "Wait": s.Wait(ctx, "k"), "Extend": l.Extend(ctx, time.Minute),
		"Set": s.set(ctx, item("k", "v", nil)), "Delete": s.delete(ctx, "k"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", name, err)
		}
	}
	if s.get("k") != "" {
		t.Error("a dead context stored")
	}
	if err := l.Extend(t.Context(), time.Minute); err != nil {
		t.Errorf("a dead context revoked the lease: %v", err)
	}
	must(t, &s, "other")
}

// waysToLose are what may become of a lease before the Set under it.
var waysToLose = []struct {
	name string
	lose func(*testing.T, *store, driver.Lease) driver.Lease // returns the lease to Set under
	ok   bool
}{
	{"held", func(_ *testing.T, _ *store, l driver.Lease) driver.Lease { return l }, true},
	{"extended", func(t *testing.T, _ *store, l driver.Lease) driver.Lease {
		if err := l.Extend(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		return l
	}, true},
	{"run out", func(_ *testing.T, _ *store, l driver.Lease) driver.Lease {
		time.Sleep(time.Minute)
		return l
	}, false},
	{"run out and taken by another", func(t *testing.T, s *store, l driver.Lease) driver.Lease {
		time.Sleep(time.Minute)
		must(t, s, "k")
		return l
	}, false},
	{"released", func(t *testing.T, _ *store, l driver.Lease) driver.Lease {
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		return l
	}, false},
	{"revoked by Delete", func(t *testing.T, s *store, l driver.Lease) driver.Lease {
		if err := s.delete(t.Context(), "k"); err != nil {
			t.Error(err)
		}
		return l
	}, false},
	{"revoked by Set", func(t *testing.T, s *store, l driver.Lease) driver.Lease {
		if err := s.set(t.Context(), item("k", "", nil)); err != nil {
			t.Error(err)
		}
		return l
	}, false},
	{"used up", func(t *testing.T, s *store, l driver.Lease) driver.Lease {
		if err := s.set(t.Context(), item("k", "", l)); err != nil {
			t.Error(err)
		}
		return l
	}, false},
	{"of another key", func(t *testing.T, s *store, _ driver.Lease) driver.Lease { return must(t, s, "x") }, false},
	{"of another guard", func(t *testing.T, _ *store, _ driver.Lease) driver.Lease { return must(t, new(lease.Guard), "k") }, false},
}

func TestSetUnderALease(t *testing.T) {
	for _, tt := range waysToLose {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s store
				items := []driver.Item{item("k", "new", tt.lose(t, &s, must(t, &s, "k")))}
				if err := s.Set(t.Context(), items, func(items []driver.Item) error {
					s.entries = map[string]string{"k": string(items[0].Data)}
					return nil
				}); err != nil {
					t.Fatalf("Set = %v", err)
				}
				if tt.ok != (s.get("k") == "new") {
					t.Errorf("stored: %v, want %v", !tt.ok, tt.ok)
				}
				if tt.ok != (items[0].Err == nil) || !tt.ok && !errors.Is(items[0].Err, driver.ErrLeaseLost) {
					t.Errorf("Err = %v", items[0].Err)
				}
				if l := try(t, &s, "k"); tt.ok && l == nil {
					t.Error("the lease was not released")
				}
			})
		})
	}
}

func TestBatchWithLostLeasesStoresTheOthers(t *testing.T) {
	t.Parallel()
	var s store
	a, b, c := must(t, &s, "a"), must(t, &s, "b"), must(t, &s, "c")
	if err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("shard is down")
	s.fail = func(key string) error {
		if key == "c" {
			return failed
		}
		return nil
	}
	items := []driver.Item{item("b", "1", b), item("a", "2", a), item("d", "3", nil), item("c", "4", c)}
	if err := s.Guard.Set(t.Context(), items, func(rest []driver.Item) error {
		var keys []string
		for i := range rest {
			keys = append(keys, rest[i].Key)
			rest[i].Err = s.fail(rest[i].Key)
		}
		if !slices.Equal(keys, []string{"a", "d", "c"}) {
			t.Errorf("store was handed %q", keys)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{driver.ErrLeaseLost, nil, nil, failed} {
		if items[i].Err != want {
			t.Errorf("%s: Err = %v, want %v", items[i].Key, items[i].Err, want)
		}
	}
	for key, want := range map[string]bool{"a": false, "b": false, "c": true, "d": false} {
		if locked, _ := s.Locked(t.Context(), key); locked != want {
			t.Errorf("Locked(%q) = %v, want %v", key, locked, want)
		}
	}
}

func TestFailedStoreKeepsTheLeases(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"error", "panic"} {
		t.Run(fault, func(t *testing.T) {
			var s store
			l := must(t, &s, "k")
			failed := errors.New("connection refused")
			func() {
				defer func() {
					if p := recover(); p != nil && p != any("boom") {
						panic(p)
					}
				}()
				err := s.Set(t.Context(), []driver.Item{item("k", "v", l)}, func([]driver.Item) error {
					if fault == "panic" {
						panic("boom")
					}
					return failed
				})
				if err != failed {
					t.Errorf("Set = %v", err)
				}
			}()
			if locked, _ := s.Locked(t.Context(), "k"); !locked {
				t.Error("the lease was released")
			}
			if err := s.set(t.Context(), item("k", "v", l)); err != nil || s.get("k") != "v" {
				t.Errorf("second try = %v, stored %q", err, s.get("k"))
			}
		})
	}
}

func TestFailedDeleteRevokes(t *testing.T) {
	t.Parallel()
	var s store
	l := must(t, &s, "k")
	failed := errors.New("connection refused")
	if err := s.Delete(t.Context(), []string{"k"}, func([]string) error { return failed }); err != failed {
		t.Errorf("Delete = %v", err)
	}
	if err := l.Extend(t.Context(), time.Minute); !errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("Extend = %v", err)
	}
}

func TestSameKeyTwiceInABatch(t *testing.T) {
	t.Parallel()
	var s store
	l := must(t, &s, "k")
	items := []driver.Item{item("k", "1", l), item("k", "2", l), item("k", "3", nil), item("k", "4", l)}
	var stored string
	if err := s.Set(t.Context(), items, func(rest []driver.Item) error {
		for _, it := range rest {
			stored += string(it.Data)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if stored != "13" {
		t.Errorf("stored %q, want 1 and 3: as if one after the other", stored)
	}
	if err := s.delete(t.Context(), "k", "k"); err != nil {
		t.Errorf("Delete = %v", err)
	}
	if n := lease.Size(&s.Guard); n != 0 {
		t.Errorf("%d keys kept", n)
	}
}

func TestEmptyBatchesDoNothing(t *testing.T) {
	t.Parallel()
	var g lease.Guard
	err1 := g.Set(t.Context(), nil, func([]driver.Item) error { return errors.New("store was called") })
	err2 := g.Delete(t.Context(), nil, func([]string) error { return errors.New("del was called") })
	if err1 != nil || err2 != nil {
		t.Errorf("Set = %v, Delete = %v", err1, err2)
	}
}

func TestSlowWriteHoldsUpItsOwnKeyOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's store of k is on its way.  2. B's writes of a thousand other
		// keys, and leases on them, go through.  3. B's TryLock of k is refused
		// and does not wait.  4. A is done.  5. Wait has woken, k is free.
		s := store{gate: make(chan struct{})}
		go func() {
			if err := s.set(t.Context(), item("k", "v", nil)); err != nil {
				t.Errorf("Set = %v", err)
			}
		}()
		synctest.Wait()
		for i := range 1000 {
			key := fmt.Sprint("other", i)
			l := must(t, &s, key)
			if err := s.Guard.Set(t.Context(), []driver.Item{item(key, "", l)}, func([]driver.Item) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if l := try(t, &s, "k"); l != nil {
			t.Error("a key being written was leased")
		}
		woken := make(chan error)
		go func() { woken <- s.Wait(t.Context(), "k") }()
		synctest.Wait()
		s.gate <- struct{}{}
		if err := <-woken; err != nil {
			t.Errorf("Wait = %v", err)
		}
		must(t, &s, "k")
	})
}

func TestDeleteDuringASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A's store under its lease is on its way to the server.
		// 2. B deletes; it must not overtake A.  3. A's store arrives.
		// 4. B's delete arrives.  5. The value is gone.
		s := store{gate: make(chan struct{})}
		l := must(t, &s, "k")
		go func() {
			if err := s.set(t.Context(), item("k", "old", l)); err != nil {
				t.Errorf("Set = %v", err)
			}
		}()
		synctest.Wait()
		deleted := make(chan error, 1)
		go func() { deleted <- s.delete(t.Context(), "k") }()
		synctest.Wait()
		if len(deleted) > 0 {
			t.Fatal("Delete overtook a store in progress")
		}
		close(s.gate)
		if err := <-deleted; err != nil {
			t.Errorf("Delete = %v", err)
		}
		if v := s.get("k"); v != "" {
			t.Errorf("%q survived the Delete", v)
		}
	})
}

func TestLeaseThatRunsOutDuringItsStore(t *testing.T) {
	for _, ok := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			// 1. A's store begins under a live lease.  2. The lease runs out
			// meanwhile; TryLock is refused.  3. The store ends.  4. It is free.
			s := store{gate: make(chan struct{})}
			if !ok {
				s.fail = func(string) error { return errors.New("full") }
			}
			l := must(t, &s, "k")
			go func() {
				if err := s.set(t.Context(), item("k", "v", l)); err != nil {
					t.Errorf("Set = %v", err)
				}
			}()
			time.Sleep(time.Hour)
			if l := try(t, &s, "k"); l != nil {
				t.Error("two holders while one stores")
			}
			close(s.gate)
			if err := s.Wait(t.Context(), "k"); err != nil {
				t.Error(err)
			}
			must(t, &s, "k")
			if ok != (s.get("k") == "v") {
				t.Errorf("stored: %v, want %v", !ok, ok)
			}
		})
	}
}

func TestWriterThatGivesUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 1. A stores k.  2. B (a and k) and C (k) queue up behind it.
		// 3. B's context ends: it goes, lets go of a, and has stored nothing.
		// 4. A is done.  5. C's turn.
		s := store{gate: make(chan struct{}, 3)}
		results := make(chan error, 2)
		go func() { results <- s.set(t.Context(), item("k", "A", nil)) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error)
		go func() { gaveUp <- s.set(ctx, item("a", "B", nil), item("k", "B", nil)) }()
		synctest.Wait()
		go func() { results <- s.set(t.Context(), item("k", "C", nil)) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("B's Set = %v", err)
		}
		must(t, &s, "a")
		close(s.gate)
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("Set = %v", err)
			}
		}
		if a, k := s.get("a"), s.get("k"); a != "" || k != "C" {
			t.Errorf("a = %q, k = %q", a, k)
		}
	})
}

func TestWritersTakeTurnsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store{gate: make(chan struct{}, 100)}
		var order []int
		for i := range 50 {
			go func() {
				err := s.Guard.Set(t.Context(), []driver.Item{item("k", "", nil)}, func([]driver.Item) error {
					<-s.gate
					order = append(order, i)
					return nil
				})
				if err != nil {
					t.Errorf("Set = %v", err)
				}
			}()
			synctest.Wait()
		}
		close(s.gate)
		synctest.Wait()
		if !slices.IsSorted(order) || len(order) != 50 {
			t.Errorf("turns taken in order %v", order)
		}
		if n := lease.Size(&s.Guard); n != 0 {
			t.Errorf("%d keys kept", n)
		}
	})
}

func TestOverlappingBatchesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var s store
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for range 500 {
				var items []driver.Item
				var keys []string
				for range 1 + rnd.IntN(6) {
					key := fmt.Sprint(rnd.IntN(8))
					l, err := s.TryLock(ctx, key, time.Minute)
					if err != nil {
						t.Errorf("TryLock = %v", err)
					}
					items, keys = append(items, item(key, "v", l)), append(keys, key)
				}
				err := s.set(ctx, items...)
				if rnd.IntN(2) == 0 {
					err = errors.Join(err, s.delete(ctx, keys...))
				}
				if err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		if err := s.delete(ctx, fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
	if n := lease.Size(&s.Guard); n != 0 {
		t.Errorf("%d keys kept", n)
	}
}

func BenchmarkSet(b *testing.B) {
	var g lease.Guard
	nothing := func([]driver.Item) error { return nil }
	for _, n := range []int{1, 100} {
		items := make([]driver.Item, n)
		for i := range items {
			items[i].Key = fmt.Sprint("user:", i)
		}
		b.Run(fmt.Sprint("unguarded/", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Set(b.Context(), items, nothing); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("TryLock and Set", func(b *testing.B) {
		b.ReportAllocs()
		items := []driver.Item{{Key: "user:1"}}
		for b.Loop() {
			items[0].Lease, _ = g.TryLock(b.Context(), "user:1", time.Minute)
			if err := g.Set(b.Context(), items, nothing); err != nil || items[0].Err != nil {
				b.Fatal(err, items[0].Err)
			}
		}
	})
}
