package demo

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/load"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/origin"
	"github.com/dogpile-go/dogpile/driver"
)

type fetchFunc func(ctx context.Context, key string) ([]byte, error)

// fetcher returns the function by which the clients of a mode get a tile, and
// one that ends what is still going on and removes what was stored. All modes
// use a region over the same backend; they differ in what they call of it.
func fetcher(mode Mode, b driver.Backend, s *Settings, o *origin.Origin, p *Progress) (fetch fetchFunc, stop func(), err error) {
	var stopping context.Context
	stopping, cancel := context.WithCancel(context.Background())
	region := dogpile.NewRegion(string(mode))
	err = region.Configure(b, &dogpile.Options{
		Expiration: s.Expiration,
		StaleFor:   s.StaleFor,
		Runner:     dogpile.Background,
		Codec:      dogpile.Bytes,
		Prefix:     s.Run + ":" + string(mode) + ":",
		Hooks: &dogpile.Hooks{
			Stale: func(context.Context, dogpile.Event) { p.StaleServed.Add(1) },
			Error: func(context.Context, dogpile.Event) {
				if stopping.Err() == nil {
					p.Errors.Add(1)
				}
			},
		},
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	cache := dogpile.NewCache[[]byte](region, nil)
	create := func(ctx context.Context, key string) ([]byte, error) {
		p.Creations.Add(1)
		return o.Create(ctx, key)
	}
	stop = func() {
		cancel()
		cleanUp(region, s)
	}
	switch mode {
	case None:
		return unprotected(cache, create, p), stop, nil
	case Coalesced:
		var f flights
		miss := unprotected(cache, create, p)
		return func(ctx context.Context, key string) ([]byte, error) {
			if v, ok, err := cache.Get(ctx, key); err == nil && ok {
				return v, nil
			}
			return f.do(ctx, key, miss)
		}, stop, nil
	}
	return func(ctx context.Context, key string) ([]byte, error) {
		return cache.GetOrCreate(ctx, key, func(ctx context.Context) ([]byte, error) { return create(ctx, key) })
	}, stop, nil
}

// unprotected is how a cache is used without protection. A cache that fails
// does not fail the request.
func unprotected(cache *dogpile.Cache[[]byte], create fetchFunc, p *Progress) fetchFunc {
	return func(ctx context.Context, key string) ([]byte, error) {
		v, ok, err := cache.Get(ctx, key)
		if ok {
			return v, nil
		}
		if err != nil && ctx.Err() == nil {
			p.Errors.Add(1)
		}
		v, err = create(ctx, key)
		if err != nil {
			return nil, err
		}
		if err := cache.Set(ctx, key, v); err != nil && ctx.Err() == nil {
			p.Errors.Add(1)
		}
		return v, nil
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

func (f *flights) do(ctx context.Context, key string, call fetchFunc) ([]byte, error) {
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
	mine := &flight{done: make(chan struct{}), err: errors.New("the creator did not return")}
	if f.m == nil {
		f.m = make(map[string]*flight)
	}
	f.m[key] = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.m, key)
		f.mu.Unlock()
		close(mine.done)
	}()
	mine.v, mine.err = call(ctx, key)
	return mine.v, mine.err
}

// cleanUp removes the entries of a run and ends its creations. That entries may
// be left behind is not worth an error: they expire.
func cleanUp(region *dogpile.Region, s *Settings) {
	ctx, cancel := context.WithTimeout(context.Background(), Grace)
	defer cancel()
	for batch := range slices.Chunk(load.Keys(s.Requests), 100) {
		if region.Delete(ctx, batch...) != nil {
			break
		}
	}
	ended, end := context.WithDeadline(ctx, time.Now())
	defer end()
	region.Close(ended)
}
