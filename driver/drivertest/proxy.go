package drivertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// RunProxy checks that the proxies made by wrap keep the contract:
//   - a backend with locks, objects and bytes passes [Run] when seen through one;
//   - no key is changed on the way;
//   - Caps are handed on, except that a proxy may turn Objects and InMemory off, and
//     may lift MaxValue if it makes values smaller;
//   - optional methods reach the backend, and say no where it has none;
//   - [driver.Sharder] is the backend's own, with the same names;
//   - what a [driver.Watcher] says of changes is handed on, and what a [driver.Holders]
//     says of leases and a [driver.Scanner] finds;
//   - [driver.As] can look through;
//   - of two proxies over one backend, as in two processes, each sees at once what
//     was set, deleted or leased through the other: whatever the key, no Get is
//     answered from a copy or together with a Get that began earlier.
//
// It runs in synctest bubbles.
//
// wrap is called for several backends. The proxy has to let through what it is
// made to disturb: give a proxy for testing its gentlest settings. A nil o
// stands for the zero Options.
func RunProxy(t *testing.T, wrap func(driver.Backend) driver.Backend, o *Options) {
	t.Helper()
	inBubble := Options{Bubble: true}
	if o != nil {
		inBubble.Patience = o.Patience
	}
	Run(t, func(t *testing.T) driver.Backend {
		return newFront(t, wrap)
	}, &inBubble)
	for _, r := range proxyRows {
		t.Run(r.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { r.run(t, wrap) })
		})
	}
}

type wrapper = func(driver.Backend) driver.Backend

type proxyRow struct {
	rule string
	run  func(testing.TB, wrapper)
}

var proxyRows = []proxyRow{
	{"proxy/Caps are handed on", capsHandedOn},
	{"proxy/what it lets past MaxValue it refuses by itself", liftsMaxValue},
	{"proxy/what the backend cannot do, the proxy cannot either", saysNo},
	{"proxy/every call reaches the backend", reaches},
	{"proxy/Shard is the backend's", shardHandedOn},
	{"proxy/it tells of changes what the backend tells", watchHandedOn},
	{"proxy/it says who holds a lease as the backend does", holdersHandedOn},
	{"proxy/it lists what the backend lists", scanHandedOn},
	{"proxy/driver.As finds the backend below", func(t testing.TB, wrap wrapper) {
		ref := newReference()
		if got, ok := driver.As[*reference](wrap(ref)); !ok || got != ref {
			t.Errorf("As = %v, %v; is there an Unwrap method?", got, ok)
		}
	}},
	{"proxy/a Delete that failed is an error", func(t testing.TB, wrap wrapper) {
		if err := wrap(failing{driver.Proxy{Backend: newReference()}}).Delete(t.Context(), []string{"k"}); err == nil {
			t.Error("Delete reports success where the backend failed")
		}
	}},
	{"proxy/a failed item fails alone", failsAlone},
	{"proxy/Get answers from the backend and not from a copy", func(t testing.TB, wrap wrapper) {
		e := newShared(t, wrap)
		seesTheOther(e, e.second())
	}},
	{"proxy/the backend is asked about leases, and nothing of them is remembered", func(t testing.TB, wrap wrapper) {
		e := newShared(t, wrap)
		leasesForBoth(e, e.second())
	}},
	{"proxy/a Get is not answered together with one that began earlier", asksAnew},
}

// newShared returns an env whose backends are proxies over one shared store. Its
// keys are not made unique by a prefix, so that a proxy sees those of kinds as
// they are.
func newShared(t testing.TB, wrap wrapper) *env {
	ref := newReference()
	ref.caps.Shared, ref.caps.Objects, ref.caps.InMemory = true, false, false
	e := newEnv(t, func() driver.Backend { return wrap(ref) }, &Options{}, true)
	e.space = ""
	return e
}

// asksAnew finds a proxy that answers several Gets of a key with one read:
//  1. A Get reads the value 1 and is slow to return it.
//  2. Another process sets the key to 2, and its Set returns.
//  3. A second Get begins.  4. The first Get returns 1.
//  5. The second Get returns. It must find 2, which the answer to the first does
//     not tell.
func asksAnew(t testing.TB, wrap wrapper) {
	for _, key := range kinds() {
		ref := newReference()
		gate := &gate{Proxy: driver.Proxy{Backend: ref}, open: make(chan struct{})}
		e := newEnv(t, func() driver.Backend { return wrap(gate) }, &Options{}, true)
		e.space = ""
		if err := ref.Set(e.ctx, []driver.Item{item(key, "1")}); err != nil {
			t.Fatalf("Set = %v", err)
		}
		var readers sync.WaitGroup
		first, second := []driver.Item{{Key: key}}, []driver.Item{{Key: key}}
		read := func(items []driver.Item) {
			readers.Go(func() {
				if err := e.b.Get(e.ctx, items); err != nil {
					t.Errorf("Get(%s) = %v", clip(key), err)
				}
			})
			e.settle()
		}
		read(first)
		if err := ref.Set(e.ctx, []driver.Item{item(key, "2")}); err != nil {
			t.Fatalf("Set = %v", err)
		}
		read(second)
		close(gate.open)
		readers.Wait()
		e.wantItem(&second[0], "2") // the first may find either
	}
}

// gate is a backend whose Get has its answer at once, and returns it when the
// gate is open.
type gate struct {
	driver.Proxy
	open chan struct{}
}

func (g *gate) Get(ctx context.Context, items []driver.Item) error {
	err := g.Proxy.Get(ctx, items)
	<-g.open
	return err
}

func capsHandedOn(t testing.TB, wrap wrapper) {
	all := driver.Caps{
		Name: "name", Objects: true, Shared: true, Locks: true, Fenced: true, MaxKeyLen: 250, MaxValue: 1 << 20,
		TTLUnit: time.Second, Mangle: func(key string) string { return "mangled " + key }, InMemory: true, Discards: true,
	}
	for _, want := range []driver.Caps{all, {}, {Name: "x", Shared: true}, {Locks: true}, {Objects: true, MaxKeyLen: 1}} {
		ref := newReference()
		ref.caps = want
		got := driver.CapsOf(wrap(ref))
		if got.Name != want.Name || got.Shared != want.Shared || got.Locks != want.Locks || got.Fenced != want.Fenced ||
			got.MaxKeyLen != want.MaxKeyLen || got.TTLUnit != want.TTLUnit || got.Discards != want.Discards {
			t.Errorf("the backend's Caps are %+v, the proxy's %+v", want, got)
		}
		if got.Objects && !want.Objects || got.InMemory && !want.InMemory {
			t.Errorf("the proxy has Objects %v and InMemory %v, which the backend has not", got.Objects, got.InMemory)
		}
		if (got.Mangle == nil) != (want.Mangle == nil) || got.Mangle != nil && got.Mangle("k") != want.Mangle("k") {
			t.Error("Mangle is not the backend's")
		}
	}
}

// liftsMaxValue is about a proxy that makes values smaller, and so may have a larger
// MaxValue than the backend. A value that is still too large must not come to the
// backend, which never promised to refuse it properly.
func liftsMaxValue(t testing.TB, wrap wrapper) {
	ref := newReference()
	ref.caps.MaxValue = 1000
	b := wrap(ref)
	if max := driver.CapsOf(b).MaxValue; max > 0 && max <= 1000 {
		return
	}
	items := []driver.Item{item("a", "A"), item("big", noise(2000)), item("b", "B")}
	if err := b.Set(t.Context(), items); err != nil {
		t.Fatalf("Set = %v, want an Err in the item", err)
	}
	if items[0].Err != nil || items[1].Err == nil || items[2].Err != nil {
		t.Errorf("Errs = %v, %v, %v, want one in the second", items[0].Err, items[1].Err, items[2].Err)
	}
	for key, e := range ref.entries {
		if len(e.data) > 1000 {
			t.Errorf("%q came to the backend with %d bytes, over its MaxValue", key, len(e.data))
		}
	}
	if len(ref.entries) != 2 {
		t.Errorf("%d entries were stored, want the two that fit", len(ref.entries))
	}
}

// shardHandedOn is about what a region needs to keep a version token on each server. A
// proxy that hides it makes one server that is down take the entries of all.
func shardHandedOn(t testing.TB, wrap wrapper) {
	sh, ok := wrap(sharding{driver.Proxy{Backend: newReference()}}).(driver.Sharder)
	if !ok {
		t.Error("over a driver.Sharder it is none")
		return
	}
	for _, key := range kinds() {
		if got, want := sh.Shard(key), (sharding{}).Shard(key); got != want {
			t.Errorf("Shard(%s) = %q, want the backend's %q", clip(key), got, want)
		}
	}
	for _, one := range []driver.Backend{newReference(), bare{newReference()}} {
		if sh, ok := wrap(one).(driver.Sharder); ok && sh.Shard("k") != "" {
			t.Errorf("over a backend of one server Shard is %q", sh.Shard("k"))
		}
	}
}

// sharding is a backend of several servers.
type sharding struct{ driver.Proxy }

func (sharding) Shard(key string) string { return "server of " + key }

func saysNo(t testing.TB, wrap wrapper) {
	b := wrap(bare{newReference()})
	if c := driver.CapsOf(b); c.Locks || c.Fenced || c.Objects || c.InMemory {
		t.Errorf("over a backend with three methods the Caps are %+v", c)
	}
	if l, ok := b.(driver.Locker); ok {
		lease, err1 := l.TryLock(t.Context(), "k", time.Minute)
		err2 := l.Wait(t.Context(), "k")
		_, err3 := l.Locked(t.Context(), "k")
		if lease != nil || err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("without leases below, TryLock = %v, %v; Wait = %v; Locked = %v; want errors", lease, err1, err2, err3)
		}
	}
	if err := driver.Close(b); err != nil {
		t.Errorf("Close over a backend that cannot be closed = %v", err)
	}
	items := []driver.Item{{Key: "k"}}
	if err := errors.Join(b.Set(t.Context(), []driver.Item{item("k", "v")}), b.Get(t.Context(), items)); err != nil || string(items[0].Data) != "v" {
		t.Errorf("found %q, %v", items[0].Data, err)
	}
}

func reaches(t testing.TB, wrap wrapper) {
	ref := newReference()
	spy := &spy{Proxy: driver.Proxy{Backend: ref}, seen: map[string]int{}}
	b := wrap(spy)
	items := []driver.Item{item("set", "v")}
	err := errors.Join(b.Set(t.Context(), items), b.Get(t.Context(), []driver.Item{{Key: "get"}}), b.Delete(t.Context(), []string{"delete"}))
	if lock, ok := b.(driver.Locker); ok {
		_, err1 := lock.TryLock(t.Context(), "trylock", time.Minute)
		_, err2 := lock.Locked(t.Context(), "locked")
		err = errors.Join(err, err1, err2, lock.Wait(t.Context(), "wait"))
	}
	if hs, ok := b.(driver.Holders); ok {
		_, _, err1 := hs.Holder(t.Context(), "holder")
		err = errors.Join(err, err1)
	}
	if err = errors.Join(err, driver.Close(b)); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"get", "set", "delete", "trylock", "wait", "locked", "holder"} {
		if spy.seen[key] == 0 {
			t.Errorf("the call with the key %q did not reach the backend under it; it saw %v", key, spy.seen)
		}
	}
	if ref.closed != 1 {
		t.Errorf("the backend was closed %d times", ref.closed)
	}
}

// failsAlone makes one item in the middle of a batch fail.
func failsAlone(t testing.TB, wrap wrapper) {
	b := wrap(failing{driver.Proxy{Backend: newReference()}})
	sent := []driver.Item{item("a", "A"), item("bad", "B"), item("c", "C")}
	if err := b.Set(t.Context(), sent); err != nil {
		t.Fatalf("Set = %v", err)
	}
	got := []driver.Item{{Key: "a"}, {Key: "bad"}, {Key: "c"}}
	if err := b.Get(t.Context(), got); err != nil {
		t.Fatalf("Get = %v", err)
	}
	if sent[0].Err != nil || sent[1].Err == nil || sent[2].Err != nil {
		t.Errorf("Errs after Set = %v, %v, %v, want one in the second", sent[0].Err, sent[1].Err, sent[2].Err)
	}
	if string(got[0].Data) != "A" || got[1].Found() || string(got[2].Data) != "C" {
		t.Errorf("found %q, %q, %q, want A, nothing, C", got[0].Data, got[1].Data, got[2].Data)
	}
}

// failing is a backend in which the key "bad" fails, and every Delete.
type failing struct{ driver.Proxy }

var errDown = errors.New("shard is down")

func (f failing) Get(ctx context.Context, items []driver.Item) error {
	return f.each(items, func(it []driver.Item) error { return f.Proxy.Get(ctx, it) })
}

func (f failing) Set(ctx context.Context, items []driver.Item) error {
	return f.each(items, func(it []driver.Item) error { return f.Proxy.Set(ctx, it) })
}

func (f failing) each(items []driver.Item, do func([]driver.Item) error) error {
	for i := range items {
		if items[i].Key == "bad" {
			items[i].Err = errDown
		} else if err := do(items[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (failing) Delete(context.Context, []string) error { return errDown }

// front is a proxy under test with an observer on each side: a key that arrives
// below must have been given above.
type front struct {
	driver.Proxy
	below *spy
}

func newFront(t testing.TB, wrap wrapper) driver.Backend {
	below := &spy{Proxy: driver.Proxy{Backend: newReference()}, t: t, seen: map[string]int{}, given: map[string]bool{}}
	return &front{driver.Proxy{Backend: wrap(below)}, below}
}

// Caps hands on InMemory too, since front neither blocks nor keeps keys.
func (f *front) Caps() driver.Caps { return driver.CapsOf(f.Backend) }

func (f *front) Get(ctx context.Context, items []driver.Item) error {
	f.below.give(keysOf(items)...)
	return f.Proxy.Get(ctx, items)
}

func (f *front) Set(ctx context.Context, items []driver.Item) error {
	f.below.give(keysOf(items)...)
	return f.Proxy.Set(ctx, items)
}

func (f *front) Delete(ctx context.Context, keys []string) error {
	f.below.give(keys...)
	return f.Proxy.Delete(ctx, keys)
}

func (f *front) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	f.below.give(key)
	return f.Proxy.TryLock(ctx, key, ttl)
}

func (f *front) Wait(ctx context.Context, key string) error {
	f.below.give(key)
	return f.Proxy.Wait(ctx, key)
}

func (f *front) Locked(ctx context.Context, key string) (bool, error) {
	f.below.give(key)
	return f.Proxy.Locked(ctx, key)
}

func (f *front) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	f.below.give(key)
	return f.Proxy.Holder(ctx, key)
}

// spy counts the keys that it is asked for.
type spy struct {
	driver.Proxy
	t     testing.TB
	mu    sync.Mutex
	seen  map[string]int
	given map[string]bool // what the proxy above was given; nil: not watched
}

// Caps hands on InMemory too: the keys that a spy keeps are its own copies.
func (s *spy) Caps() driver.Caps { return driver.CapsOf(s.Backend) }

func (s *spy) give(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.given[strings.Clone(key)] = true
	}
}

func (s *spy) saw(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.seen[strings.Clone(key)]++
		if s.given != nil && !s.given[key] {
			s.t.Errorf("the backend was asked for the key %s, which the proxy was not given", clip(key))
		}
	}
}

func keysOf(items []driver.Item) []string {
	keys := make([]string, len(items))
	for i := range items {
		keys[i] = items[i].Key
	}
	return keys
}

func (s *spy) Get(ctx context.Context, items []driver.Item) error {
	s.saw(keysOf(items)...)
	return s.Proxy.Get(ctx, items)
}

func (s *spy) Set(ctx context.Context, items []driver.Item) error {
	s.saw(keysOf(items)...)
	return s.Proxy.Set(ctx, items)
}

func (s *spy) Delete(ctx context.Context, keys []string) error {
	s.saw(keys...)
	return s.Proxy.Delete(ctx, keys)
}

func (s *spy) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	s.saw(key)
	return s.Proxy.TryLock(ctx, key, ttl)
}

func (s *spy) Wait(ctx context.Context, key string) error {
	s.saw(key)
	return s.Proxy.Wait(ctx, key)
}

func (s *spy) Locked(ctx context.Context, key string) (bool, error) {
	s.saw(key)
	return s.Proxy.Locked(ctx, key)
}

func (s *spy) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	s.saw(key)
	return s.Proxy.Holder(ctx, key)
}
