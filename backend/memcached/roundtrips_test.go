package memcached_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
)

// trip is a call and the number of round trips that it is to take; -1: it does
// not matter.
type trip struct {
	name  string
	want  int64
	call  func() error
	lines []int64 // of each, if they are many
}

func (n *network) check(t *testing.T, steps []trip) {
	t.Helper()
	for _, step := range steps {
		before := n.trips.Load()
		n.expect(step.lines)
		ok(t, step.call())
		if got := n.trips.Load() - before; got != step.want && step.want >= 0 {
			t.Errorf("%s: %d round trips, want %d", step.name, got, step.want)
		}
	}
}

// thousand returns keys, and items to set and get.
func thousand(space string) (keys []string, items, reads []driver.Item) {
	for i := range 1000 {
		key := fmt.Sprint(space, i)
		keys = append(keys, key)
		items = append(items, driver.Item{Key: key, Data: []byte("v"), TTL: time.Minute})
		reads = append(reads, driver.Item{Key: key})
	}
	return keys, items, reads
}

func TestRoundTripsOfTheBackend(t *testing.T) {
	t.Parallel()
	type costs struct {
		set, lock, lockFull, extend, use, release, delete int64
		setLines, deleteLines                             []int64 // of a thousand
	}
	for name, tt := range map[string]struct {
		o *memcached.Options
		costs
	}{
		"meta": {nil, costs{set: 1, lock: 1, lockFull: 2, extend: 1, use: 1, release: 1, delete: 1,
			setLines: []int64{3000}, deleteLines: []int64{2000}}},
		"python_lock": {&memcached.Options{PythonLock: true}, costs{set: 2, lock: 1, lockFull: 1, extend: 2, use: 3, release: 2, delete: 2,
			setLines: []int64{1000, 2000}, deleteLines: []int64{1000, 1000}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, n := through(t, sharedServer(t), tt.o)
			ctx, space := t.Context(), unique(t)
			keys, items, reads := thousand(space)
			var l driver.Lease
			lock := func() (err error) {
				l, err = b.TryLock(ctx, space, time.Minute)
				return err
			}
			release := func() error { return l.Release(ctx) }
			read := func() error { return b.Get(ctx, []driver.Item{{Key: space, Lease: l}}) }
			n.check(t, []trip{
				{"Get of one", 1, func() error { return b.Get(ctx, reads[:1]) }, nil},
				{"Get of two", 1, func() error { return b.Get(ctx, reads[:2]) }, nil},
				{"Get of a thousand", 1, func() error { return b.Get(ctx, reads) }, []int64{1000}},
				{"Get of none", 0, func() error { return b.Get(ctx, nil) }, nil},
				{"Set of one", tt.set, func() error { return b.Set(ctx, items[:1]) }, nil},
				{"Set of a thousand", tt.set, func() error { return b.Set(ctx, items) }, tt.setLines},
				{"Set of none", 0, func() error { return b.Set(ctx, nil) }, nil},
				{"Delete of one", tt.delete, func() error { return b.Delete(ctx, keys[:1]) }, nil},
				{"Delete of a thousand", tt.delete, func() error { return b.Delete(ctx, keys) }, tt.deleteLines},
				{"Delete of none", 0, func() error { return b.Delete(ctx, nil) }, nil},
				{"TryLock of a missing key", tt.lock, lock, nil},
				{"TryLock of a lease that is held", 1, func() error { _, err := b.TryLock(ctx, space, time.Minute); return err }, nil},
				{"first Get under the lease", 0, read, nil},
				{"second Get under the lease", 1, read, nil},
				{"Extend", tt.extend, func() error { return l.Extend(ctx, time.Minute) }, nil},
				{"Locked", 1, func() error { _, err := b.Locked(ctx, space); return err }, nil},
				{"Release", tt.release, release, nil},
				{"Wait", 1, func() error { return b.Wait(ctx, space) }, nil},
				{"TryLock again", tt.lock, lock, nil},
				{"Set under the lease", tt.use, func() error { return try(ctx, b, driver.Item{Key: space, Data: []byte("v"), Lease: l}) }, nil},
				{"TryLock of a key with an entry", tt.lockFull, lock, nil},
				{"first Get of the entry under the lease", 0, read, nil},
				{"Release again", tt.release, release, nil},
			})
		})
	}
}

func TestRoundTripsOfARegion(t *testing.T) {
	t.Parallel()
	b, n := through(t, sharedServer(t), nil)
	other := open(t, "memcached://"+sharedServer(t).addr, nil)
	ctx, region := t.Context(), unique(t)
	cache := dogpile.NewCache[string](configured(t, region, b, &dogpile.Options{Expiration: time.Hour, StaleFor: dogpile.Never}), nil)
	aged := cache.With(dogpile.CacheOptions[string]{Expiration: 1}) // everything is stale
	get := func(c *dogpile.Cache[string], key string) func() error {
		return func() error {
			v, err := c.GetOrCreate(ctx, key, func(context.Context) (string, error) { return "v", nil })
			if err == nil && v != "v" {
				t.Errorf("%s = %q", key, v)
			}
			return err
		}
	}
	multi := map[string]string{}
	var keys []string
	for i := range 100 {
		key := fmt.Sprint("m", i)
		multi[key], keys = "v", append(keys, key)
	}
	n.check(t, []trip{
		{"the region's token", -1, get(cache, "warm"), nil},
		{"miss", 3, get(cache, "k"), nil},
		{"hit", 1, get(cache, "k"), nil},
		{"Get", 1, func() error { _, _, err := cache.Get(ctx, "k"); return err }, nil},
		{"winner of a stale key", 4, get(aged, "k"), nil},
		{"held by another", -1, func() error { hold(t, other, region+":k", time.Minute); return nil }, nil},
		{"loser of a stale key", 2, get(aged, "k"), nil},
		{"Set", 2, func() error { return cache.Set(ctx, "k", "v") }, nil},
		{"SetMulti", 2, func() error { return cache.SetMulti(ctx, multi) }, []int64{1, 300}},
		{"GetMulti", 1, func() error { _, err := cache.GetMulti(ctx, keys); return err }, []int64{101}},
		{"Delete", 1, func() error { return cache.Delete(ctx, keys...) }, []int64{200}},
	})
}
