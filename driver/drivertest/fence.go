package drivertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

var fenceRows = []row{
	{"fence/Set under a lease stores and releases", lockNeeds, func(e *env) {
		k := e.key("k")
		e.set(itemUnder(e.hold(k, longTTL), k, "v"))
		e.want(k, "v")
		e.hold(k, longTTL)
	}},
	{"fence/Set under an extended lease stores", lockNeeds, func(e *env) {
		k := e.key("k")
		l := e.hold(k, longTTL)
		if err := l.Extend(e.ctx, 2*longTTL); err != nil {
			e.Fatalf("Extend = %v", err)
		}
		e.set(itemUnder(l, k, "v"))
		e.want(k, "v")
	}},
	{"fence/Set is refused after Delete", lockNeeds, refused("", func(e *env, k string, _ driver.Lease) { e.delete(k) })},
	{"fence/Set is refused after another Set", lockNeeds, refused("new", func(e *env, k string, _ driver.Lease) { e.set(item(k, "new")) })},
	{"fence/Set is refused after the lease was used up", lockNeeds, refused("first", func(e *env, k string, l driver.Lease) {
		e.set(itemUnder(l, k, "first"))
	})},
	{"fence/Set is refused after Release", lockNeeds, refused(unchanged, func(e *env, _ string, l driver.Lease) { e.release(l) })},
	{"fence/Set is refused once the lease has run out", lockNeeds, func(e *env) {
		k, start := e.key("k"), time.Now()
		l := e.hold(k, e.tick)
		e.runOut(k, start, e.tick)
		e.wantLost("Set under a lease that ran out", e.trySet(itemUnder(l, k, "old")))
		e.wantMissing(k)
	}},
	{"fence/Set is refused when another holds the lease now", lockNeeds, func(e *env) {
		// 1. A's lease runs out while A creates.  2. B takes it.  3. A sets: refused.
		// 4. B's lease holds, B sets.             5. B's value stays.
		k, start := e.key("k"), time.Now()
		a := e.hold(k, e.tick)
		e.runOut(k, start, e.tick)
		b := e.hold(k, longTTL)
		e.wantLost("A's Set", e.trySet(itemUnder(a, k, "A")))
		e.wantMissing(k)
		e.wantHeld(k)
		e.set(itemUnder(b, k, "B"))
		e.wantLost("A's second Set", e.trySet(itemUnder(a, k, "A")))
		e.want(k, "B")
	}},
	{"fence/a lease is good for its own key only", lockNeeds, func(e *env) {
		l := e.hold(e.key("a"), longTTL)
		e.wantLost("Set of another key", e.trySet(itemUnder(l, e.key("b"), "v")))
		e.wantMissing(e.key("b"))
		e.wantHeld(e.key("a"))
	}},
	{"fence/a lost lease in a batch leaves the other items alone", lockNeeds, lostInBatch},
	{"fence/Delete revokes for each of its keys", lockNeeds, func(e *env) {
		a, b, c := e.hold(e.key("a"), longTTL), e.hold(e.key("b"), longTTL), e.hold(e.key("c"), longTTL)
		e.delete(e.key("a"), e.key("b"), e.key("none"))
		e.wantLost("Set under the first", e.trySet(itemUnder(a, e.key("a"), "v")))
		e.wantLost("Set under the second", e.trySet(itemUnder(b, e.key("b"), "v")))
		e.set(itemUnder(c, e.key("c"), "v"))
	}},
	{"fence/Get under a lease reads the entry", lockNeeds, func(e *env) {
		e.set(item(e.key("k"), "v"))
		items := []driver.Item{
			{Key: e.key("k"), Lease: e.hold(e.key("k"), longTTL)},
			{Key: e.key("none"), Lease: e.hold(e.key("none"), longTTL)},
		}
		before := slices.Clone(items)
		if err := e.b.Get(e.ctx, items); err != nil {
			e.Fatalf("Get = %v", err)
		}
		e.wantItem(&items[0], "v")
		if items[1].Found() {
			e.Errorf("found %q under a key without an entry", items[1].Data)
		}
		for i, it := range items {
			if it.Key != before[i].Key || !sameLease(it.Lease, before[i].Lease) {
				e.Errorf("Get changed the key or the lease of item %d", i)
			}
		}
		e.set(item(e.key("none"), "new"))
		if err := e.b.Get(e.ctx, items); err != nil {
			e.Fatalf("Get = %v", err)
		}
		e.wantItem(&items[1], "new")
	}},
}

// refused returns a row in which lose ends a lease, once on a key that is missing
// and once on a key that has an entry. Afterwards the key holds want: a value, ""
// for nothing, or unchanged for what was there before.
func refused(want string, lose func(*env, string, driver.Lease)) func(*env) {
	return func(e *env) {
		for _, before := range []string{"", "before"} {
			k := e.key("k" + before)
			if before != "" {
				e.set(item(k, before))
			}
			l := e.hold(k, longTTL)
			lose(e, k, l)
			e.wantLost("Set", e.trySet(itemUnder(l, k, "old")))
			left := want
			if want == unchanged {
				left = before
			}
			if left == "" {
				e.wantMissing(k)
			} else {
				e.want(k, left)
			}
		}
	}
}

const unchanged = "unchanged"

func lostInBatch(e *env) {
	keys := []string{e.key("d"), e.key("b"), e.key("a"), e.key("c")}
	items := make([]driver.Item, len(keys))
	for i, key := range keys[:3] {
		items[i] = itemUnder(e.hold(key, longTTL), key, fmt.Sprint(i))
	}
	items[3] = item(keys[3], "3")
	e.release(items[1].Lease)
	if err := e.b.Set(e.ctx, items); err != nil {
		e.Fatalf("Set = %v, want an Err in one item", err)
	}
	for i, key := range keys {
		if i == 1 {
			e.wantLost("the item's Err", items[i].Err)
			e.wantMissing(key)
			continue
		}
		if items[i].Err != nil {
			e.Errorf("item %d: %v", i, items[i].Err)
		}
		e.want(key, fmt.Sprint(i))
		e.hold(key, longTTL)
	}
}

var raceRows = []row{
	{"race/no stale store: what Delete and Set replaced never comes back", lockNeeds | fenced, staleStores},
	{"race/every reader gets its own key's value", 0, hammer},
}

// staleStores runs creators against an invalidator for each of two keys. An
// origin counts up. A creator reads it under the lease and stores what it
// read. The invalidator counts up and then deletes or overwrites: from then on
// no value from before may be found, since its creator read the origin before
// the invalidation and so has lost its lease.
func staleStores(e *env) {
	rounds := 30
	if e.bubble {
		rounds = 100
	}
	var wg sync.WaitGroup
	for n := range 2 {
		key := e.key(fmt.Sprint("k", n))
		var origin, done atomic.Int64
		for w := range 3 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(n), uint64(w)))
				for done.Load() == 0 {
					if err := e.create(key, &origin, rnd); err != nil {
						e.Errorf("creator: %v", err)
						return
					}
					e.dither(rnd)
				}
			})
		}
		wg.Go(func() {
			defer done.Store(1)
			rnd := rand.New(rand.NewPCG(uint64(n), 99))
			for range rounds {
				if err := e.invalidate(key, origin.Add(1), rnd); err != nil {
					e.Error(err)
					return
				}
				e.dither(rnd)
			}
		})
	}
	wg.Wait()
}

func (e *env) create(key string, origin *atomic.Int64, rnd *rand.Rand) error {
	l, err := e.lock.TryLock(e.ctx, key, longTTL)
	if err != nil || l == nil {
		return err
	}
	v := origin.Load()
	e.dither(rnd)
	if err := e.trySet(itemUnder(l, key, strconv.FormatInt(v, 10))); !errors.Is(err, driver.ErrLeaseLost) {
		return err
	}
	return nil
}

func (e *env) invalidate(key string, version int64, rnd *rand.Rand) error {
	op := "Delete"
	var err error
	if rnd.IntN(3) == 0 {
		op, err = "Set", e.trySet(item(key, strconv.FormatInt(version, 10)))
	} else {
		err = e.b.Delete(e.ctx, []string{key})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	for range 3 {
		items := []driver.Item{{Key: key}}
		if err := e.b.Get(e.ctx, items); err != nil {
			return fmt.Errorf("Get: %w", err)
		}
		if items[0].Found() {
			if v, err := strconv.ParseInt(string(items[0].Data), 10, 64); err != nil || v < version {
				return fmt.Errorf("after %s of version %d returned, Get found %q", op, version, items[0].Data)
			}
		}
		// A backend that checks the lease first and stores later shows its fault only
		// after a while.
		e.dither(rnd)
	}
	return nil
}

// dither waits for up to 5 ms, so that goroutines meet in ever other orders.
func (e *env) dither(rnd *rand.Rand) {
	e.pass(time.Duration(rnd.Int64N(int64(5 * time.Millisecond))))
}

func hammer(e *env) {
	const workers, keys = 8, 5
	rounds := 60
	if e.caps.InMemory {
		rounds = 500
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			for range rounds {
				if err := e.anyCall(rnd, keys); err != nil {
					e.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// anyCall makes one random call and checks that what it finds is of the key it
// asked for.
func (e *env) anyCall(rnd *rand.Rand, keys int) error {
	key := func() string { return e.key(fmt.Sprint("k", rnd.IntN(keys))) }
	a, b := key(), key()
	switch op := rnd.IntN(8); {
	case op < 4:
		items := []driver.Item{{Key: a}, {Key: b}, {Key: key()}}
		if err := e.b.Get(e.ctx, items); err != nil {
			return fmt.Errorf("Get: %w", err)
		}
		for i := range items {
			if it := &items[i]; it.Found() && !strings.HasPrefix(string(it.Data), it.Key+"=") {
				return fmt.Errorf("%s: found another key's value %s", clip(it.Key), clip(string(it.Data)))
			}
		}
	case op < 6:
		data := strings.Repeat("x", rnd.IntN(100))
		return e.trySet(item(a, a+"="+data), item(b, b+"="+data))
	case op == 6 && e.caps.Locks:
		l, err := e.lock.TryLock(e.ctx, a, longTTL)
		if err != nil || l == nil {
			return err
		}
		if rnd.IntN(2) == 0 {
			return l.Release(e.ctx)
		}
		if err := e.trySet(itemUnder(l, a, a+"=")); !errors.Is(err, driver.ErrLeaseLost) {
			return err
		}
	default:
		return e.b.Delete(e.ctx, []string{a})
	}
	return nil
}
