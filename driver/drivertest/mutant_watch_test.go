package drivertest_test

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// marking returns a Get that changes the marks of items.
func marking(change func(m *mutant, ctx context.Context, it *driver.Item)) mutant {
	return mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Get(ctx, items)
		for i := range items {
			change(m, ctx, &items[i])
		}
		return err
	}}
}

// mark returns the mark of a key as of now.
func mark(m *mutant, ctx context.Context, key string) driver.Mark {
	items := []driver.Item{{Key: key, Keep: true}}
	_ = m.Reference.Get(ctx, items)
	return items[0].Mark
}

var watchMutants = []broken{
	{"marks that never change", "watch/a mark", marking(func(_ *mutant, _ context.Context, it *driver.Item) {
		if it.Keep && it.Lease == nil {
			it.Mark = driver.Mark{Count: new(atomic.Uint64)}
		}
	})},
	{"marks that change for nothing", "watch/a mark", marking(func(_ *mutant, _ context.Context, it *driver.Item) { it.Mark.Seen++ })},
	{"no marks of what is absent", "watch/a mark", marking(func(_ *mutant, _ context.Context, it *driver.Item) {
		if !it.Found() {
			it.Mark = driver.Mark{}
		}
	})},
	{"a Delete that does not count", "watch/a mark", mutant{
		delete: func(m *mutant, ctx context.Context, keys []string) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, key := range keys {
				m.kept[key] = nil // as of now
			}
			return m.Reference.Delete(ctx, keys)
		},
		get: func(m *mutant, ctx context.Context, items []driver.Item) error {
			err := m.Reference.Get(ctx, items)
			m.mu.Lock()
			defer m.mu.Unlock()
			for i := range items {
				if _, deleted := m.kept[items[i].Key]; items[i].Keep && !deleted && items[i].Found() {
					items[i].Mark = driver.Mark{Count: new(atomic.Uint64)}
				}
			}
			return err
		},
	}},
	{"marks without Keep", "watch/a Get", marking(func(m *mutant, ctx context.Context, it *driver.Item) {
		if it.Lease == nil {
			it.Mark = mark(m, ctx, it.Key)
		}
	})},
	{"marks under a lease", "watch/a Get", marking(func(m *mutant, ctx context.Context, it *driver.Item) {
		if it.Keep {
			it.Mark = mark(m, ctx, it.Key)
		}
	})},
	{"marks that are made after the reading", "watch/what changes", marking(func(m *mutant, ctx context.Context, it *driver.Item) {
		if it.Keep && it.Lease == nil {
			<-time.After(time.Millisecond)
			it.Mark = mark(m, ctx, it.Key)
		}
	})},
	{"stop ends all", "watch/who stops", mutant{watch: func(m *mutant, lag time.Duration) (func(), bool) {
		stop, atOnce := m.Reference.Watch(lag)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stops = append(m.stops, stop)
		return func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, stop := range m.stops {
				stop()
			}
		}, atOnce
	}}},
}

// losing returns a Get of a proxy whose items do not come back as they are.
func losing(change func(*driver.Item)) brokenProxy {
	return brokenProxy{get: func(p *brokenProxy, ctx context.Context, items []driver.Item) error {
		inner := slices.Clone(items)
		for i := range inner {
			change(&inner[i])
		}
		err := p.Proxy.Get(ctx, inner)
		for i := range inner {
			keep := items[i].Keep
			items[i] = inner[i]
			items[i].Keep = keep
		}
		return err
	}}
}
