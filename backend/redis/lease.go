package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/holder"
)

// lease is a lease that was granted. It is held for as long as the server has
// token under the key lock.
type lease struct {
	core      *core
	key, lock string
	token     string
	entry     atomic.Pointer[entry] // what TryLock has read; nil once used
}

// entry is what was found under a key.
type entry struct{ data []byte }

// answered answers a read under a lease from what TryLock has read, once, and
// reports whether it could.
func answered(it *driver.Item) bool {
	l, ok := it.Lease.(*lease)
	if !ok || l.key != it.Key {
		return false
	}
	e := l.entry.Swap(nil)
	if e == nil {
		return false
	}
	if e.data != nil {
		it.Data = e.data
	}
	return true
}

// TryLock takes the lease and reads the entry in one script.
func (c *core) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if ttl <= 0 {
		return nil, ttlError(ttl)
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	l := &lease{core: c, key: key, lock: c.lockKey(key), token: holder.NewToken()}
	keys := c.keys(key)
	res, err := c.do(ctx, run(lockScript, keys[:], l.token, millis(ttl))).ToMessage()
	if c.splits(err) {
		return c.lockApart(ctx, l, ttl)
	}
	if err != nil {
		if sent(err) {
			c.giveUp(l, ttl)
		}
		return nil, failed(err)
	}
	values, err := res.ToArray()
	if err != nil || len(values) == 0 {
		return nil, nil // the script has returned 0: another holds the lease
	}
	e := new(entry)
	if data, err := values[0].AsBytes(); err == nil {
		e.data = found(data)
	}
	l.entry.Store(e)
	return l, nil
}

// giveUp gives back, in the background, a lease that may have been granted
// without anybody knowing:
//
//  1. TryLock sends its script, and gives up before the answer comes.
//  2. giveUp tries to release, over another connection, and overtakes it.
//  3. The script arrives and takes the lease.
//
// So it tries until it has released something, or the lease has run out in any
// case. Without it nobody could take the lease until then.
func (c *core) giveUp(l *lease, ttl time.Duration) {
	c.life.Retry(ttl, func(ctx context.Context) bool {
		freed, err := l.release(ctx)
		return freed && err == nil
	})
}

// Locked asks whether the key of the lease is there, whatever it holds.
func (c *core) Locked(ctx context.Context, key string) (bool, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	n, err := c.do(ctx, one("EXISTS", c.lockKey(key))).AsInt64()
	if err != nil {
		return false, failed(err)
	}
	return n > 0, nil
}

// Holder reads what the holder has written under the key of the lease.
func (c *core) Holder(ctx context.Context, key string) (h driver.Holder, held bool, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return h, false, err
	}
	defer cancel()
	h, held, err = holderIn(c.do(ctx, one("GET", c.lockKey(key))))
	if err != nil {
		return h, false, failed(err)
	}
	return h, held, nil
}

// holderIn returns who has written what was found under the key of a lease. Of another type
// than a string it is a lease as well, though nobody's that is known.
func holderIn(res rueidis.RedisResult) (h driver.Holder, held bool, err error) {
	var it driver.Item
	switch err = fill(&it, res); {
	case it.Err != nil:
		return h, true, nil
	case err != nil || !it.Found():
		return h, false, err
	}
	return holder.Of(string(it.Data)), true, nil
}

// Extend makes the lease last for ttl from now, if it is still held.
func (l *lease) Extend(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	ctx, cancel, err := l.core.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	switch n, err := l.core.do(ctx, run(extendScript, []string{l.lock}, l.token, millis(ttl))).AsInt64(); {
	case err != nil:
		return failed(err)
	case n == 0:
		return driver.ErrLeaseLost
	}
	return nil
}

// Release gives the lease up if it is still held. It does so under a ctx that is
// done as well, within the backend's timeout: a caller that was cancelled must
// not leave its lease behind.
func (l *lease) Release(ctx context.Context) error {
	if err := l.core.life.Err(); err != nil {
		return err
	}
	if _, err := l.release(context.WithoutCancel(ctx)); err != nil {
		return failed(err)
	}
	return nil
}

// release reports whether there was something to release.
func (l *lease) release(ctx context.Context) (freed bool, err error) {
	ctx, cancel := l.core.bound(ctx)
	defer cancel()
	n, err := l.core.do(ctx, run(releaseScript, []string{l.lock}, l.token)).AsInt64()
	return n > 0, err
}

func ttlError(ttl time.Duration) error {
	return fmt.Errorf("redis: the ttl of a lease is %v; it has to be positive", ttl)
}
