package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
)

// lease is a lease that was granted: while the lease's key holds token.
type lease struct {
	core      *core
	key, lock string
	token     string
	entry     atomic.Pointer[entry] // what TryLock has read; nil once used
}

// entry is what was found under a key.
type entry struct{ data []byte }

// answered answers a read under a lease from what TryLock has read, if it still
// has that.
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

// TryLock implements driver.Locker. In the same round trip it reads the entry,
// for the Get that follows.
func (c *core) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if ttl <= 0 {
		return nil, ttlError(ttl)
	}
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	l := &lease{core: c, key: key, lock: c.lockKey(key), token: mark + rand.Text()}
	res, err := c.run(ctx, c.call(lockScript, key, l.lock, l.token, millis(ttl))).ToMessage()
	if err != nil {
		if sent(err) {
			c.giveUp(l, ttl)
		}
		return nil, failed("lock", err)
	}
	values, err := res.ToArray()
	if err != nil || len(values) == 0 {
		return nil, nil
	}
	e := new(entry)
	if data, err := values[0].AsBytes(); err == nil {
		e.data = found(data)
	}
	l.entry.Store(e)
	return l, nil
}

// sent reports whether a command that failed with err may have reached the
// server, or may still, without its answer having come.
func sent(err error) bool {
	if _, refused := rueidis.IsRedisErr(err); refused {
		return false
	}
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

// giveUp gives back a lease of which it is not known whether it was granted, or
// will be: the command may still be on its way, and another connection may
// overtake it. Otherwise nobody would have the lease until it runs out.
func (c *core) giveUp(l *lease, ttl time.Duration) {
	c.background(func() {
		ctx, cancel := context.WithTimeout(c.ctx, ttl)
		defer cancel()
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			if freed, err := l.release(ctx); freed && err == nil {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	})
}

// Locked implements driver.Locker.
func (c *core) Locked(ctx context.Context, key string) (bool, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	n, err := c.do(ctx, c.client.B().Arbitrary("EXISTS").Keys(c.lockKey(key)).Build()).AsInt64()
	if err != nil {
		return false, failed("locked", err)
	}
	return n > 0, nil
}

// Extend implements driver.Lease.
func (l *lease) Extend(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return ttlError(ttl)
	}
	ctx, cancel, err := l.core.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	switch n, err := l.core.run(ctx, l.core.call(extendScript, l.key, l.lock, l.token, millis(ttl))).AsInt64(); {
	case err != nil:
		return failed("extend", err)
	case n == 0:
		return driver.ErrLeaseLost
	}
	return nil
}

// Release implements driver.Lease. It does its work under a ctx that is done as
// well, within the backend's timeout.
func (l *lease) Release(ctx context.Context) error {
	if l.core.closed.Load() {
		return errClosed
	}
	if _, err := l.release(context.WithoutCancel(ctx)); err != nil {
		return failed("release", err)
	}
	return nil
}

func (l *lease) release(ctx context.Context) (freed bool, err error) {
	ctx, cancel := l.core.bound(ctx)
	defer cancel()
	n, err := l.core.run(ctx, l.core.call(releaseScript, l.key, l.lock, l.token)).AsInt64()
	return n > 0, err
}

func ttlError(ttl time.Duration) error {
	return fmt.Errorf("redis lock: a ttl of %v is not positive", ttl)
}
