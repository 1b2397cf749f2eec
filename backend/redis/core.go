package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lifetime"
)

// core is a Backend without its breaker.
type core struct {
	client     rueidis.Client
	owned      bool // close closes client
	cluster    bool
	timeout    time.Duration // 0: none
	deadlines  deadlines
	lockPrefix string
	feeds      feeds
	life       *lifetime.Lifetime
}

var errClosed = errors.New("redis: the backend is closed")

func newCore(client rueidis.Client, o *Options, owned bool) *core {
	c := &core{
		client:     client,
		owned:      owned,
		cluster:    client.Mode() == rueidis.ClientModeCluster,
		timeout:    max(o.Timeout, 0),
		lockPrefix: o.LockPrefix,
		life:       lifetime.New(errClosed),
	}
	if o.Timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.lockPrefix == "" {
		c.lockPrefix = DefaultLockPrefix
	}
	c.deadlines.timeout = c.timeout
	c.feeds.core = c
	c.feeds.off.Store(o.Poll)
	return c
}

// Caps is Backend.Caps; the breaker wants to know the timeout.
func (c *core) Caps() driver.Caps {
	return driver.Caps{Name: "redis", Shared: true, Locks: true, Fenced: true, TTLUnit: time.Millisecond, Timeout: c.timeout}
}

func (c *core) close() {
	if c.life.End() && c.owned {
		c.client.Close()
	}
}

// bound limits ctx by the backend's timeout.
func (c *core) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.timeout == 0 {
		return ctx, func() {}
	}
	if ctx.Done() == nil {
		return c.deadlines.bound(ctx), func() {}
	}
	if d, ok := ctx.Deadline(); ok && time.Until(d) <= c.timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// begin is where every call to the server starts.
func (c *core) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := c.life.Err(); err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := c.bound(ctx)
	return ctx, cancel, nil
}

// failed says where a call failed. The caller adds which call it was and for
// which key.
func failed(err error) error { return fmt.Errorf("redis: %w", err) }
