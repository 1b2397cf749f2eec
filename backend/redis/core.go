package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/lifetime"
	"github.com/dogpile-go/dogpile/internal/watching"
)

// core is a Backend without its breaker.
type core struct {
	link       *link
	cluster    bool
	topology   topology      // of a Cluster
	timeout    time.Duration // 0: none
	deadlines  deadlines
	lockPrefix string
	feeds      feeds
	watch      watch
	life       *lifetime.Lifetime
}

var errClosed = errors.New("redis: the backend is closed")

// newCore returns a core whose client make makes, or which is given if make is
// nil.
func newCore(o *Options, cluster bool, make func(*core) (rueidis.Client, error), given rueidis.Client) *core {
	c := &core{
		cluster:    cluster,
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
	c.watch.Watchers = watching.Watchers{Ask: c.watch.askAll, Go: c.life.Go, Closed: c.life.Context().Done()}
	c.feeds.core, c.topology.core, c.watch.core = c, c, c
	c.feeds.off.Store(o.Poll)
	c.link = &link{life: c.life, after: c.feeds.renew}
	if make == nil {
		c.link.now.Store(&client{given})
	} else {
		c.link.make = func() (rueidis.Client, error) { return make(c) }
	}
	return c
}

// Caps is Backend.Caps; the breaker wants to know the timeout.
func (c *core) Caps() driver.Caps {
	return driver.Caps{Name: "redis", Shared: true, Locks: true, Fenced: true, TTLUnit: time.Millisecond, Timeout: c.timeout}
}

func (c *core) close() {
	if c.life.End() {
		c.link.close()
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
