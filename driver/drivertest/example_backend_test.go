package drivertest_test

import (
	"context"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Backend keeps entries in a map.
type Backend struct {
	mu      sync.RWMutex
	entries map[string]entry
}

type entry struct {
	data     []byte
	deadline time.Time // zero: none
}

func New() *Backend { return &Backend{entries: map[string]entry{}} }

func (b *Backend) Get(_ context.Context, items []driver.Item) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for i := range items {
		e, ok := b.entries[items[i].Key]
		if ok && (e.deadline.IsZero() || time.Now().Before(e.deadline)) {
			items[i].Data = e.data
		}
	}
	return nil
}

func (b *Backend) Set(_ context.Context, items []driver.Item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range items {
		e := entry{data: it.Data}
		if it.TTL > 0 {
			e.deadline = time.Now().Add(it.TTL)
		}
		b.entries[it.Key] = e
	}
	return nil
}

func (b *Backend) Delete(_ context.Context, keys []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		delete(b.entries, key)
	}
	return nil
}

func init() {
	driver.Register("tiny", func(_ context.Context, args *driver.Args) (driver.Backend, error) {
		return New(), args.Err()
	})
}
