package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/proxy"
)

// moving is a Cluster with a slot that is on its way from one node to another.
type moving struct {
	cluster
	t        *testing.T
	from, to *server
	slot     string
}

// startMoving has the slot of tag begin to move. Keys with {tag} are in it.
func startMoving(t *testing.T, tag string) *moving {
	t.Helper()
	c := startCluster(t, nil)
	slot := redis.Slot(tag)
	at := slot * 3 / 16384
	return &moving{cluster: c, t: t, from: c[at], to: c[(at+1)%3], slot: fmt.Sprint(slot)}
}

func (m *moving) begin() {
	m.t.Helper()
	from, err := do(m.t, m.from.client(m.t), "CLUSTER", "MYID").ToString()
	ok(m.t, err)
	to, err := do(m.t, m.to.client(m.t), "CLUSTER", "MYID").ToString()
	ok(m.t, err)
	do(m.t, m.to.client(m.t), "CLUSTER", "SETSLOT", m.slot, "IMPORTING", from)
	do(m.t, m.from.client(m.t), "CLUSTER", "SETSLOT", m.slot, "MIGRATING", to)
}

// move takes a key to the other node, and reports whether it was there to take.
func (m *moving) move(key string) bool {
	m.t.Helper()
	answer, err := m.from.do(m.t, "MIGRATE", "127.0.0.1", m.to.port, key, "0", "5000").ToString()
	ok(m.t, err)
	return answer == "OK"
}

// end gives the slot to the other node.
func (m *moving) end() {
	m.t.Helper()
	to, err := m.to.do(m.t, "CLUSTER", "MYID").ToString()
	ok(m.t, err)
	for _, s := range []*server{m.to, m.from} {
		s.do(m.t, "CLUSTER", "SETSLOT", m.slot, "NODE", to)
	}
}

func value(t testing.TB, b *redis.Backend, key string) string {
	t.Helper()
	items := []driver.Item{{Key: key}}
	ok(t, b.Get(t.Context(), items))
	ok(t, items[0].Err)
	return string(items[0].Data)
}

// TestSlotThatMoves has each call of a backend while the entry, the key of the
// lease, both or neither have moved.
func TestSlotThatMoves(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off, Timeout: 5 * time.Second})
	ctx := t.Context()
	type state struct {
		name, call  string
		entry, held bool // before the slot moves
		moveEntry   bool
		moveLock    bool
	}
	var states []state
	for _, s := range []state{
		{"neither exists", "", false, false, false, false},
		{"an entry that stays", "", true, false, false, false},
		{"an entry that has moved", "", true, false, true, false},
		{"a lease that stays", "", false, true, false, false},
		{"a lease that has moved", "", false, true, false, true},
		{"both stay", "", true, true, false, false},
		{"the entry has moved and the lease not", "", true, true, true, false},
		{"the lease has moved and the entry not", "", true, true, false, true},
		{"both have moved", "", true, true, true, true},
	} {
		for _, call := range []string{"Set", "Delete", "TryLock", "Set under the lease", "Set under a lost lease", "Release", "Wait"} {
			c := s
			c.name, c.call = s.name+": "+call, call
			states = append(states, c)
			key := "{tag}" + c.name
			if s.entry {
				ok(t, backendtest.Set(ctx, b, driver.Item{Key: key, Data: []byte("old")}))
			}
		}
	}
	leases := map[string]driver.Lease{}
	for _, s := range states {
		if s.held {
			l, err := b.TryLock(ctx, "{tag}"+s.name, time.Hour)
			if l == nil || err != nil {
				t.Fatalf("%s: TryLock = %v, %v", s.name, l, err)
			}
			leases[s.name] = l
		}
	}
	m.begin()
	for _, s := range states {
		key := "{tag}" + s.name
		if s.moveEntry && !m.move(key) || s.moveLock && !m.move("_lock"+key) {
			t.Fatalf("%s: nothing to move", s.name)
		}
	}
	for _, s := range states {
		checkMoving(t, b, s.name, s.call, s.held && !s.moveLock && (!s.entry || s.moveEntry), leases[s.name])
	}
	m.end()
}

// checkMoving makes one call on a key of its own. l was taken before the slot
// moved; apart says that no node can compare it and store.
func checkMoving(t *testing.T, b *redis.Backend, name, call string, apart bool, l driver.Lease) {
	ctx, key := t.Context(), "{tag}"+name
	set := func(l driver.Lease) error {
		items := []driver.Item{{Key: key, Data: []byte("new"), Lease: l}}
		return errors.Join(b.Set(ctx, items), items[0].Err)
	}
	want := func(what string, err error, value_ string, locked bool) {
		t.Helper()
		held, e := b.Locked(ctx, key)
		if got := value(t, b, key); err != nil || e != nil || got != value_ || held != locked {
			t.Errorf("%s: %s: %v, %v; %q and locked %v, want %q and %v", name, what, err, e, got, held, value_, locked)
		}
	}
	before := value(t, b, key)
	switch call {
	case "Set":
		want("Set", set(nil), "new", false)
		return
	case "Delete":
		want("Delete", b.Delete(ctx, []string{key}), "", false)
		return
	}
	if l == nil {
		l = locked(t, b, key)
	}
	if call == "Wait" {
		checkWait(t, b, name, key, l)
		return
	}
	switch call {
	case "TryLock":
		again, err := b.TryLock(ctx, key, time.Minute)
		if again != nil {
			t.Errorf("%s: a second lease was granted", name)
		}
		want("TryLock", err, before, true)
	case "Release":
		ok(t, l.Extend(ctx, time.Hour))
		want("Release", l.Release(ctx), before, false)
		if err := l.Extend(ctx, time.Hour); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s: Extend of a lease that was released = %v", name, err)
		}
	case "Set under a lost lease":
		ok(t, b.Delete(ctx, []string{key}))
		if err := set(l); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s = %v", name, err)
		}
		want("after that", nil, "", false)
	case "Set under the lease":
		err := set(l)
		if !apart {
			want("Set", err, "new", false)
			break
		}
		if err == nil || errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s = %v", name, err)
		}
		want("what was refused", nil, before, true)
	}
}

func locked(t *testing.T, b *redis.Backend, key string) driver.Lease {
	t.Helper()
	l, err := b.TryLock(t.Context(), key, time.Minute)
	if l == nil || err != nil {
		t.Fatalf("TryLock of %s = %v, %v", key, l, err)
	}
	return l
}

func checkWait(t *testing.T, b *redis.Backend, name, key string, l driver.Lease) {
	done := make(chan error, 1)
	go func() { done <- b.Wait(t.Context(), key) }()
	pause(5 * time.Millisecond)
	ok(t, l.Release(t.Context()))
	woken(t, name, done)
}

// TestCacheWhileASlotMoves has an application go on while all of its keys move.
func TestCacheWhileASlotMoves(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "tag")
	b := open(t, m.url(), nil)
	cache := dogpile.NewCache[string](configured(t, "{tag}"+unique(t), b, nil), nil)
	ctx := t.Context()
	check := func(when string) {
		t.Helper()
		for i := range 20 {
			key, want := fmt.Sprint("k", i), fmt.Sprint(when, i)
			ok(t, cache.Delete(ctx, key))
			for range 2 {
				if v, err := cache.GetOrCreate(ctx, key, made(want)); v != want || err != nil {
					t.Errorf("%s: GetOrCreate = %q, %v", when, v, err)
				}
			}
			if v, found, err := cache.Get(ctx, key); v != want || !found || err != nil {
				t.Errorf("%s: what was created is not stored: %q, %v, %v", when, v, found, err)
			}
			ok(t, cache.Set(ctx, key, want+" set"))
			if v, found, err := cache.Get(ctx, key); v != want+" set" || !found || err != nil {
				t.Errorf("%s: what was set is not stored: %q, %v, %v", when, v, found, err)
			}
		}
	}
	check("before")
	m.begin()
	check("when the slot has begun to move")
	check("again")
	keys, err := do(t, m.from.client(t), "CLUSTER", "GETKEYSINSLOT", m.slot, "1000").AsStrSlice()
	ok(t, err)
	for _, key := range keys {
		m.move(key)
	}
	check("when all keys have moved")
	m.end()
	check("afterwards")
}

// TestApplicationGoesOnWhileSlotsMove has a slot with many keys go from node to
// node, key by key, while an application uses them.
func TestApplicationGoesOnWhileSlotsMove(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "load:")
	b := open(t, m.url(), nil)
	r := dogpile.NewRegion("load")
	ok(t, r.Configure(b, &dogpile.Options{Prefix: "{load:}", Expiration: 50 * time.Millisecond, StaleFor: time.Hour}))
	t.Cleanup(func() { ok(t, r.Close(context.Background())) })
	cache := dogpile.NewCache[string](r, nil)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprint("k", (n+i)%20)
				if v, err := cache.GetOrCreate(context.Background(), key, made(key)); v != key || err != nil {
					t.Errorf("GetOrCreate = %q, %v", v, err)
				}
				if n%5 == 0 {
					if err := cache.Delete(context.Background(), key); err != nil {
						t.Errorf("Delete = %v", err)
					}
				}
			}
		})
	}
	for range 4 {
		m.begin()
		for range 30 {
			keys, err := do(t, m.from.client(t), "CLUSTER", "GETKEYSINSLOT", m.slot, "3").AsStrSlice()
			ok(t, err)
			for _, key := range keys {
				m.move(key)
			}
			pause(5 * time.Millisecond)
		}
		for { // what is left
			keys, err := do(t, m.from.client(t), "CLUSTER", "GETKEYSINSLOT", m.slot, "100").AsStrSlice()
			ok(t, err)
			if len(keys) == 0 {
				break
			}
			for _, key := range keys {
				m.move(key)
			}
		}
		m.end()
		m.from, m.to = m.to, m.from
	}
	stop()
	wg.Wait()
	v, err := cache.GetOrCreate(t.Context(), "k1", made("k1"))
	_, found, e := cache.Peek(t.Context(), "k1") // it may be stale by now
	if v != "k1" || !found || errors.Join(err, e) != nil {
		t.Errorf("afterwards: %q, %v, %v, %v", v, found, err, e)
	}
}

// TestDeleteBeatsCreationsWhileASlotMoves has deletions and creations race.
//
//  1. A creator begins, and reads the origin.  2. The origin changes, and a Delete
//     begins.  3. The Delete returns.  4. No read finds what the creator read.
func TestDeleteBeatsCreationsWhileASlotMoves(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "tag")
	a := open(t, m.url(), &redis.Options{Breaker: off, Timeout: 10 * time.Second})
	b := open(t, m.url(), &redis.Options{Breaker: off, Timeout: 10 * time.Second})
	ctx := t.Context()
	ok(t, a.Get(ctx, []driver.Item{{Key: "k"}}))
	ok(t, b.Get(ctx, []driver.Item{{Key: "k"}}))
	m.begin()
	var origin, stored atomic.Int64
	stop := make(chan struct{})
	done := make(chan struct{})
	const key = "{tag}key"
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			l, err := a.TryLock(ctx, key, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			if l == nil {
				continue
			}
			items := []driver.Item{{Key: key, Data: []byte(fmt.Sprint(origin.Load())), Lease: l}}
			if err := a.Set(ctx, items); err != nil {
				t.Error(err)
				return
			}
			if items[0].Err == nil {
				stored.Add(1)
			}
		}
	}()
	began := time.Now()
	for n := int64(0); n < 1000 || stored.Load() < 100 && time.Since(began) < time.Minute; n++ {
		origin.Store(n + 1)
		ok(t, b.Delete(ctx, []string{key}))
		if v := value(t, b, key); v != "" && v != fmt.Sprint(n+1) {
			t.Errorf("after Delete %d: a value of %s", n+1, v)
		}
	}
	close(stop)
	<-done
	if stored.Load() < 100 {
		t.Errorf("only %d values were stored", stored.Load())
	}
}

// TestDeleteBeatsRefreshesOfEntriesThatHaveNotMoved is the same for entries that
// are on the node that the slot leaves, while the lease on each is on the other.
func TestDeleteBeatsRefreshesOfEntriesThatHaveNotMoved(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: off, Timeout: 10 * time.Second})
	const keys = 500
	key := func(i int) string { return fmt.Sprint("{tag}", i) }
	var items []driver.Item
	for i := range keys {
		items = append(items, driver.Item{Key: key(i), Data: []byte("stale")})
	}
	ok(t, b.Set(t.Context(), items))
	m.begin()
	stored := 0
	for i := range keys {
		var origin atomic.Int64
		done := make(chan error, 1)
		go func() {
			l, err := b.TryLock(t.Context(), key(i), time.Minute)
			if l == nil {
				done <- errors.Join(err, driver.ErrLeaseLost)
				return
			}
			items := []driver.Item{{Key: key(i), Data: []byte(fmt.Sprint(origin.Load())), Lease: l}}
			done <- errors.Join(b.Set(t.Context(), items), items[0].Err)
		}()
		pause(time.Duration(i) * 2 * time.Microsecond) // Delete comes ever later
		origin.Store(1)
		ok(t, b.Delete(t.Context(), []string{key(i)}))
		after := value(t, b, key(i))
		switch err := <-done; {
		case err == nil:
			stored++
		case !errors.Is(err, driver.ErrLeaseLost):
			t.Error(err)
		}
		for _, v := range []string{after, value(t, b, key(i))} {
			if v != "" && v != "1" {
				t.Errorf("after a Delete of %s: %q", key(i), v)
			}
		}
	}
	t.Logf("%d of %d were stored", stored, keys)
}

// TestSlotThatMovesOpensNoBreaker: a Set that is refused because its slot moves says nothing
// against the node.
func TestSlotThatMovesOpensNoBreaker(t *testing.T) {
	t.Parallel()
	m := startMoving(t, "tag")
	b := open(t, m.url(), &redis.Options{Breaker: &proxy.BreakerOptions{Failures: 1, Cooldown: time.Hour}})
	l := locked(t, b, "{tag}key")
	m.begin()
	for range 3 {
		items := []driver.Item{{Key: "{tag}key", Data: []byte("new"), Lease: l}}
		if err := errors.Join(b.Set(t.Context(), items), items[0].Err); err == nil || errors.Is(err, proxy.ErrOpen) {
			t.Fatalf("Set under the lease = %v, want that it is refused", err)
		}
		ok(t, b.Delete(t.Context(), []string{"{tag}other"}))
	}
	ok(t, l.Release(t.Context()))
	m.end()
}
