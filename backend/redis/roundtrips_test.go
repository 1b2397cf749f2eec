package redis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/driver"
)

// configured returns a region over b.
func configured(t testing.TB, name string, b driver.Backend, o *dogpile.Options) *dogpile.Region {
	t.Helper()
	r := dogpile.NewRegion(name)
	if err := r.Configure(b, o); err != nil {
		t.Fatal(err)
	}
	return r
}

// unique returns a name that no other run of a test uses on a shared server.
func unique(t testing.TB) string { return t.Name() + rand.Text() }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// counter counts calls of a client: each is one round trip, to one node.
type counter struct {
	rueidis.Client
	atomic.Int64
}

func (c *counter) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	c.Add(1)
	return c.Client.Do(ctx, cmd)
}

func (c *counter) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	c.Add(1)
	return c.Client.DoMulti(ctx, cmds...)
}

// counted returns a backend over the shared server that counts round trips.
func counted(t testing.TB) (*redis.Backend, *counter) {
	t.Helper()
	n := &counter{Client: sharedServer(t).client(t)}
	b, err := redis.New(n, &redis.Options{Timeout: 10 * time.Second})
	ok(t, err)
	t.Cleanup(func() { b.Close() })
	return b, n
}

func TestRoundTripsOfTheBackend(t *testing.T) {
	t.Parallel()
	b, n := counted(t)
	ctx, space := t.Context(), unique(t)
	var items, reads []driver.Item
	var keys []string
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
	under := func() driver.Item { return driver.Item{Key: space, Data: []byte("v"), Lease: l} }
	for _, step := range []struct {
		name string
		want int64
		call func() error
	}{
		{"Get of one", 1, func() error { return b.Get(ctx, reads[:1]) }},
		{"Get of two", 1, func() error { return b.Get(ctx, reads[:2]) }},
		{"Get of a thousand", 1, func() error { return b.Get(ctx, reads) }},
		{"Get of none", 0, func() error { return b.Get(ctx, nil) }},
		{"Set of one", 1, func() error { return b.Set(ctx, items[:1]) }},
		{"Set of a thousand", 1, func() error { return b.Set(ctx, items) }},
		{"Set of none", 0, func() error { return b.Set(ctx, nil) }},
		{"Delete of one", 1, func() error { return b.Delete(ctx, keys[:1]) }},
		{"Delete of a thousand", 1, func() error { return b.Delete(ctx, keys) }},
		{"Delete of none", 0, func() error { return b.Delete(ctx, nil) }},
		{"TryLock", 1, lock},
		{"second Get under the lease", 1, func() error { return b.Get(ctx, []driver.Item{{Key: space, Lease: l}}) }},
		{"Extend", 1, func() error { return l.Extend(ctx, time.Minute) }},
		{"Locked", 1, func() error { _, err := b.Locked(ctx, space); return err }},
		{"Set under the lease", 1, func() error { return b.Set(ctx, []driver.Item{under()}) }},
		{"TryLock again", 1, lock},
		{"Release", 1, func() error { return l.Release(ctx) }},
	} {
		// The first time, the server is sent the scripts, and connections are made.
		ok(t, step.call())
		if step.name == "TryLock" || step.name == "TryLock again" {
			ok(t, l.Release(ctx))
		}
		before := n.Load()
		ok(t, step.call())
		if got := n.Load() - before; got != step.want {
			t.Errorf("%s: %d round trips, want %d", step.name, got, step.want)
		}
	}
	ok(t, lock())
	before := n.Load()
	ok(t, b.Get(ctx, []driver.Item{{Key: space, Lease: l}}))
	if got := n.Load() - before; got != 0 {
		t.Errorf("first Get under a lease: %d round trips, want 0", got)
	}
}

func TestRoundTripsOfARegion(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	b, n := counted(t)
	other := open(t, "redis://"+s.addr, nil)
	ctx, region := t.Context(), unique(t)
	cache := dogpile.NewCache[string](configured(t, region, b, &dogpile.Options{Expiration: time.Hour, StaleFor: dogpile.Never}), nil)
	aged := cache.With(dogpile.CacheOptions[string]{Expiration: 1}) // everything is stale
	create := func(context.Context) (string, error) { return "v", nil }
	get := func(c *dogpile.Cache[string], key string) func() error {
		return func() error {
			v, err := c.GetOrCreate(ctx, key, create)
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
	// The region's token, connections and scripts.
	ok(t, get(cache, "warm")())
	ok(t, cache.Set(ctx, "warm", "v"))
	ok(t, cache.Delete(ctx, "warm"))
	for _, step := range []struct {
		name string
		want int64
		call func() error
	}{
		{"miss", 3, get(cache, "k")},
		{"hit", 1, get(cache, "k")},
		{"Get", 1, func() error { _, _, err := cache.Get(ctx, "k"); return err }},
		{"winner of a stale key", 3, get(aged, "k")},
		{"held by another", -1, func() error {
			l, err := other.TryLock(ctx, region+":k", time.Minute)
			if l == nil {
				t.Error("the lease is not free")
			}
			return err
		}},
		{"loser of a stale key", 2, get(aged, "k")},
		{"Set", 2, func() error { return cache.Set(ctx, "k", "v") }},
		{"SetMulti", 2, func() error { return cache.SetMulti(ctx, multi) }},
		{"GetMulti", 1, func() error { _, err := cache.GetMulti(ctx, keys); return err }},
		{"Delete", 1, func() error { return cache.Delete(ctx, keys...) }},
	} {
		before := n.Load()
		ok(t, step.call())
		if got := n.Load() - before; got != step.want && step.want >= 0 {
			t.Errorf("%s: %d round trips, want %d", step.name, got, step.want)
		}
	}
}
