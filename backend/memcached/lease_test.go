package memcached_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
)

// holders are two programs that want the same lease, P first and then N, each
// with a network of its own, and a line on which a third makes things happen.
type holders struct {
	*testing.T
	s          *server
	p, n       *memcached.Backend
	pNet, nNet *network
	raw        *line
	key        string
}

func newHolders(t *testing.T) *holders {
	t.Helper()
	t.Parallel()
	h := &holders{T: t, s: sharedServer(t), key: unique(t)}
	h.p, h.pNet = through(t, h.s, nil)
	h.n, h.nNet = through(t, h.s, nil)
	h.raw = h.s.dial(t)
	return h
}

// runOut ends P's lease without P noticing, as when P is stopped for longer than
// it lasts.
func (h *holders) runOut() {
	h.Helper()
	if got := h.raw.one("md _lock" + h.key); got != "HD" {
		h.Fatalf("no lease to end: %s", got)
	}
}

func (h *holders) set(l driver.Lease, b driver.Backend, value string) error {
	return try(h.Context(), b, driver.Item{Key: h.key, Data: []byte(value), TTL: time.Hour, Lease: l})
}

func (h *holders) wantLost(what string, err error) {
	h.Helper()
	if !errors.Is(err, driver.ErrLeaseLost) {
		h.Errorf("%s = %v, want ErrLeaseLost", what, err)
	}
}

// read returns what a Get under l is answered.
func (h *holders) read(b driver.Backend, l driver.Lease) string {
	h.Helper()
	items := []driver.Item{{Key: h.key, Lease: l}}
	ok(h, b.Get(h.Context(), items))
	ok(h, items[0].Err)
	if !items[0].Found() {
		return "(none)"
	}
	return string(items[0].Data)
}

func (h *holders) wantRead(l driver.Lease, want string) {
	h.Helper()
	if got := h.read(h.n, l); got != want {
		h.Errorf("N reads %q under its lease, want %q", got, want)
	}
}

func TestPlaceholderIsNoEntry(t *testing.T) {
	h := newHolders(t)
	l := hold(h, h.p, h.key, time.Minute)
	if got := h.raw.do("mg " + h.key + " v f"); got[0] != "VA 0 f0 Z" {
		t.Errorf("the placeholder: %q", got)
	}
	wantValue(t, h.n, h.key, "(none)")
	ok(t, l.Extend(t.Context(), 2*time.Minute))
	wantValue(t, h.n, h.key, "(none)")
	if n, err := h.n.TryLock(t.Context(), h.key, time.Minute); n != nil || err != nil {
		t.Errorf("TryLock of a lease that is held = %v, %v", n, err)
	}
	ok(t, h.set(l, h.p, ""))
	wantValue(t, h.n, h.key, "")
	l = hold(h, h.n, h.key, time.Minute)
	h.wantRead(l, "") // an entry, if an empty one
	ok(t, l.Release(t.Context()))
	wantValue(t, h.p, h.key, "")
}

func TestLeaseThatRanOutUnnoticedOverNothing(t *testing.T) {
	h := newHolders(t)
	// 1. P takes the lease and makes the placeholder.  2. P is stopped, the lease
	// runs out.  3. N takes it, and finds P's placeholder.  4. P goes on and stores:
	// refused, though the placeholder is still there.  5. N stores.
	p := hold(h, h.p, h.key, time.Minute)
	h.runOut()
	n := hold(h, h.n, h.key, time.Minute)
	h.wantRead(n, "(none)")
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	wantValue(t, h.p, h.key, "(none)")
	h.wantLost("P's Extend", p.Extend(t.Context(), time.Minute))
	ok(t, p.Release(t.Context()))
	ok(t, n.Extend(t.Context(), time.Minute))
	ok(t, h.set(n, h.n, "N"))
	wantValue(t, h.p, h.key, "N")
}

func TestLeaseThatRanOutUnnoticedOverAnEntry(t *testing.T) {
	h := newHolders(t)
	// As above, but both P and N have read an entry.
	ok(t, h.set(nil, h.p, "old"))
	p := hold(h, h.p, h.key, time.Minute)
	h.runOut()
	n := hold(h, h.n, h.key, time.Minute)
	h.wantRead(n, "old")
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	wantValue(t, h.p, h.key, "old")
	h.wantLost("P's Extend", p.Extend(t.Context(), time.Minute))
	ok(t, p.Release(t.Context()))
	ok(t, h.set(n, h.n, "N"))
	wantValue(t, h.p, h.key, "N")
}

// interrupt has N take the lease, and f happen after N has read the key and
// before it makes sure that P cannot store any more.
func (h *holders) interrupt(f func()) driver.Lease {
	h.Helper()
	h.nNet.Once("ms "+h.key+" ", f)
	return hold(h, h.n, h.key, time.Minute)
}

func TestStoringAtTheLastMoment(t *testing.T) {
	h := newHolders(t)
	// 1. P's lease runs out unnoticed.  2. N takes it, and reads the old entry.
	// 3. P stores, and is in time.  4. N notices: it reads what P has stored.
	ok(t, h.set(nil, h.p, "old"))
	p := hold(h, h.p, h.key, time.Minute)
	h.runOut()
	n := h.interrupt(func() { ok(t, h.set(p, h.p, "P")) })
	h.wantRead(n, "P")
	ok(t, h.set(n, h.n, "N"))
	wantValue(t, h.p, h.key, "N")
}

func TestDeletingAtTheLastMoment(t *testing.T) {
	h := newHolders(t)
	// 1. N takes the lease, and reads the old entry.  2. The key is deleted, and
	// the lease with it.  3. N has read the old entry before that, but does not say
	// so: TryLock finds nothing.  4. The lease is gone.
	ok(t, h.set(nil, h.p, "old"))
	n := h.interrupt(func() { ok(t, h.p.Delete(t.Context(), []string{h.key})) })
	h.wantRead(n, "(none)")
	h.wantLost("N's Extend", n.Extend(t.Context(), time.Minute))
	p := hold(h, h.p, h.key, time.Minute)
	h.wantLost("N's Set", h.set(n, h.n, "N"))
	ok(t, h.set(p, h.p, "P"))
	wantValue(t, h.p, h.key, "P")
}

func TestSettingAtTheLastMoment(t *testing.T) {
	h := newHolders(t)
	// 1. N takes the lease, and reads the old entry.  2. Another sets the key.
	// 3. N reads what that has set.
	ok(t, h.set(nil, h.p, "old"))
	n := h.interrupt(func() { ok(t, h.set(nil, h.p, "new")) })
	h.wantRead(n, "new")
	h.wantLost("N's Extend", n.Extend(t.Context(), time.Minute))
	wantValue(t, h.p, h.key, "new")
}

func TestLoserMakesThePlaceholder(t *testing.T) {
	h := newHolders(t)
	// 1. P has the lease.  2. The key is deleted, but a loser of TryLock makes a
	// placeholder.  3. P stores: refused, the placeholder is not its own.  4. N takes
	// the lease and stores in the place of the loser's placeholder.
	p := hold(h, h.p, h.key, time.Minute)
	h.raw.one("md " + h.key)
	if l, err := h.n.TryLock(t.Context(), h.key, time.Minute); l != nil || err != nil {
		t.Fatalf("TryLock of a lease that is held = %v, %v", l, err)
	}
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	before := h.nNet.Trips.Load()
	n := hold(h, h.n, h.key, time.Minute)
	if trips := h.nNet.Trips.Load() - before; trips != 2 {
		t.Errorf("TryLock over another's placeholder: %d round trips, want 2", trips)
	}
	h.wantRead(n, "(none)")
	ok(t, h.set(n, h.n, "N"))
	wantValue(t, h.p, h.key, "N")
}

func TestDeleteAndSetRevoke(t *testing.T) {
	h := newHolders(t)
	for name, revoke := range map[string]func() error{
		"Delete": func() error { return h.n.Delete(t.Context(), []string{h.key}) },
		"Set":    func() error { return h.set(nil, h.n, "new") },
	} {
		for _, before := range []string{"", "old"} {
			ok(t, h.p.Delete(t.Context(), []string{h.key}))
			if before != "" {
				ok(t, h.set(nil, h.p, before))
			}
			p := hold(h, h.p, h.key, time.Minute)
			ok(t, revoke())
			want := get(t, h.n, h.key)
			h.wantLost("Set after "+name, h.set(p, h.p, "P"))
			wantValue(t, h.n, h.key, want)
			if h.raw.has("_lock" + h.key) {
				t.Errorf("%s has left the lease", name)
			}
		}
	}
}

func TestOwnClockEndsALease(t *testing.T) {
	h := newHolders(t)
	// 1. P takes the lease for a second.  2. The server keeps it for longer.
	// 3. Once the second is over by P's clock, it does not even ask.
	p := hold(h, h.p, h.key, time.Second)
	h.raw.do("mg _lock"+h.key+" T60", "mg "+h.key+" T60")
	pause(time.Second + 10*time.Millisecond)
	before := h.pNet.Trips.Load()
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	h.wantLost("P's Extend", p.Extend(t.Context(), time.Minute))
	if n := h.pNet.Trips.Load() - before; n != 0 {
		t.Errorf("%d round trips for a lease that has run out", n)
	}
	ok(t, p.Release(t.Context()))
	hold(h, h.n, h.key, time.Minute)
}

// left returns how many seconds the server keeps an item.
func (h *holders) left(key string) (secs int) {
	h.Helper()
	if _, err := fmt.Sscanf(h.raw.one("mg "+key+" t"), "HD t%d", &secs); err != nil {
		h.Fatal(err)
	}
	return secs
}

func TestWhatALeaseComparesWithLastsAsLongAsTheLease(t *testing.T) {
	h := newHolders(t)
	for _, tt := range []struct {
		name     string
		ttl      time.Duration // of the entry; -1: there is none
		min, max int           // left of it under a lease of a minute
		extended int           // and when that was extended by an hour, at least
	}{
		{"nothing", -1, 55, 62, 3590},
		{"entry that is about to run out", time.Second, 55, 62, 3590},
		{"entry with less than the next extension", 10 * time.Minute, 580, 602, 3590},
		{"entry with much time", 10 * time.Hour, 35990, 36002, 35980},
		{"entry with months", 100 * 24 * time.Hour, 8639900, 8640010, 8639900},
		{"entry without an end", 0, -1, -1, -1},
	} {
		ok(t, h.p.Delete(t.Context(), []string{h.key}))
		if tt.ttl >= 0 {
			ok(t, try(t.Context(), h.p, driver.Item{Key: h.key, Data: []byte("old"), TTL: tt.ttl}))
		}
		p := hold(h, h.p, h.key, time.Minute)
		if n := h.left(h.key); n < tt.min || n > tt.max {
			t.Errorf("%s: %d s are left of it under a lease, want %d to %d", tt.name, n, tt.min, tt.max)
		}
		ok(t, p.Extend(t.Context(), time.Hour))
		if n := h.left(h.key); n < tt.extended {
			t.Errorf("%s: %d s are left of it under an extended lease, want at least %d", tt.name, n, tt.extended)
		}
		if n := h.left("_lock" + h.key); n < 3590 || n > 3602 {
			t.Errorf("%s: %d s are left of an extended lease", tt.name, n)
		}
		ok(t, h.set(p, h.p, "P"))
		wantValue(t, h.n, h.key, "P")
	}
}

func TestExtendIsRefusedWithoutThePlaceholder(t *testing.T) {
	h := newHolders(t)
	p := hold(h, h.p, h.key, time.Minute)
	h.raw.one("md " + h.key) // evicted, say
	h.wantLost("Extend", p.Extend(t.Context(), time.Minute))
	h.wantLost("Set", h.set(p, h.p, "P"))
	ok(t, p.Release(t.Context()))
	hold(h, h.n, h.key, time.Minute) // nobody has to wait for it to run out
}

func TestReleaseLeavesOtherThingsAlone(t *testing.T) {
	h := newHolders(t)
	ok(t, h.set(nil, h.p, "old"))
	p := hold(h, h.p, h.key, time.Minute)
	ok(t, p.Release(t.Context()))
	wantValue(t, h.n, h.key, "old")
	p = hold(h, h.p, h.key, time.Minute)
	h.runOut()
	n := hold(h, h.n, h.key, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ok(t, p.Release(ctx))
	wantValue(t, h.n, h.key, "old")
	ok(t, h.set(n, h.n, "N"))
}

func TestItemsOfOtherPrograms(t *testing.T) {
	h := newHolders(t)
	// An item that another program has invalidated gives the next reader the same
	// mark as a placeholder that this program has just made.
	ok(t, h.set(nil, h.p, "old"))
	p := hold(h, h.p, h.key, time.Minute)
	h.runOut()
	h.raw.one("md " + h.key + " I T20")
	n := hold(h, h.n, h.key, time.Minute)
	h.wantRead(n, "old")
	if left := h.left(h.key); left < 55 {
		t.Errorf("%d s are left of what a lease of a minute compares with", left)
	}
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	ok(t, h.set(n, h.n, "N"))

	// A pickle is damaged to a reader, and replaced.
	h.raw.do("ms "+h.key+" 3 F1", "\x80\x04.")
	l := hold(h, h.n, h.key, time.Minute)
	items := []driver.Item{{Key: h.key, Lease: l}}
	if err := h.n.Get(t.Context(), items); err != nil || !errors.Is(items[0].Err, driver.ErrCorrupt) || items[0].Found() {
		t.Errorf("Get of a pickle = %v, %+v", err, items[0])
	}
	ok(t, h.set(l, h.n, "N"))
	wantValue(t, h.p, h.key, "N")
}

func TestCallsOfOneLeaseAtOnce(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"meta": nil, "python_lock": {PythonLock: true}} {
		b := open(t, "memcached://"+sharedServer(t).Addr(), o)
		for round := range 50 {
			key := unique(t)
			l := hold(t, b, key, time.Minute)
			var wg sync.WaitGroup
			stored := make(chan error, 2)
			for range 3 {
				wg.Go(func() {
					if err := l.Extend(t.Context(), time.Minute); err != nil && !errors.Is(err, driver.ErrLeaseLost) {
						t.Errorf("%s: Extend = %v", name, err)
					}
				})
			}
			for _, v := range []string{"a", "b"} {
				wg.Go(func() { stored <- try(t.Context(), b, driver.Item{Key: key, Data: []byte(v), Lease: l}) })
			}
			if round%2 == 1 {
				wg.Go(func() { ok(t, l.Release(t.Context())) })
			}
			wg.Wait()
			n := 0
			for range 2 {
				if err := <-stored; err == nil {
					n++
				} else if !errors.Is(err, driver.ErrLeaseLost) {
					t.Errorf("%s: Set = %v", name, err)
				}
			}
			if n > 1 || n < 1-round%2 {
				t.Errorf("%s: stored %d times under one lease", name, n)
			}
			if locked, err := b.Locked(t.Context(), key); locked || err != nil {
				t.Errorf("%s: Locked after all of it = %v, %v", name, locked, err)
			}
		}
	}
}
