package memcached_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
)

func TestLeaseOfAServerThatWasStartedAgain(t *testing.T) {
	t.Parallel()
	// 1. P takes the lease.  2. The server is started again, and counts CAS from
	// the beginning.  3. N takes the lease; its items have the same CAS as P's had.
	// 4. What P does is refused, and touches nothing of N's.
	for name, do := range map[string]func(b *memcached.Backend, l driver.Lease) error{
		"Set": func(b *memcached.Backend, l driver.Lease) error {
			return try(t.Context(), b, driver.Item{Key: "k", Data: []byte("P"), Lease: l})
		},
		"Extend":  func(_ *memcached.Backend, l driver.Lease) error { return l.Extend(t.Context(), time.Minute) },
		"Release": func(_ *memcached.Backend, l driver.Lease) error { return l.Release(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var p, n driver.Lease
			var cas [2][]string
			a, b := open(t, "memcached://"+s.Addr(), nil), open(t, "memcached://"+s.Addr(), nil)
			for i, take := range []func(){func() { p = hold(t, a, "k", time.Minute) }, func() { n = hold(t, b, "k", time.Minute) }} {
				if i == 1 {
					s.Kill()
					s.Start(t)
				}
				take()
				cas[i] = s.dial(t).do("mg k c", "mg _lockk c")
			}
			if fmt.Sprint(cas[0]) != fmt.Sprint(cas[1]) {
				t.Fatalf("the items are %q before and %q afterwards: this proves nothing", cas[0], cas[1])
			}
			if err := do(a, p); name == "Release" && err != nil || name != "Release" && !errors.Is(err, driver.ErrLeaseLost) {
				t.Errorf("P's %s = %v", name, err)
			}
			wantValue(t, a, "k", "(none)")
			ok(t, n.Extend(t.Context(), time.Minute))
			ok(t, try(t.Context(), b, driver.Item{Key: "k", Data: []byte("N"), Lease: n}))
			wantValue(t, a, "k", "N")
		})
	}
}

func TestLeaseOutlivesItsConnection(t *testing.T) {
	h := newHolders(t)
	reconnect := func() {
		h.pNet.Cut()
		h.pNet.Mend()
		eventually(t, "a new connection", func() bool { return h.p.Get(t.Context(), []driver.Item{{Key: h.key}}) == nil })
	}
	for _, old := range []string{"", "old"} {
		if old != "" {
			ok(t, h.set(nil, h.p, old))
		}
		p := hold(h, h.p, h.key, time.Minute)
		reconnect()
		ok(t, p.Extend(t.Context(), time.Minute))
		reconnect()
		ok(t, p.Release(t.Context()))
		if h.raw.has("_lock" + h.key) {
			t.Error("Release over another connection has left the lease")
		}
		p = hold(h, h.p, h.key, time.Minute)
		reconnect()
		other := hold(h, h.p, h.key+".other", time.Minute)
		items := []driver.Item{
			{Key: h.key, Data: []byte("P"), Lease: p},
			{Key: h.key + ".free", Data: []byte("free")},
			{Key: h.key + ".other", Data: []byte("other"), Lease: other},
		}
		ok(t, h.p.Set(t.Context(), items))
		for _, it := range items {
			ok(t, it.Err)
			wantValue(t, h.n, it.Key, string(it.Data))
		}
	}
}

func TestLeaseIsLostWithItsConnectionIfItIsLost(t *testing.T) {
	h := newHolders(t)
	for name, do := range map[string]func(driver.Lease) error{
		"Set":    func(l driver.Lease) error { return h.set(l, h.p, "P") },
		"Extend": func(l driver.Lease) error { return l.Extend(t.Context(), time.Minute) },
	} {
		for what, end := range map[string]func() error{
			"deleted":       func() error { return h.n.Delete(t.Context(), []string{h.key}) },
			"set":           func() error { return h.set(nil, h.n, "new") },
			"without entry": func() error { h.raw.one("md " + h.key); return nil },
		} {
			ok(t, h.n.Delete(t.Context(), []string{h.key}))
			p := hold(h, h.p, h.key, time.Minute)
			h.pNet.Cut()
			ok(t, end())
			h.pNet.Mend()
			eventually(t, "a new connection", func() bool { return h.p.Get(t.Context(), []driver.Item{{Key: h.key}}) == nil })
			h.wantLost(what+": "+name, do(p))
			ok(t, p.Release(t.Context()))
			hold(h, h.n, h.key, time.Minute)
		}
	}
}

func TestAnswersThatAreLost(t *testing.T) {
	h := newHolders(t)
	// Each call is carried out, but its answer does not come. What is done
	// afterwards finds out.
	lose := func(what string, do func() error) {
		t.Helper()
		h.pNet.Deaf.Store(true)
		if err := do(); err == nil || errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s without an answer = %v", what, err)
		}
		h.pNet.Deaf.Store(false)
		eventually(t, "a new connection", func() bool { return h.p.Get(t.Context(), []driver.Item{{Key: h.key}}) == nil })
	}
	p := hold(h, h.p, h.key, time.Minute)
	lose("Set", func() error { return h.set(p, h.p, "P") })
	wantValue(t, h.n, h.key, "P")
	h.wantLost("a second Set", h.set(p, h.p, "again"))
	h.wantLost("Extend", p.Extend(t.Context(), time.Minute))
	ok(t, p.Release(t.Context()))

	p = hold(h, h.p, h.key, time.Minute) // over an entry that has its time
	lose("Extend", func() error { return p.Extend(t.Context(), 2*time.Minute) })
	ok(t, p.Extend(t.Context(), time.Minute))
	lose("Extend", func() error { return p.Extend(t.Context(), 2*time.Minute) })
	ok(t, h.set(p, h.p, "P2"))
	wantValue(t, h.n, h.key, "P2")

	p = hold(h, h.p, h.key, time.Minute)
	lose("Release", func() error { return p.Release(t.Context()) })
	ok(t, p.Release(t.Context()))
	n := hold(h, h.n, h.key, time.Minute)
	ok(t, p.Release(t.Context()))
	ok(t, n.Extend(t.Context(), time.Minute))
	ok(t, n.Release(t.Context()))

	lose("TryLock", func() error {
		l, err := h.p.TryLock(t.Context(), h.key, time.Hour)
		if l != nil {
			t.Error("TryLock without an answer has returned a lease")
		}
		return err
	})
	eventually(t, "the lease to be given back", func() bool { return !h.raw.has("_lock" + h.key) })
}

func TestServerWithoutRoom(t *testing.T) {
	t.Parallel()
	// One that evicts nothing, and is full.
	s := startServer(t, "-M", "-m", "1", "-I", "256k", "-o", "slab_chunk_max=128")
	b, raw, ctx := open(t, "memcached://"+s.Addr(), &memcached.Options{Breaker: off}), s.dial(t), t.Context()
	var full error
	for size := 64; size > 0; size /= 2 { // in slabs of all sizes
		for i := 0; full == nil; i++ {
			full = try(ctx, b, driver.Item{Key: fmt.Sprintf("fill%d.%d", size, i), Data: []byte(strings.Repeat("x", size*100))})
		}
		t.Log(full)
		full = nil
	}
	for i := range 3000 {
		raw.do(fmt.Sprintf("ms fill.small%d 1", i), "x")
	}
	refused := 0
	for i := range 50 {
		key := fmt.Sprint("k", i)
		l, err := b.TryLock(ctx, key, time.Minute)
		if err != nil {
			refused++
			eventually(t, "the lease to be given back", func() bool { return !raw.has("_lock" + key) })
		} else if l == nil {
			t.Error("TryLock where there is no room = nil, nil")
		}
	}
	if refused == 0 {
		t.Error("there was room")
	}
}

func TestServerWithoutCAS(t *testing.T) {
	t.Parallel()
	s := startServer(t, "-C")
	for name, o := range map[string]*memcached.Options{"meta": {}, "python_lock": {PythonLock: true}, "binary": {Protocol: "binary"}} {
		b := open(t, "memcached://"+s.Addr(), o)
		key := unique(t)
		ok(t, try(t.Context(), b, driver.Item{Key: key, Data: []byte("v")}))
		wantValue(t, b, key, "v")
		if l, err := b.TryLock(t.Context(), key, time.Hour); l != nil || err == nil || !strings.Contains(err.Error(), "-C") {
			t.Errorf("%s: TryLock = %v, %v", name, l, err)
		}
		raw := s.dial(t)
		eventually(t, "the lease to be given back", func() bool { return !raw.has("_lock" + key) })
	}
}
