package drivertest

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// holderRows are about what a driver.Holders tells. They are skipped for a backend that is
// none. One that knows nothing of the holder passes.
var holderRows = []row{
	{"holder/it tells what Locked tells, and nobody where there is none", lockNeeds, func(e *env) {
		hs := e.holders()
		k := e.key("k")
		want := func(want bool, when string) {
			e.Helper()
			h, held, err := hs.Holder(e.ctx, k)
			if held != want || err != nil {
				e.Errorf("Holder %s = %v, %v, want %v", when, held, err, want)
			}
			if !want && h != (driver.Holder{}) {
				e.Errorf("Holder %s is %+v, want nobody", when, h)
			}
		}
		want(false, "of a key never leased")
		e.set(item(k, "v"))
		want(false, "of a key with a value")
		l := e.hold(k, longTTL)
		want(true, "of a leased key")
		e.release(l)
		want(false, "after Release")
		e.hold(k, longTTL)
		e.delete(k)
		want(false, "after Delete")
		start := time.Now()
		e.hold(k, e.tick)
		e.runOut(k, start, e.tick)
		want(false, "of a lease that has run out")
	}},
	{"holder/it is this process, since the lease was taken", lockNeeds, func(e *env) {
		e.holders()
		host, _ := os.Hostname()
		before := time.Now()
		e.hold(e.key("k"), longTTL)
		h := e.holder(e.key("k"))
		if h.Program != "" || h.Host != "" && h.Host != host[:min(len(host), 64)] || h.PID != 0 && h.PID != os.Getpid() {
			e.Errorf("the holder is %+v, want process %d on %q", h, os.Getpid(), host)
		}
		// Servers may keep whole seconds.
		if !h.Since.IsZero() && (h.Since.Before(before.Add(-time.Second)) || h.Since.After(time.Now().Add(time.Second))) {
			e.Errorf("it is said to hold since %v, and it is %v", h.Since, before)
		}
	}},
	{"holder/since when does not change with Extend, and does with the next holder", lockNeeds, func(e *env) {
		e.holders()
		k := e.key("k")
		l := e.hold(k, longTTL)
		first := e.holder(k)
		e.pass(1100 * time.Millisecond) // servers may keep whole seconds
		if err := l.Extend(e.ctx, longTTL); err != nil {
			e.Fatalf("Extend = %v", err)
		}
		if h := e.holder(k); h != first {
			e.Errorf("after Extend the holder is %+v, before it was %+v", h, first)
		}
		e.release(l)
		e.hold(k, longTTL)
		if h := e.holder(k); !first.Since.IsZero() && !h.Since.After(first.Since) {
			e.Errorf("the next holder is said to hold since %v, the one before since %v", h.Since, first.Since)
		}
	}},
	{"holder/each key has a holder of its own", lockNeeds, func(e *env) {
		hs := e.holders()
		e.hold(e.key("k"), longTTL)
		if _, held, err := hs.Holder(e.ctx, e.key("other")); held || err != nil {
			e.Errorf("of a key next to one that is leased, Holder = %v, %v", held, err)
		}
	}},
	{"holder/with a context that is done it is an error, or right", lockNeeds, func(e *env) {
		hs := e.holders()
		e.hold(e.key("k"), longTTL)
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		if h, held, err := hs.Holder(ctx, e.key("k")); err == nil && !held || err != nil && (held || h != (driver.Holder{}) || !errors.Is(err, context.Canceled)) {
			e.Errorf("Holder = %+v, %v, %v", h, held, err)
		}
	}},
	{"holder/another client tells the same", lockNeeds | shared, func(e *env) {
		e.holders()
		o := e.sharing()
		e.hold(e.key("k"), longTTL)
		if mine, its := e.holder(e.key("k")), o.holder(e.key("k")); mine != its {
			e.Errorf("the holder is %+v to the one that holds, and %+v to another", mine, its)
		}
	}},
}

// holders skips the row for a backend that does not tell who holds a lease.
func (e *env) holders() driver.Holders {
	e.Helper()
	hs, ok := e.b.(driver.Holders)
	if !ok {
		e.Skip("the backend is no driver.Holders")
	}
	return hs
}

// holder returns who holds the lease on key, which is held.
func (e *env) holder(key string) driver.Holder {
	e.Helper()
	h, held, err := e.b.(driver.Holders).Holder(e.ctx, key)
	if !held || err != nil {
		e.Fatalf("Holder(%s) = %v, %v, want a holder", clip(key), held, err)
	}
	return h
}

// holdersHandedOn checks that a proxy tells of holders what the backend tells.
func holdersHandedOn(t testing.TB, wrap wrapper) {
	hs, ok := wrap(telling{driver.Proxy{Backend: newReference()}}).(driver.Holders)
	if !ok {
		t.Error("over a driver.Holders it is none")
		return
	}
	for _, key := range kinds() {
		got, held, err := hs.Holder(t.Context(), key)
		want, wantHeld, _ := telling{}.Holder(t.Context(), key)
		if got != want || held != wantHeld || err != nil {
			t.Errorf("Holder(%s) = %+v, %v, %v, want the backend's %+v, %v", clip(key), got, held, err, want, wantHeld)
		}
	}
	if _, held, err := hs.Holder(t.Context(), "bad"); held || !errors.Is(err, errDown) {
		t.Errorf("where the backend has failed, Holder = %v, %v", held, err)
	}
	ref := newReference()
	if l, err := ref.TryLock(t.Context(), "k", time.Minute); l == nil || err != nil {
		t.Fatalf("TryLock = %v, %v", l, err)
	}
	if hs, ok := wrap(locking{bare{ref}, ref}).(driver.Holders); ok {
		for key, want := range map[string]bool{"k": true, "other": false} {
			if h, held, err := hs.Holder(t.Context(), key); held != want || h != (driver.Holder{}) || err != nil {
				t.Errorf("over a backend that has leases and cannot tell whose, Holder(%q) = %+v, %v, %v", key, h, held, err)
			}
		}
	}
	if hs, ok := wrap(bare{newReference()}).(driver.Holders); ok {
		if _, held, err := hs.Holder(t.Context(), "k"); held || err == nil {
			t.Errorf("over a backend without leases Holder = %v, %v, want an error", held, err)
		}
	}
}

// telling is a backend that tells of holders on other hosts.
type telling struct{ driver.Proxy }

func (telling) Holder(_ context.Context, key string) (h driver.Holder, held bool, err error) {
	if key == "bad" {
		return h, false, errDown
	}
	return driver.Holder{Host: "host of " + key, PID: len(key), Since: time.Unix(int64(len(key)), 0)}, !strings.HasPrefix(key, "_"), nil
}

// locking is a backend with leases that cannot tell who holds them.
type locking struct {
	bare
	driver.Locker
}

func (locking) Caps() driver.Caps { return driver.Caps{Locks: true} }
