package memcached_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
)

// newPlainHolders returns holders whose leases are Python's.
func newPlainHolders(t *testing.T) *holders {
	t.Helper()
	t.Parallel()
	h := &holders{T: t, s: sharedServer(t), key: unique(t)}
	h.p, h.pNet = through(t, h.s, &memcached.Options{PythonLock: true})
	h.n, h.nNet = through(t, h.s, &memcached.Options{PythonLock: true})
	h.raw = h.s.dial(t)
	return h
}

func TestPlainLeaseLeavesTheEntryAlone(t *testing.T) {
	h := newPlainHolders(t)
	l := hold(h, h.p, h.key, 90*time.Second)
	if h.raw.has(h.key) {
		t.Error("there is a placeholder, which Python would take for an entry")
	}
	if got := h.raw.one("mg _lock" + h.key + " f"); got != "HD f0" {
		t.Errorf("the lease's item: %q", got)
	}
	ok(t, l.Release(t.Context()))
}

func TestPlainLeaseThatRanOutUnnoticed(t *testing.T) {
	h := newPlainHolders(t)
	for _, old := range []string{"", "old"} {
		// 1. P takes the lease.  2. It runs out unnoticed.  3. N takes it.  4. P
		// stores: it looks at the lease, and is refused.  5. Nor does it free N's.
		if old != "" {
			ok(t, h.set(nil, h.p, old))
		}
		before := get(t, h.n, h.key)
		p := hold(h, h.p, h.key, time.Minute)
		h.runOut()
		n := hold(h, h.n, h.key, time.Minute)
		h.wantRead(n, before)
		h.wantLost("P's Set", h.set(p, h.p, "P"))
		h.wantLost("P's Extend", p.Extend(t.Context(), time.Minute))
		ok(t, p.Release(t.Context()))
		wantValue(t, h.p, h.key, before)
		ok(t, n.Extend(t.Context(), time.Minute))
		ok(t, h.set(n, h.n, "N"))
		wantValue(t, h.p, h.key, "N")
		if h.raw.has("_lock" + h.key) {
			t.Error("Set under the lease has left it")
		}
	}
}

func TestPlainLeaseAndDelete(t *testing.T) {
	h := newPlainHolders(t)
	// P is about to store: it has looked at the lease, which held. Then the key
	// is deleted, or set, in between.
	for name, revoke := range map[string]func() error{
		"Delete": func() error { return h.n.Delete(t.Context(), []string{h.key}) },
		"Set":    func() error { return h.set(nil, h.n, "new") },
	} {
		ok(t, h.set(nil, h.p, "old"))
		p := hold(h, h.p, h.key, time.Minute)
		h.pNet.Once("ms "+h.key+" ", func() { ok(t, revoke()) })
		h.wantLost(name+" in between", h.set(p, h.p, "P"))
		if got := get(t, h.n, h.key); got == "P" {
			t.Errorf("%s in between did not keep P from storing", name)
		}

		// It has not looked yet.
		ok(t, h.n.Delete(t.Context(), []string{h.key}))
		p = hold(h, h.p, h.key, time.Minute)
		h.pNet.Once("mg _lock"+h.key+" ", func() { ok(t, revoke()) })
		h.wantLost(name+" before", h.set(p, h.p, "P"))
		if got := get(t, h.n, h.key); got == "P" {
			t.Errorf("%s before did not keep P from storing", name)
		}
		if h.raw.has("_lock" + h.key) {
			t.Errorf("%s has left the lease", name)
		}
	}
	// What was set in between, where nothing was before, is not overwritten.
	ok(t, h.n.Delete(t.Context(), []string{h.key}))
	p := hold(h, h.p, h.key, time.Minute)
	h.pNet.Once("ms "+h.key+" ", func() { ok(t, h.set(nil, h.n, "new")) })
	h.wantLost("Set in between", h.set(p, h.p, "P"))
	wantValue(t, h.n, h.key, "new")
}

func TestPlainLeaseOverAnEntryThatIsGone(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*memcached.Options{"python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		// 1. P takes the lease over an entry.  2. That is gone.  3. P stores: not if it
		// may have been deleted by Python, which does not revoke the lease.
		b, raw, ctx := open(t, "memcached://"+sharedServer(t).Addr(), o), sharedServer(t).dial(t), t.Context()
		key := unique(t)
		ok(t, try(ctx, b, driver.Item{Key: key, Data: []byte("old")}))
		p := hold(t, b, key, time.Minute)
		raw.one("md " + key)
		err := try(ctx, b, driver.Item{Key: key, Data: []byte("P"), Lease: p})
		want := "P"
		if o.PythonLock {
			want = "(none)"
		}
		if errors.Is(err, driver.ErrLeaseLost) != o.PythonLock || err != nil && !o.PythonLock {
			t.Errorf("%s: Set over an entry that is gone = %v", name, err)
		}
		wantValue(t, b, key, want)
		if raw.has("_lock" + key) {
			t.Errorf("%s: Set under the lease has left it", name)
		}

		// One that a program like this has deleted, it does not store anyway.
		ok(t, try(ctx, b, driver.Item{Key: key, Data: []byte("old")}))
		p = hold(t, b, key, time.Minute)
		ok(t, b.Delete(ctx, []string{key}))
		if err := try(ctx, b, driver.Item{Key: key, Data: []byte("P"), Lease: p}); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s: Set after a Delete = %v", name, err)
		}
		wantValue(t, b, key, "(none)")
	}
}

func TestPlainLeaseAndDeleteOverTheBinaryProtocol(t *testing.T) {
	t.Parallel()
	// 1. P takes the lease over an entry.  2. P is about to store: it has looked at
	// the lease, which held.  3. The key is deleted.  4. P finds the entry gone, looks
	// again, and does not store.
	s, ctx := sharedServer(t), t.Context()
	o := &memcached.Options{Protocol: "binary"}
	b, n := through(t, s, o)
	other, key := open(t, "memcached://"+s.Addr(), o), unique(t)
	ok(t, try(ctx, b, driver.Item{Key: key, Data: []byte("old")}))
	p := hold(t, b, key, time.Minute)
	n.Once("value of P", func() { ok(t, other.Delete(ctx, []string{key})) })
	if err := try(ctx, b, driver.Item{Key: key, Data: []byte("value of P"), Lease: p}); !errors.Is(err, driver.ErrLeaseLost) {
		t.Errorf("P's Set = %v", err)
	}
	wantValue(t, b, key, "(none)")
}

func TestPlainLeaseIsNotFenced(t *testing.T) {
	h := newPlainHolders(t)
	// This is what Caps.Fenced being false, and the package comment, are about.
	// 1. Nothing is there; P takes the lease.  2. P has looked at it, and is about
	// to store.  3. The key is deleted.  4. P stores.
	p := hold(h, h.p, h.key, time.Minute)
	h.pNet.Once("ms "+h.key+" ", func() { ok(t, h.n.Delete(t.Context(), []string{h.key})) })
	ok(t, h.set(p, h.p, "P"))
	wantValue(t, h.n, h.key, "P")
	if h.p.Caps().Fenced {
		t.Error("Fenced is set")
	}
}

func TestPlainRevocationIsBeforeTheEntry(t *testing.T) {
	h := newPlainHolders(t)
	// 1. P takes the lease over nothing.  2. N deletes: the lease first.  3. P
	// stores, and finds the lease lost.  4. N deletes the entry.
	p := hold(h, h.p, h.key, time.Minute)
	h.nNet.Once("md "+h.key+" ", func() { h.wantLost("P's Set", h.set(p, h.p, "P")) })
	ok(t, h.n.Delete(t.Context(), []string{h.key}))
	wantValue(t, h.n, h.key, "(none)")
}

func TestPlainLeaseThatIsExtendedWhileItIsRevoked(t *testing.T) {
	h := newPlainHolders(t)
	// 1. P takes the lease over nothing.  2. N is about to delete, and looks at the
	// lease.  3. P extends it, which gives its item another CAS.  4. N revokes it
	// nevertheless.  5. P stores: refused.
	p := hold(h, h.p, h.key, time.Minute)
	h.nNet.Once("md _lock"+h.key+" ", func() { ok(t, p.Extend(t.Context(), time.Minute)) })
	ok(t, h.n.Delete(t.Context(), []string{h.key}))
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	wantValue(t, h.n, h.key, "(none)")
}

func TestOwnClockEndsAPlainLease(t *testing.T) {
	h := newPlainHolders(t)
	p := hold(h, h.p, h.key, time.Second)
	h.raw.do("mg _lock" + h.key + " T60")
	pause(time.Second + 10*time.Millisecond)
	before := h.pNet.Trips.Load()
	h.wantLost("P's Set", h.set(p, h.p, "P"))
	h.wantLost("P's Extend", p.Extend(t.Context(), time.Minute))
	if n := h.pNet.Trips.Load() - before; n != 0 {
		t.Errorf("%d round trips for a lease that has run out", n)
	}
}

func TestPlainLeasesInABatch(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	b := open(t, c.url(), &memcached.Options{PythonLock: true})
	lost := hold(t, b, "k1", time.Minute)
	ok(t, lost.Release(t.Context()))
	var items []driver.Item
	for i := range 30 {
		it := driver.Item{Key: fmt.Sprint("k", i), Data: []byte(fmt.Sprint("v", i))}
		switch {
		case i == 1:
			it.Lease = lost
		case i%3 != 0:
			it.Lease = hold(t, b, it.Key, time.Minute)
		case i%2 == 0:
			hold(t, b, it.Key, time.Minute) // is revoked
		}
		items = append(items, it)
	}
	ok(t, b.Set(t.Context(), items))
	for i, it := range items {
		if i == 1 {
			if !errors.Is(it.Err, driver.ErrLeaseLost) {
				t.Errorf("the item with a lost lease has %v", it.Err)
			}
			wantValue(t, b, it.Key, "(none)")
			continue
		}
		ok(t, it.Err)
		wantValue(t, b, it.Key, fmt.Sprint("v", i))
		if locked, err := b.Locked(t.Context(), it.Key); locked || err != nil {
			t.Errorf("%s: Locked afterwards = %v, %v", it.Key, locked, err)
		}
	}
}
