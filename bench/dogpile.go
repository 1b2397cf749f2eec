package main

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/driver"
)

// dogpiles lists dogpile's configurations. Entries expire after an hour unless
// the name says otherwise; all else is the default.
func dogpiles() []contestant {
	return []contestant{
		{nameBounded, openBounded},
		{nameUnbounded, openUnbounded},
		{nameBounded + ", no expiration", openCache(true, dogpile.Never)},
		{nameUnbounded + ", no expiration", openCache(false, dogpile.Never)},
		{nameBounded + ", creator closes over the key", openCapturing},
		{"dogpile Func.Call(int), bounded", openFunc(true)},
		{"dogpile Func.Call(int), unbounded", openFunc(false)},
	}
}

func openBounded(w *workload) (*cache, error)   { return openCache(true, ttl)(w) }
func openUnbounded(w *workload) (*cache, error) { return openCache(false, ttl)(w) }

// newRegion returns a region on memory, bounded to capacity entries unless
// that is 0.
func newRegion(capacity int, expiration time.Duration) (*dogpile.Region, error) {
	backend, err := memory.New(&memory.Options{MaxEntries: capacity})
	if err != nil {
		return nil, err
	}
	r := dogpile.NewRegion("bench")
	return r, r.Configure(backend, &dogpile.Options{Expiration: expiration})
}

func closeRegion(r *dogpile.Region) func() {
	return func() {
		backend := r.Backend()
		r.Close(context.Background())
		driver.Close(backend)
	}
}

// filledCache returns a region and a cache on it that holds every key of w.
func filledCache(w *workload, bounded bool, expiration time.Duration) (*dogpile.Region, *dogpile.Cache[Value], error) {
	capacity := 0
	if bounded {
		capacity = w.capacity()
	}
	r, err := newRegion(capacity, expiration)
	if err != nil {
		return nil, nil, err
	}
	c := dogpile.NewCache[Value](r, nil)
	for i, key := range w.keys {
		if err := c.Set(context.Background(), key, valueOf(i)); err != nil {
			return nil, nil, err
		}
	}
	return r, c, nil
}

func openCache(bounded bool, expiration time.Duration) func(*workload) (*cache, error) {
	return func(w *workload) (*cache, error) {
		r, c, err := filledCache(w, bounded, expiration)
		if err != nil {
			return nil, err
		}
		create := w.missed // once: a method value allocates
		return &cache{
			get: func(ctx context.Context, key string, _ uint32) (Value, error) {
				return c.GetOrCreate(ctx, key, create)
			},
			close: closeRegion(r),
		}, nil
	}
}

// openCapturing is what many callers write: a creator that closes over what it
// needs and is made anew for every call.
func openCapturing(w *workload) (*cache, error) {
	r, c, err := filledCache(w, true, ttl)
	if err != nil {
		return nil, err
	}
	return &cache{
		get: func(ctx context.Context, key string, id uint32) (Value, error) {
			return c.GetOrCreate(ctx, key, func(ctx context.Context) (Value, error) {
				v, err := w.missed(ctx)
				v.ID = id
				return v, err
			})
		},
		close: closeRegion(r),
	}, nil
}

func openFunc(bounded bool) func(*workload) (*cache, error) {
	return func(w *workload) (*cache, error) {
		capacity := 0
		if bounded {
			capacity = w.capacity()
		}
		r, err := newRegion(capacity, ttl)
		if err != nil {
			return nil, err
		}
		f := dogpile.NewFunc(r, "user", func(ctx context.Context, _ int) (Value, error) { return w.missed(ctx) }, nil)
		for i := range w.keys {
			if err := f.Set(context.Background(), valueOf(i), i); err != nil {
				return nil, err
			}
		}
		return &cache{
			get:   func(ctx context.Context, _ string, id uint32) (Value, error) { return f.Call(ctx, int(id)) },
			close: closeRegion(r),
		}, nil
	}
}

func openDogpileHerd(create func() (Value, error)) (*herd, error) {
	r, err := newRegion(crowd, ttl)
	if err != nil {
		return nil, err
	}
	c := dogpile.NewCache[Value](r, nil)
	made := func(context.Context) (Value, error) { return create() }
	return &herd{
		get:   func(ctx context.Context, key string) (Value, error) { return c.GetOrCreate(ctx, key, made) },
		close: closeRegion(r),
	}, nil
}
