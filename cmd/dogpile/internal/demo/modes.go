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

// fetcher returns the function by which the clients of t get a value, and one
// that waits for the creations that still go on, until ctx ends. All modes use a
// region over the same backend; they differ in the methods that they call.
func fetcher(ctx context.Context, t *Task, b driver.Backend, create Create, p *Progress) (fetch Create, stop func(), err error) {
	region, err := t.region(b, &dogpile.Hooks{
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
	stop = func() { region.Close(ctx) }
	cache := dogpile.NewCache[[]byte](region, nil)
	counted := func(ctx context.Context, key string) ([]byte, error) {
		p.creations.Add(1)
		return create(ctx, key)
	}
	switch t.Mode {
	case None:
		return unprotected(cache, counted, p), stop, nil
	case Coalesced:
		var f flights
		miss := unprotected(cache, counted, p)
		return func(ctx context.Context, key string) ([]byte, error) {
			if v, ok, err := cache.Get(ctx, key); err == nil && ok {
				return v, nil
			}
			return f.do(ctx, key, miss)
		}, stop, nil
	}
	return func(ctx context.Context, key string) ([]byte, error) {
		return cache.GetOrCreate(ctx, key, func(ctx context.Context) ([]byte, error) { return counted(ctx, key) })
	}, stop, nil
}

// unprotected is how a cache is used without protection. A cache that fails
// does not fail the request.
func unprotected(cache *dogpile.Cache[[]byte], create Create, p *Progress) Create {
	return func(ctx context.Context, key string) ([]byte, error) {
		v, ok, err := cache.Get(ctx, key)
		if ok {
			return v, nil
		}
		if err != nil && !over(ctx) {
			p.errors.Add(1)
		}
		v, err = create(ctx, key)
		if err != nil {
			return nil, err
		}
		if err := cache.Set(ctx, key, v); err != nil && !over(ctx) {
			p.errors.Add(1)
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
func (t *Task) region(b driver.Backend, hooks *dogpile.Hooks) (*dogpile.Region, error) {
	region := dogpile.NewRegion(string(t.Mode))
	err := region.Configure(b, &dogpile.Options{
		Expiration:  t.Expiration,
		StaleFor:    t.StaleFor,
		Runner:      dogpile.Background,
		Codec:       dogpile.Bytes,
		Prefix:      t.Prefix + string(t.Mode) + ":",
		Invalidator: new(dogpile.LocalInvalidator),
		Hooks:       hooks,
		Logger:      slog.New(slog.DiscardHandler), // errors are counted and shown as a number
	})
	return region, err
}

// Clean removes the entries of t from b, within a second or so. That some may be
// left behind is not worth an error: they expire.
func Clean(t *Task, b driver.Backend) {
	region, err := t.region(b, nil)
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
