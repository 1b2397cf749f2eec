package drivertest_test

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
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
	{"a Set under a lease that does not count", "watch/a mark", counting(func(it *driver.Item, _ error) bool { return it.Lease == nil })},
	{"a Set that fails and does not count", "watch/a call", counting(func(it *driver.Item, err error) bool { return err == nil || !it.Found() })},
	{"a Delete that fails and does not count", "watch/a call", counting(func(it *driver.Item, err error) bool { return err == nil || it.Found() })},
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
	{"a second stop panics", "watch/who stops", mutant{watch: func(m *mutant, lag time.Duration) (func(), bool) {
		stopped := make(chan struct{})
		return func() { close(stopped) }, true
	}}},
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

// counting returns a mutant that makes its changes also when the context has ended, with an
// error then, and counts those that counts chooses. A Delete is an item that is not found.
func counting(counts func(it *driver.Item, err error) bool) mutant {
	changes := driver.NewChanges()
	note := func(it *driver.Item, err error) {
		if counts(it, err) {
			changes.Note(it.Key)
		}
	}
	return mutant{
		get: func(m *mutant, ctx context.Context, items []driver.Item) error {
			marks := make([]driver.Mark, len(items))
			for i := range items {
				marks[i] = changes.Mark(items[i].Key, nil)
			}
			err := m.Reference.Get(ctx, items)
			for i := range items {
				if items[i].Mark.Count != nil {
					items[i].Mark = marks[i]
				}
			}
			return err
		},
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			err := cmp.Or(m.Reference.Set(context.WithoutCancel(ctx), items), ctx.Err())
			for i := range items {
				note(&items[i], err)
			}
			return err
		},
		delete: func(m *mutant, ctx context.Context, keys []string) error {
			err := cmp.Or(m.Reference.Delete(context.WithoutCancel(ctx), keys), ctx.Err())
			for _, key := range keys {
				note(&driver.Item{Key: key}, err)
			}
			return err
		},
	}
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

// alone is a client of a shared store that counts its own changes alone.
type alone struct {
	driver.Proxy
	changes *driver.Changes
	proof   *driver.Proof
	atOnce  bool
}

func (a *alone) Watch(time.Duration) (func(), bool) { return func() {}, a.atOnce }

func (a *alone) Get(ctx context.Context, items []driver.Item) error {
	for i := range items {
		if it := &items[i]; it.Keep && it.Lease == nil {
			it.Mark = a.changes.Mark(it.Key, a.proof)
			it.Keep = false
		}
	}
	return a.Proxy.Get(ctx, items)
}

func (a *alone) Set(ctx context.Context, items []driver.Item) error {
	defer func() {
		for i := range items {
			a.changes.Note(items[i].Key)
		}
	}()
	return a.Proxy.Set(ctx, items)
}

func (a *alone) Delete(ctx context.Context, keys []string) error {
	defer func() {
		for _, key := range keys {
			a.changes.Note(key)
		}
	}()
	return a.Proxy.Delete(ctx, keys)
}

// A client that does not hear of the others must not say so, nor vouch for its marks.
func TestClientThatDoesNotHearIsCaught(t *testing.T) {
	vouched := new(driver.Proof)
	vouched.Renew(math.MaxInt64)
	for name, tt := range map[string]struct {
		proof  *driver.Proof
		atOnce bool
		wrong  bool
	}{
		"honest":                     {nil, false, false},
		"says that it hears at once": {nil, true, true},
		"vouches for its marks":      {vouched, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := shared(brokenProxy{}.over)(t)
			failures := drivertest.Failures(t, "watch/", func(testing.TB) driver.Backend {
				return &alone{driver.Proxy{Backend: ref}, driver.NewChanges(), tt.proof, tt.atOnce}
			})
			if got := len(failures) > 0; got != tt.wrong {
				t.Errorf("found to be wrong: %v, with %v", got, failures)
			}
		})
	}
}
