//go:build unix

package backendtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/driver"
)

// Costs is how many round trips calls take.
type Costs struct {
	Set, Delete               int64 // without a lease
	SetUnder                  int64 // under one
	TryLock, TryLockOverEntry int64
	Extend, Release           int64

	// SetLines and DeleteLines are for Network.Expect, of a thousand keys.
	SetLines, DeleteLines []int64
}

// Trips counts round trips.
type Trips struct {
	// Count returns how many there were.
	Count func() int64
	// Expect is Network.Expect, or nil.
	Expect func(lines []int64)
}

// trip is a call and how many round trips it is to take; -1: it does not matter.
type trip struct {
	name  string
	want  int64
	call  func() error
	lines []int64 // of each, if they are many
}

func (n Trips) check(t *testing.T, steps []trip) {
	t.Helper()
	for _, step := range steps {
		if n.Expect != nil {
			n.Expect(step.lines)
		}
		before := n.Count()
		OK(t, step.call())
		if got := n.Count() - before; got != step.want && step.want >= 0 {
			t.Errorf("%s: %d round trips, want %d", step.name, got, step.want)
		}
	}
}

// RoundTrips checks what each call of b costs. The first time nothing is
// checked, because connections are made and scripts are sent.
func RoundTrips(t *testing.T, b Backend, n Trips, want Costs) {
	for warm, space := range []string{Unique(t), Unique(t)} {
		steps := backendTrips(t, b, space, want)
		for i := range steps {
			if warm == 0 {
				steps[i].want = -1
			}
		}
		n.check(t, steps)
	}
}

func backendTrips(t *testing.T, b Backend, space string, want Costs) []trip {
	ctx := t.Context()
	var keys []string
	var items, reads []driver.Item
	for i := range 1000 {
		key := fmt.Sprint(space, i)
		keys = append(keys, key)
		items = append(items, driver.Item{Key: key, Data: []byte("v"), TTL: time.Minute})
		reads = append(reads, driver.Item{Key: key})
	}
	var l driver.Lease
	lock := func() (err error) {
		l, err = b.TryLock(ctx, space, time.Minute)
		return err
	}
	release := func() error { return l.Release(ctx) }
	read := func() error { return b.Get(ctx, []driver.Item{{Key: space, Lease: l}}) }
	return []trip{
		{"Get of one", 1, func() error { return b.Get(ctx, reads[:1]) }, nil},
		{"Get of two", 1, func() error { return b.Get(ctx, reads[:2]) }, nil},
		{"Get of a thousand", 1, func() error { return b.Get(ctx, reads) }, []int64{1000}},
		{"Get of none", 0, func() error { return b.Get(ctx, nil) }, nil},
		{"Set of one", want.Set, func() error { return b.Set(ctx, items[:1]) }, nil},
		{"Set of a thousand", want.Set, func() error { return b.Set(ctx, items) }, want.SetLines},
		{"Set of none", 0, func() error { return b.Set(ctx, nil) }, nil},
		{"Delete of one", want.Delete, func() error { return b.Delete(ctx, keys[:1]) }, nil},
		{"Delete of a thousand", want.Delete, func() error { return b.Delete(ctx, keys) }, want.DeleteLines},
		{"Delete of none", 0, func() error { return b.Delete(ctx, nil) }, nil},
		{"TryLock of a missing key", want.TryLock, lock, nil},
		{"TryLock of a lease that is held", 1, func() error { _, err := b.TryLock(ctx, space, time.Minute); return err }, nil},
		{"first Get under the lease", 0, read, nil},
		{"second Get under the lease", 1, read, nil},
		{"Extend", want.Extend, func() error { return l.Extend(ctx, time.Minute) }, nil},
		{"Locked", 1, func() error { _, err := b.Locked(ctx, space); return err }, nil},
		{"Release", want.Release, release, nil},
		{"Wait", 1, func() error { return b.Wait(ctx, space) }, nil},
		{"TryLock again", want.TryLock, lock, nil},
		{"Set under the lease", want.SetUnder, func() error { return Set(ctx, b, driver.Item{Key: space, Data: []byte("v"), Lease: l}) }, nil},
		{"TryLock of a key with an entry", want.TryLockOverEntry, lock, nil},
		{"first Get of the entry under the lease", 0, read, nil},
		{"Release again", want.Release, release, nil},
	}
}

// RegionRoundTrips checks what calls of a region over b cost, by how many round
// trips the renewal of a stale entry takes. other is a backend over the same
// server, and lines are for Network.Expect.
func RegionRoundTrips(t *testing.T, b, other Backend, n Trips, renewal int64) {
	ctx, region := t.Context(), Unique(t)
	r := Region(t, region, b, &dogpile.Options{Expiration: time.Hour, StaleFor: dogpile.Never, TagScope: region})
	cache := dogpile.NewCache[string](r, nil)
	known := cache.With(dogpile.CacheOptions[string]{Tags: func(string) []string { return []string{"t", "u"} }})
	aged := cache.With(dogpile.CacheOptions[string]{Expiration: 1}) // everything is stale
	get := func(c *dogpile.Cache[string], key string) func() error {
		return func() error {
			v, err := c.GetOrCreate(ctx, key, Made("v"))
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
		// The region's token, connections and scripts.
		{"first creation", -1, get(cache, "warm"), nil},
		{"first Set", -1, func() error { return cache.Set(ctx, "warm", "v") }, nil},
		{"first Delete", -1, func() error { return cache.Delete(ctx, "warm") }, nil},
		{"miss", 3, get(cache, "k"), nil},
		{"hit", 1, get(cache, "k"), nil},
		{"Get", 1, func() error { _, _, err := cache.Get(ctx, "k"); return err }, nil},
		{"winner of a stale key", renewal, get(aged, "k"), nil},
		{"held by another", -1, func() error { Hold(t, other, region+":k", time.Minute); return nil }, nil},
		{"loser of a stale key", 2, get(aged, "k"), nil},
		{"Set", 2, func() error { return cache.Set(ctx, "k", "v") }, nil},
		{"SetMulti", 2, func() error { return cache.SetMulti(ctx, multi) }, []int64{1, 300}},
		{"GetMulti", 1, func() error { _, err := cache.GetMulti(ctx, keys); return err }, []int64{101}},
		{"Delete", 1, func() error { return cache.Delete(ctx, keys...) }, []int64{200}},
		{"first creation with tags", -1, get(known, "warm"), nil},
		{"miss with tags known beforehand", 3, get(known, "tagged"), nil},
		{"hit with tags known beforehand", 1, get(known, "tagged"), nil},
		{"hit with tags that the entry tells", 2, get(cache, "tagged"), nil},
		{"winner of a stale key with tags", renewal, get(known.With(dogpile.CacheOptions[string]{Expiration: 1}), "tagged"), nil},
		{"Set with tags", 3, func() error { return known.Set(ctx, "k", "v") }, nil},
		{"InvalidateTags of a hundred", 1, func() error { return r.InvalidateTags(ctx, dogpile.Hard, keys...) }, []int64{200}},
	})
}
