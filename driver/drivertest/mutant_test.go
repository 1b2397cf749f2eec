package drivertest_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/driver/drivertest"
)

// mutant is the reference backend with one thing broken. Methods that are nil
// are the reference's.
type mutant struct {
	*drivertest.Reference
	get     func(m *mutant, ctx context.Context, items []driver.Item) error
	set     func(m *mutant, ctx context.Context, items []driver.Item) error
	delete  func(m *mutant, ctx context.Context, keys []string) error
	tryLock func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error)
	wait    func(m *mutant, ctx context.Context, key string) error
	locked  func(m *mutant, ctx context.Context, key string) (bool, error)
	close   func(m *mutant) error
	caps    func(c *driver.Caps)
	shard   func(m *mutant, key string) string
	drop    func(m *mutant, drop func(*driver.Item) bool)
	watch   func(m *mutant, lag time.Duration) (stop func(), atOnce bool)
	holder  func(m *mutant, ctx context.Context, key string) (driver.Holder, bool, error)
	scan    func(m *mutant, ctx context.Context, prefix string, found func(driver.Found) bool) error

	*memory
}

// memory is what some mutants remember.
type memory struct {
	mu    sync.Mutex
	bytes map[string][]byte
	items map[string]driver.Item
	kept  map[string]*driver.Item
	held  map[string]driver.Lease
	last  driver.Item
	stops []func()
	n     atomic.Int64
	turn  chan struct{} // full while one has its turn
	since map[string]time.Time
}

func (m mutant) open() *mutant {
	m.Reference = drivertest.NewReference()
	m.memory = &memory{bytes: map[string][]byte{}, items: map[string]driver.Item{}, kept: map[string]*driver.Item{}, held: map[string]driver.Lease{}, turn: make(chan struct{}, 1), since: map[string]time.Time{}}
	return &m
}

func (m *mutant) Get(ctx context.Context, items []driver.Item) error {
	if m.get != nil {
		return m.get(m, ctx, items)
	}
	return m.Reference.Get(ctx, items)
}

func (m *mutant) Set(ctx context.Context, items []driver.Item) error {
	if m.set != nil {
		return m.set(m, ctx, items)
	}
	return m.Reference.Set(ctx, items)
}

func (m *mutant) Delete(ctx context.Context, keys []string) error {
	if m.delete != nil {
		return m.delete(m, ctx, keys)
	}
	return m.Reference.Delete(ctx, keys)
}

func (m *mutant) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if m.tryLock != nil {
		return m.tryLock(m, ctx, key, ttl)
	}
	return m.Reference.TryLock(ctx, key, ttl)
}

func (m *mutant) Wait(ctx context.Context, key string) error {
	if m.wait != nil {
		return m.wait(m, ctx, key)
	}
	return m.Reference.Wait(ctx, key)
}

func (m *mutant) Locked(ctx context.Context, key string) (bool, error) {
	if m.locked != nil {
		return m.locked(m, ctx, key)
	}
	return m.Reference.Locked(ctx, key)
}

func (m *mutant) Shard(key string) string {
	if m.shard != nil {
		return m.shard(m, key)
	}
	return ""
}

func (m *mutant) Drop(drop func(*driver.Item) bool) {
	if m.drop != nil {
		m.drop(m, drop)
		return
	}
	m.Reference.Drop(drop)
}

func (m *mutant) Watch(lag time.Duration) (stop func(), atOnce bool) {
	if m.watch != nil {
		return m.watch(m, lag)
	}
	return m.Reference.Watch(lag)
}

func (m *mutant) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	if m.holder != nil {
		return m.holder(m, ctx, key)
	}
	return m.Reference.Holder(ctx, key)
}

func (m *mutant) Scan(ctx context.Context, prefix string, found func(driver.Found) bool) error {
	if m.scan != nil {
		return m.scan(m, ctx, prefix, found)
	}
	return m.Reference.Scan(ctx, prefix, found)
}

func (m *mutant) Close() error {
	if m.close != nil {
		return m.close(m)
	}
	return m.Reference.Close()
}

func (m *mutant) Caps() driver.Caps {
	c := m.Reference.Caps()
	if m.caps != nil {
		m.caps(&c)
	}
	return c
}

// broken is a mutant and the rule that has to find it.
type broken struct {
	name   string
	caught string
	mutant mutant
}

func TestEveryMutantIsCaught(t *testing.T) {
	for _, tt := range slices.Concat(dataMutants, lockMutants, watchMutants, holderMutants, scanMutants) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			failures := drivertest.Failures(t, tt.caught, func(testing.TB) driver.Backend { return tt.mutant.open() })
			if len(failures) == 0 {
				t.Errorf("no row that begins with %q found it", tt.caught)
			}
			for rule, said := range failures {
				t.Logf("%s: %s", rule, said[0])
			}
		})
	}
}

func TestTheReferenceIsNotCaught(t *testing.T) {
	t.Parallel()
	for rule, said := range drivertest.Failures(t, "", func(testing.TB) driver.Backend { return mutant{}.open() }) {
		t.Errorf("%s: %s", rule, said)
	}
}

// brokenLease has a method or two of a lease replaced. It is the lease that
// Set is handed, so Set looks inside.
type brokenLease struct {
	driver.Lease
	extend  func(ctx context.Context, ttl time.Duration) error
	release func(ctx context.Context) error
}

func (l *brokenLease) Extend(ctx context.Context, ttl time.Duration) error {
	if l.extend != nil {
		return l.extend(ctx, ttl)
	}
	return l.Lease.Extend(ctx, ttl)
}

func (l *brokenLease) Release(ctx context.Context) error {
	if l.release != nil {
		return l.release(ctx)
	}
	return l.Lease.Release(ctx)
}

// breaking returns a TryLock whose leases break as asked, and the Set for it.
func breaking(how func(m *mutant, key string, l *brokenLease)) mutant {
	return mutant{
		tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			l, err := m.Reference.TryLock(ctx, key, ttl)
			if l == nil {
				return nil, err
			}
			b := &brokenLease{Lease: l}
			how(m, key, b)
			return b, nil
		},
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			inner := slices.Clone(items)
			for i := range inner {
				if b, ok := inner[i].Lease.(*brokenLease); ok {
					inner[i].Lease = b.Lease
				}
			}
			err := m.Reference.Set(ctx, inner)
			for i := range inner {
				items[i].Err = inner[i].Err
			}
			return err
		},
	}
}

// setEach returns a Set that changes a copy of each item first.
func setEach(change func(*driver.Item)) func(*mutant, context.Context, []driver.Item) error {
	return func(m *mutant, ctx context.Context, items []driver.Item) error {
		inner := slices.Clone(items)
		for i := range inner {
			change(&inner[i])
		}
		err := m.Reference.Set(ctx, inner)
		for i := range inner {
			items[i].Err = inner[i].Err
		}
		return err
	}
}

// getEach returns a Get that changes each item that was found.
func getEach(change func(*driver.Item)) func(*mutant, context.Context, []driver.Item) error {
	return func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Get(ctx, items)
		for i := range items {
			if items[i].Found() {
				change(&items[i])
			}
		}
		return err
	}
}

func mangled(key func(string) string) mutant {
	return mutant{
		get: func(m *mutant, ctx context.Context, items []driver.Item) error {
			for i := range items {
				it := []driver.Item{{Key: key(items[i].Key)}}
				if err := m.Reference.Get(ctx, it); err != nil {
					return err
				}
				if it[0].Found() {
					items[i].Data, items[i].Object = it[0].Data, it[0].Object
				}
			}
			return nil
		},
		set: setEach(func(it *driver.Item) { it.Key = key(it.Key) }),
		delete: func(m *mutant, ctx context.Context, keys []string) error {
			var inner []string
			for _, k := range keys {
				inner = append(inner, key(k))
			}
			return m.Reference.Delete(ctx, inner)
		},
		tryLock: func(m *mutant, ctx context.Context, k string, ttl time.Duration) (driver.Lease, error) {
			return m.Reference.TryLock(ctx, key(k), ttl)
		},
		locked: func(m *mutant, ctx context.Context, k string) (bool, error) { return m.Reference.Locked(ctx, key(k)) },
		wait:   func(m *mutant, ctx context.Context, k string) error { return m.Reference.Wait(ctx, key(k)) },
	}
}
