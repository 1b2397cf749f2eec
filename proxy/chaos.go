package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// ErrChaos is the error of an operation that [Chaos] made fail.
var ErrChaos = errors.New("proxy.Chaos made this call fail")

// Op is a set of a backend's operations, for [ChaosOptions].
type Op uint

// The operations of a backend.
const (
	OpGet Op = 1 << iota
	OpSet
	OpDelete
	OpTryLock
	OpWait
	OpLocked // and Holder
)

// ChaosOptions says what goes wrong under [Chaos]. Probabilities run from 0,
// never, to 1, always; each is drawn by itself for each call of an operation.
type ChaosOptions struct {
	// Ops are the operations that are disturbed; 0: all of them.
	Ops Op

	// Hang is the probability that a call waits until its context is done, and
	// returns the context's error without having reached the backend. With a
	// context that is never done it never returns.
	Hang float64

	// Delay is the probability that a call is held up by DelayFor before it is
	// made; 0 as DelayFor: 100 ms. A context that is done ends it sooner.
	Delay    float64
	DelayFor time.Duration

	// Error is the probability that a call fails with Err, without having reached
	// the backend; nil as Err: [ErrChaos].
	Error float64
	Err   error

	// Seed makes runs repeatable: the same calls in the same order meet with the
	// same faults. It has no special values.
	Seed uint64
}

// Chaos returns a proxy that makes calls fail, take long and hang, to try out
// how an application fares with a backend that does. Empty batches, leases, Scan and
// Close are left alone. A nil o disturbs nothing. Each backend that is wrapped
// gets the sequence of faults from its beginning.
func Chaos(o *ChaosOptions) func(driver.Backend) driver.Backend {
	var opts ChaosOptions
	if o != nil {
		opts = *o
	}
	if opts.Ops == 0 {
		opts.Ops = ^Op(0)
	}
	if opts.DelayFor == 0 {
		opts.DelayFor = 100 * time.Millisecond
	}
	if opts.Err == nil {
		opts.Err = ErrChaos
	}
	return func(b driver.Backend) driver.Backend {
		return &chaos{Proxy: driver.Proxy{Backend: b}, o: opts, rnd: rand.New(rand.NewPCG(opts.Seed, 0))}
	}
}

type chaos struct {
	driver.Proxy
	o   ChaosOptions
	mu  sync.Mutex
	rnd *rand.Rand
}

// Get implements [driver.Backend].
func (c *chaos) Get(ctx context.Context, items []driver.Item) error {
	if err := c.disturb(ctx, OpGet, len(items)); err != nil {
		return err
	}
	return c.Proxy.Get(ctx, items)
}

// Set implements [driver.Backend].
func (c *chaos) Set(ctx context.Context, items []driver.Item) error {
	if err := c.disturb(ctx, OpSet, len(items)); err != nil {
		return err
	}
	return c.Proxy.Set(ctx, items)
}

// Delete implements [driver.Backend].
func (c *chaos) Delete(ctx context.Context, keys []string) error {
	if err := c.disturb(ctx, OpDelete, len(keys)); err != nil {
		return err
	}
	return c.Proxy.Delete(ctx, keys)
}

// TryLock implements [driver.Locker].
func (c *chaos) TryLock(ctx context.Context, key string, ttl time.Duration) (driver.Lease, error) {
	if err := c.disturb(ctx, OpTryLock, 1); err != nil {
		return nil, err
	}
	return c.Proxy.TryLock(ctx, key, ttl)
}

// Wait implements [driver.Locker].
func (c *chaos) Wait(ctx context.Context, key string) error {
	if err := c.disturb(ctx, OpWait, 1); err != nil {
		return err
	}
	return c.Proxy.Wait(ctx, key)
}

// Locked implements [driver.Locker].
func (c *chaos) Locked(ctx context.Context, key string) (bool, error) {
	if err := c.disturb(ctx, OpLocked, 1); err != nil {
		return false, err
	}
	return c.Proxy.Locked(ctx, key)
}

// Holder implements [driver.Holders].
func (c *chaos) Holder(ctx context.Context, key string) (driver.Holder, bool, error) {
	if err := c.disturb(ctx, OpLocked, 1); err != nil {
		return driver.Holder{}, false, err
	}
	return c.Proxy.Holder(ctx, key)
}

// disturb returns an error if the call is not to be made.
func (c *chaos) disturb(ctx context.Context, op Op, n int) error {
	if c.o.Ops&op == 0 || n == 0 {
		return nil
	}
	hang, delay, fail := c.draw()
	// A hang comes first: a call that is to hang never gets as far as the others.
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if delay {
		timer := time.NewTimer(c.o.DelayFor)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail {
		return c.o.Err
	}
	return nil
}

// draw takes the same number of random numbers at every call, so that changing
// one probability does not move the faults of another.
func (c *chaos) draw() (hang, delay, fail bool) {
	// One mutex for all three: if B drew between A's first and second number, the
	// faults of both would depend on the scheduler and not on the order of calls.
	c.mu.Lock()
	defer c.mu.Unlock()
	hang = c.rnd.Float64() < c.o.Hang
	delay = c.rnd.Float64() < c.o.Delay
	fail = c.rnd.Float64() < c.o.Error
	return hang, delay, fail
}
