package memcached

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
	"github.com/dogpile-go/dogpile/internal/memcache"
)

// plain is a core whose leases are like those of dogpile.cache: see plainLease.
type plain struct{ *core }

// TryLock takes the lease, and reads the entry.
func (p plain) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := p.lockable(key, ttl); err != nil {
		return nil, err
	}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	l := &plainLease{c: p.core, token: holder.NewToken(), reading: reading{key: key}}
	l.s, l.lock = p.lockAt(key)
	held, err := l.take(ctx, ttl, false)
	if cutOff(ctx, err) {
		held, err = l.take(ctx, ttl, true)
	}
	switch {
	case err != nil:
		p.giveUp(l.s, l.lock, l.token, ttl, err)
		return nil, failed(err)
	case !held:
		return nil, nil
	}
	return l, nil
}

// round makes a round trip with one op for each of n items for which op returns
// some, and calls answer with what came of each.
func (c *core) round(ctx context.Context, n int, op func(i int) (to doer, op memcache.Op, some bool), answer func(i int, op *memcache.Op, err error)) {
	p := c.newParts()
	defer c.free(p)
	for i := range n {
		if to, op, some := op(i); some {
			p.add(to, i, op)
		}
	}
	p.do(ctx)
	p.each(answer)
}

// step is how far a Set or Delete has got with one of its keys.
type step struct {
	failed  bool
	looked  bool        // lockCAS is known
	gone    bool        // the entry that was there when the lease was taken is not any more
	stored  bool        // or refused
	lease   *plainLease // under which the item is set; nil: none
	lock    *server     // that has the lease
	name    string      // of the lease
	lockCAS uint64      // of the lease to be freed: ours, or lease; 0: there is none
}

// look reads the leases on keys that it has not looked at.
func (p plain) look(ctx context.Context, steps []step, key func(i int) string, bad *faults) {
	p.round(ctx, len(steps), func(i int) (doer, memcache.Op, bool) {
		st := &steps[i]
		if st.failed || st.looked {
			return nil, memcache.Op{}, false
		}
		st.lock, st.name = p.lockAt(key(i))
		return st.lock, memcache.Op{Kind: memcache.Get, Key: st.name}, true
	}, func(i int, got *memcache.Op, err error) {
		st := &steps[i]
		st.looked, st.failed, st.lockCAS = true, err != nil, 0
		bad.note(i, err)
		token, _ := splitLock(got.Value)
		if got.Status == memcache.Done && ours(got.Value) && (st.lease == nil || token == st.lease.token) {
			st.lockCAS = got.CAS
		}
	})
}

// unlock frees the leases that were looked at, of the steps for which of is true.
// It names their CAS, so that a lease which was extended or taken since is left
// alone.
func (p plain) unlock(ctx context.Context, steps []step, of func(*step) bool, answer func(i int, op *memcache.Op, err error)) {
	p.round(ctx, len(steps), func(i int) (doer, memcache.Op, bool) {
		st := &steps[i]
		return st.lock, memcache.Op{Kind: memcache.Delete, Key: st.name, CAS: st.lockCAS}, !st.failed && st.lockCAS != 0 && of(st)
	}, answer)
}

// revoke looks at the leases on keys, and frees those that programs like this one
// hold, except the ones under which something is set. A lease may escape it:
//
//  1. revoke looks at the lease.
//  2. Its holder extends it, which gives its item another CAS.
//  3. revoke frees nothing.
//
// So it looks at that one again.
func (p plain) revoke(ctx context.Context, steps []step, key func(i int) string, bad *faults) {
	for range revocations {
		p.look(ctx, steps, key, bad)
		again := false
		p.unlock(ctx, steps, func(st *step) bool { return st.lease == nil }, func(i int, op *memcache.Op, err error) {
			st := &steps[i]
			st.failed, st.lockCAS = err != nil, 0
			bad.note(i, err)
			if op.Status == memcache.Changed {
				st.looked, again = false, true
			}
		})
		if !again {
			return
		}
	}
	for i := range steps {
		if st := &steps[i]; !st.failed && !st.looked {
			st.failed = true
			bad.note(i, errBusy)
		}
	}
}

// revocations is how often revoke looks at a lease that is extended again and
// again.
const revocations = 10

var errBusy = errors.New("the lease is extended all the time and could not be revoked")

// Set looks at the leases, revokes those on keys that are set without one, stores,
// and releases the leases under which it has stored: each in one round trip to
// each server that has any of them.
//
// A lease is revoked before the entry is stored, so that a holder that looks at
// its lease after that does not store. One that has looked before does no harm:
//
//  1. P looks at its lease: it is held.
//  2. The lease is revoked.
//  3. The entry is set.
//  4. P stores: refused, since what it compares with has changed.
//
// If 4 comes before 3, what P has stored is replaced.
func (p plain) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return nil
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	bad := faults{items: items}
	steps := make([]step, len(items))
	for i := range items {
		it := &items[i]
		if err := p.settable(it); err != nil {
			steps[i].failed = true
			bad.note(i, err)
		} else if it.Lease != nil && !p.use(&steps[i], it) {
			steps[i].failed, it.Err = true, driver.ErrLeaseLost
		}
	}
	p.revoke(ctx, steps, func(i int) string { return items[i].Key }, &bad)
	for p.store(ctx, steps, items, &bad) {
		p.look(ctx, steps, func(i int) string { return items[i].Key }, &bad)
	}
	p.unlock(ctx, steps, func(st *step) bool { return st.lease != nil }, func(int, *memcache.Op, error) {})
	return bad.all(len(items))
}

// store stores what is not stored yet. It reports whether there is an item to be
// tried again: one whose entry, which was there when the lease was taken, is gone.
// It was deleted, or has run out. A Delete here revokes the lease first. So if the
// lease is still held when it is looked at again, the entry has run out, and the
// item may be stored. A delete by Python does not revoke; with PythonLock the item
// is refused.
func (p plain) store(ctx context.Context, steps []step, items []driver.Item, bad *faults) (again bool) {
	p.round(ctx, len(items), func(i int) (doer, memcache.Op, bool) {
		st, it := &steps[i], &items[i]
		op := setOp(it)
		switch {
		case st.failed || st.stored:
			return nil, op, false
		case st.lease == nil:
		case st.lockCAS == 0:
			// It was revoked, has run out, or is another's.
			st.failed, it.Err = true, driver.ErrLeaseLost
			return nil, op, false
		case st.gone || st.lease.cas == 0:
			// Nothing was there. If something is now, another has stored it.
			op.Add = true
		default:
			op.CAS = st.lease.cas
		}
		return p.at(it.Key), op, true
	}, func(i int, op *memcache.Op, err error) {
		st := &steps[i]
		switch {
		case err != nil:
			st.failed = true
			bad.note(i, err)
		case op.Status == memcache.Missing && !p.python:
			st.gone, st.looked, again = true, false, true
		default:
			st.stored = true
			if op.Status != memcache.Done {
				items[i].Err = driver.ErrLeaseLost
			}
		}
	})
	return again
}

// use marks the lease of it as used up, and reports whether it was held.
func (p plain) use(st *step, it *driver.Item) bool {
	l, ok := it.Lease.(*plainLease)
	st.lease = l
	return ok && l.c == p.core && l.key == it.Key && l.use()
}

// Delete looks at the leases, revokes those that programs like this one hold, and
// deletes: each in one round trip to each server that has any of them.
//
// A lease is revoked before the entry is deleted:
//
//  1. P looks at its lease: it is held.
//  2. The lease is revoked.
//  3. P stores.
//  4. The entry is deleted, and what P has stored with it.
//
// Only if 4 comes before 3 is something left. The other way round it would also be
// if P looked between deleting and revoking.
func (p plain) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	ctx, cancel := p.bound(ctx)
	defer cancel()
	var bad faults
	steps := make([]step, len(keys))
	for i, key := range keys {
		err := p.check(key)
		steps[i].failed = err != nil
		bad.note(i, err)
	}
	p.revoke(ctx, steps, func(i int) string { return keys[i] }, &bad)
	p.round(ctx, len(keys), func(i int) (doer, memcache.Op, bool) {
		// The entry goes even if its lease could not be revoked: the error tells that
		// a holder may still store.
		return p.at(keys[i]), memcache.Op{Kind: memcache.Delete, Key: keys[i]}, p.check(keys[i]) == nil
	}, func(i int, _ *memcache.Op, err error) { bad.note(i, err) })
	return bad.deleted(len(keys))
}
