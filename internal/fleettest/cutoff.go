//go:build unix

package fleettest

import (
	"context"
	"errors"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// cutOff is a backend that cannot be reached while the world says so.
type cutOff struct {
	driver.Proxy
	w *world
}

var errCut = errors.New("the process is cut off from its backend")

func (c *cutOff) err() error {
	if c.w.cut.Load() {
		return errCut
	}
	return nil
}

// reached makes a call. If the process is cut off while that lasts the answer is
// lost, though the call may have been carried out.
func (c *cutOff) reached(call func() error) error {
	if err := c.err(); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return c.err()
}

func (c *cutOff) Get(ctx context.Context, items []driver.Item) error {
	return c.reached(func() error { return c.Proxy.Get(ctx, items) })
}

func (c *cutOff) Set(ctx context.Context, items []driver.Item) error {
	return c.reached(func() error { return c.Proxy.Set(ctx, items) })
}

func (c *cutOff) Delete(ctx context.Context, keys []string) error {
	return c.reached(func() error { return c.Proxy.Delete(ctx, keys) })
}

func (c *cutOff) TryLock(ctx context.Context, key string, ttl time.Duration) (l driver.Lease, err error) {
	err = c.reached(func() (err error) {
		l, err = c.Proxy.TryLock(ctx, key, ttl)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (c *cutOff) Wait(ctx context.Context, key string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Proxy.Wait(ctx, key)
}
