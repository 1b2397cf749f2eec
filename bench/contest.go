package main

import "context"

// A contestant is a cache in one configuration.
type contestant struct {
	name string
	// open makes the cache and stores every key of w in it. Reads that find
	// nothing end in w.missed.
	open func(w *workload) (*cache, error)
}

// A cache is an opened contestant. Every get is a closure over the workload
// and one instance, so that all of them are called the same way.
type cache struct {
	get   func(ctx context.Context, key string, id uint32) (Value, error) // key is that of id
	close func()                                                          // nil: nothing to do
}

func (c *cache) Close() {
	if c.close != nil {
		c.close()
	}
}

// A stampeder is a cache that makes a missing value once for all who wait.
type stampeder struct {
	name string
	open func(create func() (Value, error)) (*herd, error)
}

// A herd is an opened stampeder.
type herd struct {
	get   func(ctx context.Context, key string) (Value, error)
	close func()
}

func (h *herd) Close() {
	if h.close != nil {
		h.close()
	}
}

const (
	nameBounded   = "dogpile GetOrCreate, bounded"
	nameUnbounded = "dogpile GetOrCreate, unbounded"
	nameOtter     = "otter Get with loader"
	nameFlight    = "map + RWMutex + singleflight, no expiration"
	nameFlightTTL = "map + RWMutex + singleflight"
)
