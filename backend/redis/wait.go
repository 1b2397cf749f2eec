package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/internal/lifetime"
)

const (
	// longestNap bounds how long a waiter sleeps without asking, since the server
	// does not announce everything at once: that a lease has run out is announced
	// when the server comes upon it, and nothing is when another node takes the
	// place of the one that had the lease.
	longestNap = 10 * time.Second

	firstPoll = 10 * time.Millisecond
	slowPoll  = 250 * time.Millisecond
)

// Wait waits for an announcement of the server, or polls where there is none.
func (c *core) Wait(ctx context.Context, key string) error {
	if err := c.life.Err(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.wait(ctx, key)
	if err != nil && ctx.Err() == nil && c.life.Err() != nil {
		// The end came while it made a connection or asked, and has cancelled that.
		return errClosed
	}
	return err
}

func (c *core) wait(ctx context.Context, key string) error {
	lock := c.lockKey(key)
	if c.feeds.off.Load() {
		return c.poll(ctx, lock)
	}
	f, err := c.feeds.of(ctx, lock)
	switch {
	case errors.Is(err, errNoTracking) || errors.Is(err, errNoNode) || errors.Is(err, errReplaced):
		return c.poll(ctx, lock)
	case err != nil:
		return err
	}
	return f.wait(ctx, lock)
}

// poll asks whether the lease is free, ever less often.
func (c *core) poll(ctx context.Context, lock string) error {
	return c.life.Poll(ctx, firstPoll, slowPoll, func() (time.Duration, error) {
		return c.left(ctx, func(ctx context.Context) rueidis.RedisResult { return c.do(ctx, one("PTTL", lock)) })
	})
}

// left asks how long the lease may last, and returns for how long to sleep at
// most; 0 for a lease that nobody holds.
func (c *core) left(ctx context.Context, ask func(context.Context) rueidis.RedisResult) (time.Duration, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	switch ms, err := ask(ctx).AsInt64(); {
	case err != nil:
		return 0, failed(err)
	case ms == -2: // there is no such key
		return 0, nil
	case ms == -1: // dogpile.cache sets no limit unless it is told to
		return longestNap, nil
	default:
		// A millisecond more: PTTL has cut off what is below one.
		return min(longestNap, time.Duration(ms+1)*time.Millisecond), nil
	}
}

// wait waits for a change of lock.
//
//  1. wait enters itself as a waiter.
//  2. It asks how long the lease lasts. With tracking on, this question is what
//     makes the server announce the next change of the key, to this connection.
//  3. The lease is released, and the announcement wakes the waiter.
//
// If the lease is released between 1 and 2 the answer tells; if the announcement
// overtakes the answer the waiter is entered already.
func (f *feed) wait(ctx context.Context, lock string) error {
	woken := f.enter(lock)
	defer f.leave(lock, woken)
	pttl := one("PTTL", lock)
	left, err := f.core.left(ctx, func(ctx context.Context) rueidis.RedisResult { return f.conn.Do(ctx, pttl.build(f.conn.B())) })
	var e *rueidis.RedisError
	switch {
	case errors.As(err, &e):
		if addr, moved := e.IsMoved(); moved {
			// Return early: the caller finds the lease held, waits again, and is
			// then led to the right node.
			f.core.feeds.learn(uint16(slot(lock)), addr)
			return nil
		}
		if _, moving := e.IsAsk(); moving {
			return f.core.poll(ctx, lock)
		}
		return err
	case err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errClosed):
		// The connection is gone, and maybe the server is not: the next call of
		// the caller will tell. All its waiters come here at once, hence jitter.
		return f.core.life.Sleep(ctx, lifetime.Jitter(firstPoll), nil)
	case left <= 0 || err != nil:
		return err
	}
	return f.core.life.Sleep(ctx, left, woken)
}
