package drivertest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

func nothing([]string) error { return nil }

// checkLeases returns the items whose lease holds, as a guard would, but lets
// go of the key before anything is stored.
func checkLeases(m *mutant, ctx context.Context, items []driver.Item) ([]driver.Item, error) {
	var rest []driver.Item
	err := m.Leases().Set(ctx, items, func(held []driver.Item) error {
		rest = slices.Clone(held)
		return nil
	})
	return rest, err
}

var lockMutants = []broken{
	{"TryLock is granted to everybody", "lock/one of 32", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		if err := m.Leases().Delete(ctx, []string{key}, nothing); err != nil {
			return nil, err
		}
		return m.Reference.TryLock(ctx, key, ttl)
	}}},
	{"TryLock looks and then takes", "lock/one of 32", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		if locked, err := m.Reference.Locked(ctx, key); locked || err != nil {
			return nil, err
		}
		time.Sleep(time.Microsecond)
		if err := m.Leases().Delete(ctx, []string{key}, nothing); err != nil {
			return nil, err
		}
		return m.Reference.TryLock(ctx, key, ttl)
	}}},
	{"TryLock waits", "lock/TryLock does not wait", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		for {
			if l, err := m.Reference.TryLock(ctx, key, ttl); l != nil || err != nil {
				return l, err
			}
			if err := m.Reference.Wait(ctx, key); err != nil {
				return nil, err
			}
		}
	}}},
	{"TryLock of a held lease is an error", "lock/TryLock does not wait", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := m.Reference.TryLock(ctx, key, ttl)
		if l == nil && err == nil {
			err = errors.New("not acquired")
		}
		return l, err
	}}},
	{"a TryLock in vain prolongs the lease", "lock/a TryLock in vain", resetting(func(ttl time.Duration) bool { return ttl >= time.Hour })},
	{"a TryLock in vain shortens the lease", "lock/a TryLock in vain", resetting(func(ttl time.Duration) bool { return ttl < time.Hour })},
	{"the entry goes when the lease has run out", "lock/the end of a lease", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := m.Reference.TryLock(ctx, key, ttl)
		if l != nil {
			time.AfterFunc(ttl, func() { _ = m.Remove([]string{key}) })
		}
		return l, err
	}}},
	{"Release removes the entry", "lock/the end of a lease", breaking(func(m *mutant, key string, l *brokenLease) {
		l.release = func(ctx context.Context) error { return errors.Join(m.Remove([]string{key}), l.Lease.Release(ctx)) }
	})},
	{"one lease for all keys", "lock/a lease is on one key", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		return m.Reference.TryLock(ctx, "the lock", ttl)
	}}},
	{"the lease is in the value's slot", "lock/a lease is on one key", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := m.Reference.TryLock(ctx, key, ttl)
		if l != nil {
			err = m.Store([]driver.Item{{Key: key, Data: []byte("locked")}})
		}
		return l, err
	}}},
	{"lease keys are cut", "lock/every legal key", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		return m.Reference.TryLock(ctx, ("_lock" + key)[:min(len(key), 250)], ttl)
	}}},
	{"Release does nothing", "lock/Release frees the key", breaking(func(_ *mutant, _ string, l *brokenLease) {
		l.release = func(context.Context) error { return nil }
	})},
	{"a second Release is an error", "lock/Release frees the key", breaking(func(_ *mutant, _ string, l *brokenLease) {
		released := false
		l.release = func(ctx context.Context) error {
			if released {
				return errors.New("not owned")
			}
			released = true
			return l.Lease.Release(ctx)
		}
	})},
	{"Release does not compare", "lock/Release frees no lease", breaking(func(m *mutant, key string, l *brokenLease) {
		l.release = func(ctx context.Context) error { return m.Leases().Delete(ctx, []string{key}, nothing) }
	})},
	{"a lease has no end", "lock/a lease ends", mutant{tryLock: func(m *mutant, ctx context.Context, key string, _ time.Duration) (driver.Lease, error) {
		return m.Reference.TryLock(ctx, key, 1000*time.Hour)
	}}},
	{"a lease ends early", "lock/a lease ends", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		return m.Reference.TryLock(ctx, key, ttl/2+1)
	}}},
	{"a lease's ttl is rounded down", "lock/a ttl below", mutant{
		caps: func(c *driver.Caps) { c.TTLUnit = time.Second },
		tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
			if ttl = ttl.Truncate(time.Second); ttl == 0 {
				ttl = 1000 * time.Hour
			}
			return m.Reference.TryLock(ctx, key, ttl)
		}}},
	{"Extend does nothing", "lock/Extend makes", breaking(func(m *mutant, key string, l *brokenLease) {
		l.extend = func(ctx context.Context, _ time.Duration) error {
			if locked, _ := m.Reference.Locked(ctx, key); !locked {
				return driver.ErrLeaseLost
			}
			return nil
		}
	})},
	{"Extend of a lost lease succeeds", "lock/Extend of a lease that was lost", breaking(func(_ *mutant, _ string, l *brokenLease) {
		l.extend = func(ctx context.Context, ttl time.Duration) error {
			if err := l.Lease.Extend(ctx, ttl); !errors.Is(err, driver.ErrLeaseLost) {
				return err
			}
			return nil
		}
	})},
	{"Extend takes up a lease that has run out", "lock/a lease ends", breaking(func(m *mutant, key string, l *brokenLease) {
		l.extend = func(ctx context.Context, ttl time.Duration) error {
			err := l.Lease.Extend(ctx, ttl)
			if errors.Is(err, driver.ErrLeaseLost) {
				if again, _ := m.Reference.TryLock(ctx, key, ttl); again != nil {
					l.Lease, err = again, nil
				}
			}
			return err
		}
	})},
	{"Extend takes a lost lease again", "lock/Extend of a lease that was lost", breaking(func(m *mutant, key string, l *brokenLease) {
		l.extend = func(ctx context.Context, ttl time.Duration) error {
			err := l.Lease.Extend(ctx, ttl)
			if errors.Is(err, driver.ErrLeaseLost) {
				_, _ = m.Reference.TryLock(ctx, key, ttl)
			}
			return err
		}
	})},
	{"Locked says no", "lock/Locked", mutant{locked: func(*mutant, context.Context, string) (bool, error) { return false, nil }}},
	{"Locked looks at the value", "lock/Locked", mutant{locked: func(m *mutant, ctx context.Context, key string) (bool, error) {
		items := []driver.Item{{Key: key}}
		err := m.Reference.Get(ctx, items)
		return items[0].Found(), err
	}}},
	{"a cancelled TryLock wins later", "lock/a TryLock whose context", mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		if ctx.Err() != nil {
			_, _ = m.Reference.TryLock(context.WithoutCancel(ctx), key, 1000*time.Hour)
		}
		return m.Reference.TryLock(ctx, key, ttl)
	}}},
	{"Wait on a free key waits for a lease", "wait/it returns on a free key", mutant{wait: func(m *mutant, ctx context.Context, key string) error {
		if locked, _ := m.Reference.Locked(ctx, key); !locked {
			<-ctx.Done()
			return ctx.Err()
		}
		return m.Reference.Wait(ctx, key)
	}}},
	{"Wait waits for every lease", "wait/it returns on a free key", mutant{
		tryLock: remembering,
		wait: func(m *mutant, ctx context.Context, _ string) error {
			m.mu.Lock()
			held := slices.Collect(maps.Keys(m.held))
			m.mu.Unlock()
			for _, key := range held {
				if err := m.Reference.Wait(ctx, key); err != nil {
					return err
				}
			}
			return nil
		}}},
	{"Wait fails when the lease is released", "wait/it wakes when the lease is released", mutant{wait: func(m *mutant, ctx context.Context, key string) error {
		if locked, err := m.Reference.Locked(ctx, key); !locked || err != nil {
			return err
		}
		return errors.Join(m.Reference.Wait(ctx, key), errors.New("subscription closed"))
	}}},
	{"Wait does not wait", "wait/it waits", mutant{wait: func(_ *mutant, ctx context.Context, _ string) error { return ctx.Err() }}},
	{"Wait ignores its context", "wait/it waits", mutant{wait: func(m *mutant, ctx context.Context, key string) error {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			time.Sleep(time.Minute)
		}
		return ctx.Err()
	}}},
	{"Wait hides that its context is done", "wait/it waits", mutant{wait: func(m *mutant, ctx context.Context, key string) error {
		_ = m.Reference.Wait(ctx, key)
		time.Sleep(time.Nanosecond)
		return nil
	}}},
	{"Wait sees Release only", "wait/it wakes when Delete", mutant{wait: sleepyUnless(func(m *mutant, key string) bool { return m.n.Load() == 0 }),
		delete: func(m *mutant, ctx context.Context, keys []string) error {
			m.n.Add(1)
			return m.Reference.Delete(ctx, keys)
		}}},
	{"Wait does not see Set", "wait/it wakes when Set revokes", mutant{wait: sleepyUnless(func(m *mutant, key string) bool { return m.n.Load() == 0 }),
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.n.Add(1)
			return m.Reference.Set(ctx, items)
		}}},
	{"Wait does not see Set under the lease", "wait/it wakes when Set uses", mutant{wait: sleepyUnless(func(m *mutant, key string) bool { return m.n.Load() == 0 }),
		set: func(m *mutant, ctx context.Context, items []driver.Item) error {
			m.n.Add(1)
			return m.Reference.Set(ctx, items)
		}}},
	{"Wait sleeps for a minute", "wait/it wakes when the lease is released", mutant{wait: sleepyUnless(func(m *mutant, key string) bool { return false })}},
	{"Wait does not see a lease run out", "wait/it wakes when the lease runs out", mutant{wait: sleepyUnless(func(m *mutant, key string) bool { return false })}},
	{"a lease is ignored by Set", "fence/Set is refused after Delete", mutant{set: setEach(func(it *driver.Item) { it.Lease = nil })}},
	{"a lost lease stores all the same", "fence/Set is refused once", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		if _, err := checkLeases(m, ctx, items); err != nil {
			return err
		}
		return m.Store(items)
	}}},
	{"a refused Set frees the key", "fence/Set is refused when another", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Set(ctx, items)
		for i := range items {
			if errors.Is(items[i].Err, driver.ErrLeaseLost) {
				err = errors.Join(err, m.Leases().Delete(ctx, []string{items[i].Key}, nothing))
			}
		}
		return err
	}}},
	{"Delete of a leased key leaves the entry", "fence/Set is refused after Delete", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		for i, key := range keys {
			remove := m.Remove
			if locked, err := m.Reference.Locked(ctx, key); locked || err != nil {
				remove = nothing
			}
			if err := m.Leases().Delete(ctx, keys[i:i+1], remove); err != nil {
				return err
			}
		}
		return nil
	}}},
	{"Get takes the leases out of its items", "fence/Get under a lease", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			items[i].Lease = nil
		}
		return m.Reference.Get(ctx, items)
	}}},
	{"a refused Set is silent", "fence/Set is refused after Release", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		err := m.Reference.Set(ctx, items)
		for i := range items {
			if errors.Is(items[i].Err, driver.ErrLeaseLost) {
				items[i].Err = nil
			}
		}
		return err
	}}},
	{"Set keeps the lease", "fence/Set under a lease", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		held := slices.Clone(items)
		err := m.Reference.Set(ctx, items)
		for i := range held {
			if held[i].Lease != nil && items[i].Err == nil {
				_, _ = m.Reference.TryLock(ctx, held[i].Key, time.Hour)
			}
		}
		return err
	}}},
	{"Set without a lease revokes none", "fence/Set is refused after another Set", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			if items[i].Lease == nil {
				if err := m.Store(items[i : i+1]); err != nil {
					return err
				}
			} else if err := m.Reference.Set(ctx, items[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}}},
	{"Delete revokes none", "fence/Set is refused after Delete", mutant{delete: func(m *mutant, _ context.Context, keys []string) error {
		return m.Remove(keys)
	}}},
	{"Delete revokes for the first key only", "fence/Delete revokes", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		if len(keys) == 0 {
			return nil
		}
		return errors.Join(m.Reference.Delete(ctx, keys[:1]), m.Remove(keys))
	}}},
	{"a lost lease fails the batch", "fence/a lost lease in a batch", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		rest, err := checkLeases(m, ctx, items)
		if len(rest) < len(items) {
			return driver.ErrLeaseLost
		}
		return errors.Join(err, m.Store(rest))
	}}},
	{"any lease is good for any key", "fence/a lease is good", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		inner := slices.Clone(items)
		for i := range inner {
			if l := inner[i].Lease; l != nil && l.Extend(ctx, time.Hour) == nil {
				inner[i].Lease = nil
			}
		}
		err := m.Reference.Set(ctx, inner)
		for i := range inner {
			items[i].Err = inner[i].Err
		}
		return err
	}}},
	{"Get under a lease answers for ever what TryLock read", "fence/Get under a lease", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		for i := range items {
			m.mu.Lock()
			first, again := m.items[items[i].Key]
			m.mu.Unlock()
			if again && items[i].Lease != nil {
				items[i].Data, items[i].Object = first.Data, first.Object
				continue
			}
			if err := m.Reference.Get(ctx, items[i:i+1]); err != nil {
				return err
			}
			if items[i].Lease != nil {
				m.mu.Lock()
				m.items[items[i].Key] = items[i]
				m.mu.Unlock()
			}
		}
		return nil
	}}},
	{"Set checks and then stores", "race/no stale store", mutant{set: func(m *mutant, ctx context.Context, items []driver.Item) error {
		rest, err := checkLeases(m, ctx, items)
		time.Sleep(time.Millisecond)
		return errors.Join(err, m.Store(rest))
	}}},
	{"Delete removes and then revokes", "race/no stale store", mutant{delete: func(m *mutant, ctx context.Context, keys []string) error {
		if err := m.Remove(keys); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		return m.Leases().Delete(ctx, keys, nothing)
	}}},
	{"answers get mixed up", "race/every reader", mutant{get: func(m *mutant, ctx context.Context, items []driver.Item) error {
		if err := m.Reference.Get(ctx, items); err != nil || len(items) == 0 {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.n.Add(1)%50 == 0 && m.last.Data != nil {
			items[0].Data = m.last.Data
		}
		m.last = items[0]
		return nil
	}}},
}

// remembering is a TryLock that remembers the leases that it grants.
func remembering(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	l, err := m.Reference.TryLock(ctx, key, ttl)
	if l != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.held[key] = l
	}
	return l, err
}

// resetting returns a TryLock that gives a held lease the ttl which it was asked
// for in vain, if that is one of those chosen.
func resetting(chosen func(ttl time.Duration) bool) mutant {
	return mutant{tryLock: func(m *mutant, ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
		l, err := remembering(m, ctx, key, ttl)
		if l == nil && err == nil && chosen(ttl) {
			m.mu.Lock()
			defer m.mu.Unlock()
			err = m.held[key].Extend(ctx, ttl)
		}
		return l, err
	}}
}

// sleepyUnless returns a Wait that notices nothing for a minute unless awake.
func sleepyUnless(awake func(m *mutant, key string) bool) func(*mutant, context.Context, string) error {
	return func(m *mutant, ctx context.Context, key string) error {
		err := m.Reference.Wait(ctx, key)
		if err == nil && !awake(m, key) {
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	}
}
