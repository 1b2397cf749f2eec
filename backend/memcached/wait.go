package memcached

import (
	"context"
	"time"
)

const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// wait asks again and again whether somebody holds the lease.
func (c *core) wait(ctx context.Context, key string) error {
	return c.life.Poll(ctx, firstPause, lastPause, func() (time.Duration, error) {
		locked, err := c.locked(ctx, key)
		switch {
		case err != nil && ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil:
			return 0, failed(err)
		case !locked:
			return 0, nil
		}
		return lastPause, nil
	})
}
