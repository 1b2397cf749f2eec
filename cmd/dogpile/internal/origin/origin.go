// Package origin has the origin of the demonstration, which the cache is to spare:
// it renders images, which costs CPU time.
package origin

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Origin renders tiles, a limited number at once; further calls wait in line. It
// counts what is asked of it. Its methods may be called from many goroutines.
type Origin struct {
	size  int
	slots chan struct{}

	mu    sync.Mutex
	now   map[string]int // callers at present, by key
	stats Stats
}

// Stats is what was asked of an origin so far.
type Stats struct {
	Creations   []time.Time   // when each call began
	MaxCreators int           // largest number of calls at once for one key
	CPU         time.Duration // spent rendering, also on tiles that were given up
}

// New returns an origin that renders tiles of size × size pixels, workers at
// once. With 0 workers every call waits until its context ends.
func New(workers, size int) *Origin {
	return &Origin{
		size:  size,
		slots: make(chan struct{}, workers),
		now:   make(map[string]int),
	}
}

// Create renders the tile of key. It returns ctx's error when that ends before
// the tile is done. A call whose ctx has ended beforehand does not count.
func (o *Origin) Create(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.enter(key)
	var cpu time.Duration
	defer func() { o.leave(key, cpu) }()
	select {
	case o.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-o.slots }()
	data, cpu, err := Render(ctx, key, o.size)
	return data, err
}

// Stats returns the counts so far. The caller owns the slice.
func (o *Origin) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Creations = slices.Clone(s.Creations)
	return s
}

func (o *Origin) enter(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now[key]++
	o.stats.MaxCreators = max(o.stats.MaxCreators, o.now[key])
	o.stats.Creations = append(o.stats.Creations, time.Now())
}

func (o *Origin) leave(key string, cpu time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now[key]--; o.now[key] == 0 {
		delete(o.now, key)
	}
	o.stats.CPU += cpu
}
