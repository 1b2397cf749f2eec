package memcached

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// fenced is a core whose leases are fenced: see fencedLease.
type fenced struct{ *core }

// Caps implements driver.Describer.
func (f fenced) Caps() driver.Caps { return f.caps(true) }

// TryLock implements driver.Locker. In the round trip that takes the lease the
// entry is read, for the Get that follows. If there is one, it takes another.
func (f fenced) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := f.lockable(key, ttl); err != nil {
		return nil, err
	}
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := f.bound(ctx)
	defer cancel()
	s, lock := f.lockAt(key)
	on, err := s.session(ctx)
	if err != nil {
		return nil, failed("lock", err)
	}
	l := &fencedLease{c: f.core, s: s, on: on, lock: lock, token: newToken(), reading: reading{key: key}}
	switch held, err := l.take(ctx, ttl); {
	case err != nil:
		f.giveUp(s, lock, l.token, ttl, err)
		return nil, failed("lock", err)
	case !held:
		return nil, nil
	}
	return l, nil
}

// Set implements driver.Backend. It is one round trip to each server that has
// any of the keys, at the same time.
//
// The entry comes first, then the lease: one who gets hold of the lease in
// between finds the new entry, or none.
func (f fenced) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return nil
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	began := time.Now()
	p := f.newParts()
	defer f.free(p)
	bad := faults{op: "set", items: items}
	var again []int // those with leases of which more has to be known first
	for i := range items {
		switch err := f.prepare(p, i, &items[i]); err {
		case errUnsure:
			again = append(again, i)
		case driver.ErrLeaseLost:
			items[i].Err = err
		default:
			bad.note(i, err)
		}
	}
	p.do(ctx)
	p.each(func(i int, op *memcache.Op, err error) {
		l, leased := items[i].Lease.(*fencedLease)
		if !leased {
			bad.note(i, err)
		}
		if !leased || op.Kind != memcache.Set {
			return
		}
		switch err := l.used(ctx, op, err); {
		case err == errUnsure:
			again = append(again, i)
		case err == driver.ErrLeaseLost:
			items[i].Err = err
		default:
			bad.note(i, err)
		}
	})
	if len(again) > 0 {
		ctx, cancel := f.boundSince(ctx, began)
		defer cancel()
		for _, i := range again {
			if err := items[i].Lease.(*fencedLease).setAlone(ctx, &items[i]); err == driver.ErrLeaseLost {
				items[i].Err = err
			} else {
				bad.note(i, err)
			}
		}
	}
	return bad.all(len(items))
}

// prepare adds what stores it to p.
func (f fenced) prepare(p *parts, i int, it *driver.Item) error {
	if err := f.settable(it); err != nil {
		return err
	}
	if it.Lease == nil {
		s, lock := f.lockAt(it.Key)
		p.add(s, i, setOp(it))
		p.add(s, i, memcache.Op{Kind: memcache.Delete, Key: lock})
		return nil
	}
	l, ok := it.Lease.(*fencedLease)
	if !ok || l.c != f.core || l.key != it.Key {
		return driver.ErrLeaseLost
	}
	ops, on, err := l.use(it)
	if err == nil {
		p.add(on, i, ops[0])
		p.add(on, i, ops[1])
	}
	return err
}

// Delete implements driver.Backend. It is one round trip to each server that
// has any of the keys, at the same time. An error means that at least one of
// the keys may not have been deleted.
//
// The entry comes first, then the lease. From the moment that the entry is
// gone nothing can be stored under a lease that was taken before. The other way
// round, one who got hold of the lease in between would find the old entry.
func (f fenced) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	p := f.newParts()
	defer f.free(p)
	bad := faults{op: "delete"}
	for i, key := range keys {
		if err := f.check(key); err != nil {
			bad.note(i, err)
			continue
		}
		s, lock := f.lockAt(key)
		p.add(s, i, memcache.Op{Kind: memcache.Delete, Key: key})
		p.add(s, i, memcache.Op{Kind: memcache.Delete, Key: lock})
	}
	p.do(ctx)
	p.each(func(i int, _ *memcache.Op, err error) { bad.note(i, err) })
	return bad.deleted(len(keys))
}
