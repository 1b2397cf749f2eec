package redis_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
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
	lock := func() driver.Lease {
		t.Helper()
		if l != nil {
			return l
		}
		l, err := b.TryLock(ctx, key, time.Minute)
		if l == nil || err != nil {
			t.Fatalf("%s: TryLock = %v, %v", name, l, err)
		}
		return l
	}
	before := value(t, b, key)
	switch call {
	case "Set":
		want("Set", set(nil), "new", false)
	case "Delete":
		want("Delete", b.Delete(ctx, []string{key}), "", false)
	case "TryLock":
		lock()
		again, err := b.TryLock(ctx, key, time.Minute)
		if again != nil {
			t.Errorf("%s: a second lease was granted", name)
		}
		want("TryLock", err, before, true)
	case "Release":
		l := lock()
		ok(t, l.Extend(ctx, time.Hour))
		want("Release", l.Release(ctx), before, false)
		if err := l.Extend(ctx, time.Hour); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s: Extend of a lease that was released = %v", name, err)
		}
	case "Set under a lost lease":
		l := lock()
		ok(t, b.Delete(ctx, []string{key}))
		if err := set(l); !errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s = %v", name, err)
		}
		want("after that", nil, "", false)
	case "Set under the lease":
		err := set(lock())
		if !apart {
			want("Set", err, "new", false)
			break
		}
		if err == nil || errors.Is(err, driver.ErrLeaseLost) {
			t.Errorf("%s = %v", name, err)
		}
		want("what was refused", nil, before, true)
	case "Wait":
		l := lock()
		done := make(chan error, 1)
		go func() { done <- b.Wait(ctx, key) }()
		pause(5 * time.Millisecond)
		ok(t, l.Release(ctx))
		woken(t, name, done)
	}
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
	for n := range int64(1000) {
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
