package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	gocachelib "github.com/eko/gocache/lib/v4/cache"
	gocachestore "github.com/eko/gocache/lib/v4/store"
	gocachegocache "github.com/eko/gocache/store/go_cache/v4"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	gocache "github.com/patrickmn/go-cache"
	"github.com/viccon/sturdyc"
	"golang.org/x/sync/singleflight"
)

// rivals lists the other caches: those that load what is missing, then those
// that only look it up. All have a time to live of an hour, counted from the
// write, unless their name says otherwise. jetcache-go v1.2.0 is not among
// them: the go command refuses it, since the checksum database does not have it.
func rivals() []contestant {
	return []contestant{
		{nameOtter, openOtterGet(ttl)},
		{nameOtter + ", no expiration", openOtterGet(0)},
		{"theine loading Get", openTheine},
		{"sturdyc GetOrFetch", openSturdyc},
		{nameFlight, openFlight},
		{nameFlightTTL, openFlightTTL},
		{"gocache Loadable.Get over go-cache", openGocacheLoadable},
		{"otter GetIfPresent", openOtterGetIfPresent(ttl)},
		{"otter GetIfPresent, no expiration", openOtterGetIfPresent(0)},
		{"ristretto Get", openRistretto},
		{"golang-lru expirable Get", openGolangLRU},
		{"ttlcache Get", openTTLCache},
		{"gocache Get over go-cache", openGocache},
	}
}

func newOtter(capacity int, ttl time.Duration) (*otter.Cache[string, Value], error) {
	o := &otter.Options[string, Value]{MaximumSize: capacity}
	if ttl > 0 {
		o.ExpiryCalculator = otter.ExpiryWriting[string, Value](ttl)
	}
	return otter.New(o)
}

func filledOtter(w *workload, ttl time.Duration) (*otter.Cache[string, Value], error) {
	c, err := newOtter(w.capacity(), ttl)
	if err != nil {
		return nil, err
	}
	for i, key := range w.keys {
		c.Set(key, valueOf(i))
	}
	c.CleanUp()
	return c, nil
}

func openOtterGet(ttl time.Duration) func(*workload) (*cache, error) {
	return func(w *workload) (*cache, error) {
		c, err := filledOtter(w, ttl)
		if err != nil {
			return nil, err
		}
		var loader otter.Loader[string, Value] = otter.LoaderFunc[string, Value](
			func(ctx context.Context, _ string) (Value, error) { return w.missed(ctx) })
		return &cache{
			get:   func(ctx context.Context, key string, _ uint32) (Value, error) { return c.Get(ctx, key, loader) },
			close: func() { c.StopAllGoroutines() },
		}, nil
	}
}

func openOtterGetIfPresent(ttl time.Duration) func(*workload) (*cache, error) {
	return func(w *workload) (*cache, error) {
		c, err := filledOtter(w, ttl)
		if err != nil {
			return nil, err
		}
		return &cache{
			get: func(ctx context.Context, key string, _ uint32) (Value, error) {
				if v, ok := c.GetIfPresent(key); ok {
					return v, nil
				}
				return w.missed(ctx)
			},
			close: func() { c.StopAllGoroutines() },
		}, nil
	}
}

func openTheine(w *workload) (*cache, error) {
	c, err := theine.NewBuilder[string, Value](int64(w.capacity())).Loading(
		func(ctx context.Context, _ string) (theine.Loaded[Value], error) {
			v, err := w.missed(ctx)
			return theine.Loaded[Value]{Value: v, Cost: 1, TTL: ttl}, err
		}).Build()
	if err != nil {
		return nil, err
	}
	for i, key := range w.keys {
		c.SetWithTTL(key, valueOf(i), 1, ttl)
	}
	c.Wait()
	return &cache{
		get:   func(ctx context.Context, key string, _ uint32) (Value, error) { return c.Get(ctx, key) },
		close: c.Close,
	}, nil
}

// newSturdyc uses the number of shards of sturdyc's own benchmarks and, as
// they do, no goroutine that looks for expired entries: it could not be
// stopped.
func newSturdyc(capacity int) *sturdyc.Client[Value] {
	return sturdyc.New[Value](capacity, 100, ttl, 5, sturdyc.WithNoContinuousEvictions())
}

func openSturdyc(w *workload) (*cache, error) {
	// The keys do not spread evenly over the shards; each has room to spare.
	c := newSturdyc(2 * w.capacity())
	for i, key := range w.keys {
		c.Set(key, valueOf(i))
	}
	fetch := w.missed // once: a method value allocates
	return &cache{
		get: func(ctx context.Context, key string, _ uint32) (Value, error) { return c.GetOrFetch(ctx, key, fetch) },
	}, nil
}

// flight is what one writes without a cache library: a map, a lock, and
// singleflight for what is missing.
type flight struct {
	mu     sync.RWMutex
	values map[string]Value
	group  singleflight.Group
}

func (f *flight) get(key string, create func() (Value, error)) (Value, error) {
	f.mu.RLock()
	v, ok := f.values[key]
	f.mu.RUnlock()
	if ok {
		return v, nil
	}
	return f.create(key, create)
}

func (f *flight) create(key string, create func() (Value, error)) (Value, error) {
	made, err, _ := f.group.Do(key, func() (any, error) {
		v, err := create()
		if err == nil {
			f.mu.Lock()
			f.values[key] = v
			f.mu.Unlock()
		}
		return v, err
	})
	return made.(Value), err
}

func openFlight(w *workload) (*cache, error) {
	f := &flight{values: make(map[string]Value)}
	for i, key := range w.keys {
		f.values[key] = valueOf(i)
	}
	create := func() (Value, error) { return w.missed(context.Background()) }
	return &cache{
		get: func(_ context.Context, key string, _ uint32) (Value, error) { return f.get(key, create) },
	}, nil
}

// flightTTL is flight with entries that expire.
type flightTTL struct {
	mu      sync.RWMutex
	entries map[string]flightEntry
	group   singleflight.Group
}

type flightEntry struct {
	Value
	expires time.Time
}

func (f *flightTTL) get(key string, create func() (any, error)) (Value, error) {
	f.mu.RLock()
	e, ok := f.entries[key]
	f.mu.RUnlock()
	if ok && time.Now().Before(e.expires) {
		return e.Value, nil
	}
	made, err, _ := f.group.Do(key, create)
	return made.(Value), err
}

func openFlightTTL(w *workload) (*cache, error) {
	f := &flightTTL{entries: make(map[string]flightEntry)}
	expires := time.Now().Add(ttl)
	for i, key := range w.keys {
		f.entries[key] = flightEntry{valueOf(i), expires}
	}
	create := func() (any, error) { return w.missed(context.Background()) }
	return &cache{
		get: func(_ context.Context, key string, _ uint32) (Value, error) { return f.get(key, create) },
	}, nil
}

func openRistretto(w *workload) (*cache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[string, Value]{
		NumCounters:        10 * int64(w.capacity()),
		MaxCost:            int64(w.capacity()),
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	for i, key := range w.keys {
		for !c.SetWithTTL(key, valueOf(i), 1, ttl) {
			c.Wait() // its buffer of writes is full
		}
	}
	c.Wait()
	return &cache{
		get: func(ctx context.Context, key string, _ uint32) (Value, error) {
			if v, ok := c.Get(key); ok {
				return v, nil
			}
			return w.missed(ctx)
		},
		close: c.Close,
	}, nil
}

func openGolangLRU(w *workload) (*cache, error) {
	c := expirable.NewLRU[string, Value](w.capacity(), nil, ttl)
	for i, key := range w.keys {
		c.Add(key, valueOf(i))
	}
	return &cache{
		get: func(ctx context.Context, key string, _ uint32) (Value, error) {
			if v, ok := c.Get(key); ok {
				return v, nil
			}
			return w.missed(ctx)
		},
		close: c.Purge, // its goroutine cannot be stopped; this frees the entries
	}, nil
}

func openTTLCache(w *workload) (*cache, error) {
	c := ttlcache.New(
		ttlcache.WithTTL[string, Value](ttl),
		ttlcache.WithCapacity[string, Value](uint64(w.capacity())),
		ttlcache.WithDisableTouchOnHit[string, Value](),
	)
	for i, key := range w.keys {
		c.Set(key, valueOf(i), ttlcache.DefaultTTL)
	}
	return &cache{
		get: func(ctx context.Context, key string, _ uint32) (Value, error) {
			if item := c.Get(key); item != nil {
				return item.Value(), nil
			}
			return w.missed(ctx)
		},
	}, nil
}

func filledGocache(w *workload) (*gocachelib.Cache[Value], error) {
	store := gocachegocache.NewGoCache(gocache.New(ttl, ttl))
	c := gocachelib.New[Value](store)
	for i, key := range w.keys {
		if err := c.Set(context.Background(), key, valueOf(i), gocachestore.WithExpiration(ttl)); err != nil {
			return nil, fmt.Errorf("gocache: %w", err)
		}
	}
	return c, nil
}

func openGocache(w *workload) (*cache, error) {
	c, err := filledGocache(w)
	if err != nil {
		return nil, err
	}
	return &cache{
		get: func(ctx context.Context, key string, _ uint32) (Value, error) {
			if v, err := c.Get(ctx, key); err == nil {
				return v, nil
			}
			return w.missed(ctx)
		},
	}, nil
}

func openGocacheLoadable(w *workload) (*cache, error) {
	inner, err := filledGocache(w)
	if err != nil {
		return nil, err
	}
	load := func(ctx context.Context, _ any) (Value, []gocachestore.Option, error) {
		v, err := w.missed(ctx)
		return v, nil, err
	}
	c := gocachelib.NewLoadable(load, inner)
	return &cache{
		get:   func(ctx context.Context, key string, _ uint32) (Value, error) { return c.Get(ctx, key) },
		close: func() { c.Close() },
	}, nil
}
