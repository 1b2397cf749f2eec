package demo

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/driver"
)

// fetch gets the value of a key, and reports whether there was a fresh one.
type fetch func(ctx context.Context, key string) (hit bool, err error)

// fetcher returns the function by which the clients of t get a value, and one
// that waits for the creations that still go on, until ctx ends. All modes use a
// region over the same backend; they differ in the methods that they call, and Near
// in an option.
func fetcher(ctx context.Context, t *Task, b driver.Backend, create Create, p *Progress) (get fetch, stop func(), err error) {
	var near *dogpile.Near
	if t.Mode == Near {
		near = new(dogpile.Near)
	}
	region, err := t.region(b, near, &dogpile.Hooks{
		Stale: func(context.Context, dogpile.Event) { p.staleServed.Add(1) },
		Error: func(context.Context, dogpile.Event) {
			if !over(ctx) {
				p.errors.Add(1)
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		region.Close(ctx)
		p.nearHits.Store(region.Stats().NearHits)
	}
	cache := dogpile.NewCache[[]byte](region, nil)
	counted := func(ctx context.Context, key string) ([]byte, error) {
		p.creations.Add(1)
		return create(ctx, key)
	}
	switch t.Mode {
	case None:
		getOrSet := unprotected(cache, counted, p)
		return func(ctx context.Context, key string) (bool, error) {
			_, hit, err := getOrSet(ctx, key)
			return hit, err
		}, stop, nil
	case Coalesced:
		return coalesced(cache, unprotected(cache, counted, p)), stop, nil
	}
	return func(ctx context.Context, key string) (bool, error) {
		e, err := cache.GetOrCreateEntry(ctx, key, func(ctx context.Context) ([]byte, error) { return counted(ctx, key) })
		return e.From == dogpile.Hit, err
	}, stop, nil
}

// coalesced is getOrSet for callers that share what they miss.
func coalesced(cache *dogpile.Cache[[]byte], getOrSet func(context.Context, string) ([]byte, bool, error)) fetch {
	var f flights
	miss := func(ctx context.Context, key string) ([]byte, error) {
		v, _, err := getOrSet(ctx, key)
		return v, err
	}
	return func(ctx context.Context, key string) (bool, error) {
		if _, ok, err := cache.Get(ctx, key); err == nil && ok {
			return true, nil
		}
		_, err := f.do(ctx, key, miss)
		return false, err
	}
}

// unprotected is how a cache is used without protection. A cache that fails
// does not fail the request. hit tells that the value was there.
func unprotected(cache *dogpile.Cache[[]byte], create Create, p *Progress) func(ctx context.Context, key string) (v []byte, hit bool, err error) {
	return func(ctx context.Context, key string) ([]byte, bool, error) {
		v, ok, err := cache.Get(ctx, key)
		if ok {
			return v, true, nil
		}
		if err != nil && !over(ctx) {
			p.errors.Add(1)
		}
		v, err = create(ctx, key)
		if err != nil {
			return nil, false, err
		}
		if err := cache.Set(ctx, key, v); err != nil && !over(ctx) {
			p.errors.Add(1)
		}
		return v, false, nil
	}
}

// flights makes callers that want the same key at the same time share one call.
// The zero value is ready.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	done chan struct{}
	v    []byte
	err  error
}

func (f *flights) do(ctx context.Context, key string, call Create) ([]byte, error) {
	f.mu.Lock()
	if running := f.m[key]; running != nil {
		f.mu.Unlock()
		select {
		case <-running.done:
			return running.v, running.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	// Without an error from the beginning, callers that wait would get a nil value
	// from a call that panics.
	mine := &flight{done: make(chan struct{}), err: errors.New("the creator did not return")}
	if f.m == nil {
		f.m = make(map[string]*flight)
	}
	f.m[key] = mine
	f.mu.Unlock()
	defer func() {
		// First out of the map: a caller that comes after the answer shall look into
		// the cache, and not get an answer that is as old as this flight.
		f.mu.Lock()
		delete(f.m, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	mine.v, mine.err = call(ctx, key)
	return mine.v, mine.err
}

// region returns the region in which t keeps its entries. It invalidates in this
// process alone: nothing is invalidated here, and a version token in the backend
// would be left behind there.
func (t *Task) region(b driver.Backend, near *dogpile.Near, hooks *dogpile.Hooks) (*dogpile.Region, error) {
	region := dogpile.NewRegion(string(t.Mode))
	err := region.Configure(b, &dogpile.Options{
		Expiration:  t.Expiration,
		StaleFor:    t.StaleFor,
		Runner:      dogpile.Background,
		Codec:       dogpile.Bytes,
		Prefix:      t.Prefix + string(t.Mode) + ":",
		Invalidator: new(dogpile.LocalInvalidator),
		Hooks:       hooks,
		Near:        near,
		Logger:      slog.New(slog.DiscardHandler), // errors are counted and shown as a number
	})
	return region, err
}

// Clean removes the entries of t from b, within a second or so. That some may be
// left behind is not worth an error: they expire.
func Clean(t *Task, b driver.Backend) {
	region, err := t.region(b, nil, nil)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for batch := range slices.Chunk(load.Keys(t.Requests), 100) {
		if region.Delete(ctx, batch...) != nil {
			break
		}
	}
	region.Close(ctx)
}
