package memcached

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// Wait implements driver.Locker. memcached tells nobody that a lease is free, so
// it asks, at first after 5 ms, then ever less often, but ten times a second.
func (c *core) Wait(ctx context.Context, key string) error {
	for pause := firstPause; ; pause = min(pause*3/2, lastPause) {
		locked, err := c.locked(ctx, key)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return failed("wait", err)
		case !locked:
			return nil
		}
		if err := c.sleep(ctx, pause/2+rand.N(pause/2)); err != nil {
			return err
		}
	}
}

// sleep returns after d, or with an error once ctx or c is done.
func (c *core) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return errClosed
	}
}
