package file

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// Get fills the Data and TTL of each item that the file has. A batch is read in
// one transaction. The first Get under a lease is answered from what TryLock has
// read. An entry whose bytes were changed is driver.ErrCorrupt in its item.
func (b *Backend) Get(ctx context.Context, items []driver.Item) (err error) {
	var few [4]*driver.Item
	ask := few[:0]
	for i := range items {
		if it := &items[i]; !answered(it) {
			ask = append(ask, it)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	v, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer v.leave(&err)
	if b.watchers.Lag() > 0 {
		v.mark(ask)
	}
	l := b.limit(ctx)
	c, err := v.take(&l, v.readers)
	if err != nil {
		return failed(err)
	}
	defer v.give(v.readers, c)
	return failed(patiently(&l, func() error { return c.getAll(&l, ask) }))
}

// getAll reads items, several of them in one transaction.
func (c *conn) getAll(l *limit, items []*driver.Item) (err error) {
	now := time.Now()
	if len(items) == 1 {
		e, err := c.get(items[0].Key)
		if err == nil {
			e.fill(items[0], now)
		}
		return err
	}
	if err := c.run(begin); err != nil {
		return err
	}
	for i, it := range items {
		if i%64 == 63 {
			if err = l.err(); err != nil {
				break
			}
		}
		var e entry
		if e, err = c.get(it.Key); err != nil {
			break
		}
		e.fill(it, now)
	}
	return errors.Join(err, c.run(rollback)) // nothing was written
}

// Set stores the Data of each item, all of them in one transaction. An item with a
// lease is stored, and its lease released, if the lease is held, and else has
// driver.ErrLeaseLost. One without revokes the lease on its key.
func (b *Backend) Set(ctx context.Context, items []driver.Item) error {
	if len(items) == 0 {
		return nil
	}
	return b.again(ctx, func(v visit) error { return b.setAll(ctx, v, items) })
}

func (b *Backend) setAll(ctx context.Context, v visit, items []driver.Item) error {
	l := b.limit(ctx)
	over := false
	err := v.change(&l, len(items), func(i int) string { return items[i].Key }, func(c *conn) (err error) {
		now := time.Now()
		for i := range items {
			if i%16 == 15 {
				if err := l.err(); err != nil {
					return err
				}
			}
			if err := b.set(c, &items[i], now, i); err != nil {
				return err
			}
		}
		over, err = v.fit(c, evictAtOnce)
		return err
	})
	if err != nil {
		return failed(err)
	}
	written := 0
	for i := range items {
		if items[i].Err == nil {
			written += len(items[i].Data)
			b.waiters.wake(items[i].Key)
		}
	}
	b.wrote(v.store, &l, len(items), written, over)
	return nil
}

// set stores item i of a batch if its lease allows that.
func (b *Backend) set(c *conn, it *driver.Item, now time.Time, i int) error {
	switch it.Err = nil; {
	case it.Data == nil:
		it.Err = errors.New("file: the item has no bytes")
		return nil
	case len(it.Data) > b.maxValue():
		it.Err = fmt.Errorf("file: the value has %d bytes, and may have %d", len(it.Data), b.maxValue())
		return nil
	case it.Lease == nil:
		if err := c.runKey(revoke, it.Key); err != nil {
			return err
		}
		return c.put(it, now, i)
	}
	l, ok := it.Lease.(*lease)
	if !ok || l.key != it.Key {
		it.Err = driver.ErrLeaseLost
		return nil
	}
	switch held, err := l.yield(c, now); {
	case err != nil:
		return err
	case !held:
		it.Err = driver.ErrLeaseLost
		return nil
	}
	return c.put(it, now, i)
}

// Delete removes the keys and revokes the leases on them, in one transaction. With
// an error, none was removed.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return b.again(ctx, func(v visit) error { return b.deleteAll(ctx, v, keys) })
}

func (b *Backend) deleteAll(ctx context.Context, v visit, keys []string) error {
	l := b.limit(ctx)
	waste := false
	err := v.change(&l, len(keys), func(i int) string { return keys[i] }, func(c *conn) error {
		for i, key := range keys {
			if i%16 == 15 {
				if err := l.err(); err != nil {
					return err
				}
			}
			if err := c.runKey(revoke, key); err != nil {
				return err
			}
			if err := c.delete(key); err != nil {
				return err
			}
		}
		total, unused, err := c.size()
		waste = wasteful(total, unused)
		return err
	})
	if err != nil {
		return failed(err)
	}
	for _, key := range keys {
		b.waiters.wake(key)
	}
	b.wrote(v.store, &l, len(keys), 0, waste)
	return nil
}
