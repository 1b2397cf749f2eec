package memcached

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// fenced is a core whose leases are fenced: see fencedLease.
type fenced struct{ *core }

// TryLock takes the lease over one connection, which the lease remembers.
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
	l := &fencedLease{c: f.core, s: s, lock: lock, token: holder.NewToken(), reading: reading{key: key}}
	sent := false
	var held bool
	err := twice(ctx, func() (err error) {
		if l.on, err = s.session(ctx); err != nil {
			return err
		}
		held, err = l.take(ctx, ttl, sent)
		sent = true
		return err
	})
	switch {
	case err != nil && sent:
		// The lease may have been granted, be it that only the rest has failed.
		f.giveUp(s, lock, l.token, ttl, err)
		return nil, failed(err)
	case err != nil:
		return nil, failed(err)
	case !held:
		return nil, nil
	}
	return l, nil
}

// Set stores all items in one round trip, and those under leases in doubt in
// another.
//
// For an item without a lease, the entry is set first and the lease deleted
// second. The other way round:
//
//  1. The lease is deleted.
//  2. N takes it, reads the old entry, and creates from it.
//  3. The entry is set. N is refused at the end, after it has worked in vain.
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
	bad := faults{items: items}
	var again []int // items whose leases are in doubt
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
		// What became of the Delete of a lease that was used up does not matter: it
		// runs out by itself.
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
		ctx, cancel := boundSince(ctx, began, f.limit)
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

// prepare adds to p the commands that store it.
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
		// A lease of another backend, or on another key, guards nothing here.
		return driver.ErrLeaseLost
	}
	ops, on, err := l.use(it)
	if err == nil {
		p.add(on, i, ops[0])
		p.add(on, i, ops[1])
	}
	return err
}

// Delete deletes each entry first and its lease second. From the moment that the
// entry is gone nothing can be stored under a lease that was taken before, since
// it compares with the CAS of that entry. The other way round:
//
//  1. The lease is deleted.
//  2. N takes it, and reads the old entry.
//  3. The entry is deleted. N returns the old entry to a caller that asked after
//     that.
func (f fenced) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	p := f.newParts()
	defer f.free(p)
	var bad faults
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
